"""The page on which a reader chooses two runs of a table: every comparison's numbers as compact data, no text of any answer.

What the page says is computed here; it only shows. Few comparisons stand in the page, many in a file a run beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scsafety import taxonomy
from scsafety.report.comparison import ALPHA
from scsafety.report.lazy import json_text, lazy_script
from scsafety.report.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scsafety.metrics.pairwise import Pairwise
    from scsafety.report.leaderboard import Field, Row, Table

FOLDER = "compare"
N_SHOWN = 12  # pairs in each direction
MAX_IN_PAGE = 300_000  # characters of comparisons; more go into files
DIGITS = {"value": 2, "low": 2, "high": 2, "p": 4, "p_holm": 4, "n": 0}

NAMES = {
    "overall": ("总分", "Total"),
    "round_1": ("第一轮", "Round 1"),
    "round_2": ("第二轮", "Round 2"),
    "gap": ("两轮之差", "Round 2 minus round 1"),
}
NAMES |= {one.id: (one.zh, one.en) for one in taxonomy.dimensions()}
NAMES |= {one.id: (one.zh, one.en) for one in taxonomy.sub_dimensions()}
GROUPS = (
    ("总分", "Total", 1),
    ("三个维度", "Three dimensions", 3),
    ("轮次", "Rounds", 3),
    ("24 个子维度", "24 sub-dimensions", 24),
)
ORDER = (
    "overall",
    *(one.id for one in taxonomy.dimensions()),
    "round_1",
    "round_2",
    "gap",
    *(one.id for one in taxonomy.sub_dimensions()),
)


def page_data(tables: Sequence[Table]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What stands in the page, and files beside it by their path. Pure.

    In the page, `held` has the comparisons of each run with those below it in its table, by their numbers in `runs`; where it
    is null they are in `compare/<number>.js`.
    """
    runs: list[dict[str, Any]] = []
    held: dict[str, dict[str, Any]] = {}
    for n, table in enumerate(tables, start=1):
        first = len(runs)
        runs += [_run(row, n) for row in table.ranked]
        found, shuffled = table.field.found, _shuffled(table.field)
        for k, (i, j) in enumerate(found.places):
            held.setdefault(str(first + i), {})[str(first + j)] = {
                **_numbers(found, k),
                **_apart(table.field, shuffled, i, j),
            }
    data: dict[str, Any] = {
        "alpha": ALPHA,
        "rows": [[name, *NAMES[name]] for name in ORDER],
        "groups": GROUPS,
        "runs": runs,
        "n_tables": len(tables),
        "held": held,
    }
    if sum(len(json_text(of)) for of in held.values()) <= MAX_IN_PAGE:
        return data, {}
    files = {f"{FOLDER}/{name}.js": lazy_script(name, of) for name, of in held.items()}
    return {**data, "held": None}, files


def _run(row: Row, table: int) -> dict[str, Any]:
    summary = row.summary
    of = {"overall": summary.overall, **summary.dimensions, **summary.sub_dimensions, "gap": summary.rounds["gap"]}
    of |= {f"round_{key}": summary.rounds[key] for key in ("1", "2")}
    scores = [of[name].score if name in of else None for name in ORDER]
    return {
        "page": row.page,
        "link": row.link,
        "run": one_line(summary.run),
        "target": one_line(summary.target),
        "table": table,
        "scores": [None if score is None else round(score, 2) for score in scores],
    }


def _numbers(found: Pairwise, k: int) -> dict[str, list[float | None]]:
    """Of one comparison, the rows in the page's order."""
    order = [found.rows.index(name) for name in ORDER]
    return {name: _rounded(getattr(found, name)[order, k], digits) for name, digits in DIGITS.items()}


def _rounded(values: NDArray[Any], digits: int) -> list[float | None]:
    if digits == 0:
        return [int(value) for value in values]
    return [None if np.isnan(value) else round(float(value), digits) + 0.0 for value in values]


def _shuffled(field: Field) -> NDArray[np.intp]:
    """Pairs in an order of their own, always the same: of many that differ as much, a list shows some of every kind."""
    return np.random.default_rng(0).permutation(len(field.pairs))


def _apart(field: Field, shuffled: NDArray[np.intp], i: int, j: int) -> dict[str, Any]:
    """Where the two runs are farthest apart: pairs on which the first is better, and the second, with both mean scores."""
    one, other = field.scores[i].mean(axis=1), field.scores[j].mean(axis=1)
    difference = np.nan_to_num(other - one)[shuffled]
    order = np.argsort(-np.abs(difference), kind="stable")
    sides: dict[str, Any] = {}
    for name, sign in (("first", -1), ("second", 1)):
        ahead = order[difference[order] * sign > 0]
        sides[name] = [
            [field.pairs[k], ORDER.index(field.subs[k]), round(float(one[k]), 2), round(float(other[k]), 2)]
            for k in shuffled[ahead[:N_SHOWN]]
        ]
        sides[f"n_{name}"] = int(ahead.size)
    return sides
