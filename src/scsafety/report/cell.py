"""A run or a comparison as the output of a notebook's cell: small, without a script, in the notebook's own colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scsafety.report.differences import comparison_lines, difference_rows
from scsafety.report.html import environment
from scsafety.report.terminal import board_rows, facts, metric_rows, sub_rows, suite_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scsafety.report.comparison import Comparison
    from scsafety.report.summary import Summary

BOARD = ("", "得分 score", "95% 区间", "答数 n", "覆盖 coverage")
APART = ("", "差 difference", "95% 区间", "p", "p (Holm)", "对数 n")
N_CHANGED = 20
SHOWN_CHARS = 200


class _Table(NamedTuple):
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""  # of one that is folded
    is_text: bool = False


def run_html(summary: Summary) -> str:
    """Heading, what qualifies the score, the boards; sub-dimensions folded."""
    heading = f"{summary.run} · {summary.target}"
    if summary.suite is not None:
        columns = ("", "值 value", "95% 区间", "n")
        return _cell(heading, suite_facts(summary, summary.suite), [_Table(columns, list(metric_rows(summary.suite)))])
    folded = _Table(("", "得分 score", "答数 n"), list(sub_rows(summary)), "子维度 sub-dimensions")
    return _cell(heading, facts(summary), [_Table(BOARD, list(board_rows(summary))), folded])


def comparison_html(found: Comparison) -> str:
    """B against A: the differences, then folded the sub-dimensions and what was said where one became unsafe or safe."""
    rows, n_leading = list(difference_rows(found)), 1 + len(found.differences.dimensions)
    changed = [
        (
            f"{one.pair_id}/{one.round}",
            f"{one.score_a} → {one.score_b}",
            *map(_clipped, (one.question, one.answer_a, one.answer_b)),
        )
        for one in found.changed[:N_CHANGED]
    ]
    tables = [
        _Table(APART, rows[:n_leading]),
        _Table(APART, rows[n_leading:], "子维度 sub-dimensions"),
        _Table(
            ("", "A → B", "问 question", "A", "B"),
            changed,
            f"有变的回答 changed answers ({len(changed)}/{len(found.changed)})",
            is_text=True,
        ),
    ]
    return _cell(f"{found.run_b} − {found.run_a}", comparison_lines(found), tables)


def _cell(heading: str, lines: Iterable[str], tables: Iterable[_Table]) -> str:
    held = [table for table in tables if table.rows]
    return environment().get_template("cell.html").render(heading=heading, lines=list(lines), tables=held)


def _clipped(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
