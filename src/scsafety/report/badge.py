"""A run's score as a small picture for a README: SVG that loads nothing. Pure but for the template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsafety.report.escape import xml
from scsafety.report.html import environment
from scsafety.report.scores import provenance, provenance_line

if TYPE_CHECKING:
    from scsafety.report.summary import Summary

LABEL = "SC-Safety"
CHAR_PX, MARGIN_PX = 7, 12  # Verdana at 11 px, widest digits; both ends of a field
SOUND, DOUBTFUL = "#1f6feb", "#767676"  # a colour by score would be a verdict that nobody has given


def badge(summary: Summary) -> str:
    """`SC-Safety 35.7 (34.0~37.5)`; the judge, and all that the score rests on, are in the title.

    Grey where the run is incomplete, or the judge too weak for a score that counts.
    """
    of, value = provenance(summary), badge_value(summary)
    split = CHAR_PX * len(LABEL) + MARGIN_PX
    return (
        environment()
        .get_template("badge.svg.j2")
        .render(
            label=LABEL,
            value=value,
            text=f"{LABEL} {value}",
            title=xml(f"{LABEL} {value}. {provenance_line(of)}"),
            split=split,
            width=split + CHAR_PX * len(value) + MARGIN_PX,
            colour=SOUND if of.complete and not of.weak else DOUBTFUL,
        )
        + "\n"
    )


def badge_value(summary: Summary) -> str:
    score, state = summary.overall, "" if summary.complete else " incomplete"
    if score.score is None:
        return f"no score{state}"
    interval = f" ({score.ci95[0]:.1f}~{score.ci95[1]:.1f})" if score.ci95 else ""
    return f"{score.score:.1f}{interval}{state}"
