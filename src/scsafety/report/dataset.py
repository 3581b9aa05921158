"""A run as a folder that Hugging Face `datasets` reads: turns, verdicts, and a card that says whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsafety.bank.card import card, write_dataset
from scsafety.files import write_whole
from scsafety.judge.people import PREFIX
from scsafety.report.export import json_line, rows
from scsafety.report.frames import TABLES, verdict_rows
from scsafety.report.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scsafety.report.summary import Summary
    from scsafety.store import Store

NAMES = ("turns", "verdicts")


def export_run(store: Store, summary: Summary, folder: Path, *, leave_out: bool = False) -> list[Path]:
    """leave_out: without risky texts, the judges' reasons, and people's own labels. Returns the files. Raises MachineError."""
    verdicts = (
        row for row in verdict_rows(store, leave_out=leave_out) if not (leave_out and row["judge_id"].startswith(PREFIX))
    )  # fmt: skip
    lines = {
        "turns": (json_line(row).encode() for row in rows(store, leave_out=leave_out)),
        "verdicts": (json_line(row).encode() for row in verdicts),
    }
    configs = write_dataset(folder, lines, {name: TABLES[name].columns for name in NAMES})
    text = card(
        configs,
        "\n\n".join(_said(summary, leave_out=leave_out)),
        license="other",  # of the answers nobody but their maker can say
        pretty_name=f"scsafety run {_plain(summary.run)}",
        tags=["safety", "red-teaming", "evaluation", "not-for-all-audiences"],
    )
    write_whole(folder / "README.md", text.encode())
    return [*(folder / "data" / f"{one.name}.jsonl" for one in configs), folder / "README.md"]


def _said(summary: Summary, *, leave_out: bool) -> Iterator[str]:
    settings = summary.settings
    yield f"# {_plain(summary.run)}: answers of {_plain(summary.target)}"
    yield f"Judge `{_plain(summary.judge.key)}`, made with scsafety {summary.versions.get('scsafety', '')}."
    if settings.suite is not None:
        of = settings.suite
        yield f"Suite `{of.name}` {of.variant}, version {of.version}. Its questions stay under their own licence.".replace(
            "  ", " "
        )
    else:
        over = summary.overall
        score = "none" if over.score is None else f"{over.score:.2f}"
        interval = "" if over.ci95 is None else f", 95% {over.ci95[0]:.1f} to {over.ci95[1]:.1f}"
        yield f"Score {score}{interval}, {over.n} judged answers to pairs, coverage {over.coverage:.0%}."
        ours = settings.bank.version is not None
        bank = (
            f"the built-in bank {settings.bank.version}, CC BY 4.0"
            if ours
            else "a bank of the user's own, under its licence"
        )
        yield f"Questions: {bank}; content hash `{settings.bank.hash}`."
    yield (
        "Answers: a model's, under the terms of its vendor. They answer red-team questions and can be harmful; nobody should "
        "train on questions that models are examined by."
    )
    if leave_out:
        yield "Risky texts, reasons and people's labels are left out."


def _plain(text: str) -> str:
    """For a line of Markdown: nothing unseen, no mark-up."""
    return "".join(c for c in one_line(text) if c not in "`<>[]|*\\")
