"""Safety against over-refusal: where the points of a table stand on a plane, and where there is room for their names."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.metrics.interval import Interval
    from scsafety.report.leaderboard import Row

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 16, 56
LINE = 17  # from one name to the next
NAME_CHARS = 30
STEPS = (1, 2, 5, 10, 20, 25)  # of an axis, in points
MAX_TICKS = 7


class Axis(msgspec.Struct, frozen=True):
    """From `low` to `high`, 0 to 100, on pixels."""

    low: float
    high: float
    ticks: tuple[int, ...]
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


class Point(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str
    complete: bool
    x: float
    y: float
    x_ends: tuple[float, float] | None
    y_ends: tuple[float, float] | None
    name_x: float
    name_y: float
    on_left: bool  # the name ends at `name_x`


class Chart(msgspec.Struct, frozen=True):
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    left_out: int  # runs without harmless twins, or without a score
    width: int = WIDTH
    height: int = HEIGHT
    bottom: int = HEIGHT - BOTTOM
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP


def chart_of(rows: Sequence[Row]) -> Chart | None:
    """None where no run has both figures."""
    known: list[tuple[Row, float, float, Interval]] = [
        (
            row,
            100 * twins.rate,
            row.summary.overall.score,
            (100 * twins.ci95[0], 100 * twins.ci95[1]) if twins.ci95 else None,
        )
        for row in rows
        if (twins := row.summary.over_refusal) and twins.rate is not None and row.summary.overall.score is not None
    ]
    if not known:
        return None
    x = _axis([bound for _, value, _, ci in known for bound in (value, *(ci or ()))], LEFT, WIDTH - RIGHT)
    y = _axis(
        [bound for row, _, score, _ in known for bound in (score, *(row.summary.overall.ci95 or ()))],
        HEIGHT - BOTTOM,
        TOP,
    )
    runs_of = Counter(row.summary.target for row, *_ in known)
    points: list[Point] = []
    boxes: list[tuple[float, float, float]] = []  # left, right and line of the names placed
    for row, over, score, ci in sorted(known, key=lambda one: (-one[2], one[1])):
        summary, at_x, at_y = row.summary, x.at(over), y.at(score)
        name = _short(summary.target if runs_of[summary.target] == 1 else f"{row.page}: {summary.target}")
        long = _width(name)
        on_left = at_x + 12 + long > WIDTH - RIGHT
        name_x = at_x - 10 if on_left else at_x + 10
        box = (name_x - long, name_x) if on_left else (name_x, name_x + long)
        name_y = at_y - 6
        while any(box[0] < right and left < box[1] and abs(name_y - line) < LINE for left, right, line in boxes):
            name_y += 3
        boxes.append((*box, name_y))
        bounds = summary.overall.ci95
        points.append(
            Point(
                name=name,
                title=f"{summary.target} · {summary.run}: {score:.2f}, {over:.1f}%",
                complete=row.rank is not None,
                x=at_x,
                y=at_y,
                x_ends=(x.at(ci[0]), x.at(ci[1])) if ci else None,
                y_ends=(y.at(bounds[0]), y.at(bounds[1])) if bounds else None,
                name_x=round(name_x, 1),
                name_y=round(name_y, 1),
                on_left=on_left,
            )
        )
    # names pushed down below the axis still have a place
    return Chart(
        x,
        y,
        tuple(points),
        len(rows) - len(known),
        height=max(HEIGHT, math.ceil(max(line for *_, line in boxes)) + LINE),
    )


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Ends at whole steps, a little beyond what it must hold, never beyond 0 and 100."""
    low, high = max(0.0, min(values) - 1), min(100.0, max(values) + 1)
    step = next((step for step in STEPS if (high - low) / step <= MAX_TICKS - 2), STEPS[-1])
    first, last = math.floor(low / step) * step, min(100, math.ceil(high / step) * step)
    return Axis(first, last, tuple(range(first, last + 1, step)), start, end)


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARS else f"{name[: NAME_CHARS - 1]}…"


def _width(text: str) -> float:
    """Pixels of a name at the size of the chart's letters, about."""
    return sum(13.0 if unicodedata.east_asian_width(letter) in "WF" else 7.4 for letter in text)
