"""The three findings of SC-Safety's paper, recomputed from any set of totals: closed models above open ones, Chinese models near
GPT-3.5, small models that compete.

A model is one draw here: the intervals say how far the difference could move with other models of the kind, not with other
questions. Welch's and Student's t intervals at 95%.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from scsafety.report.facts import ModelFacts  # noqa: TC001 (a field's type)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.metrics.interval import Interval

ANCHOR = "gpt-3.5-turbo"
MIN_EACH = 3  # models of a group, for an interval


class Scored(NamedTuple):
    name: str
    total: float  # 0 to 100
    facts: ModelFacts


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A difference of means in points; None where a group is empty."""

    difference: float | None
    ci95: Interval
    n: tuple[int, int]  # models of the first group and of the second; of the anchor 1


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    closed_minus_open: Finding
    chinese_minus_anchor: Finding
    at_or_above_anchor: int  # Chinese models
    small_minus_larger: Finding  # among models of which the size is known
    best_small: str | None
    best_small_rank: int | None  # among all models
    n_models: int


def findings_of(models: Sequence[Scored]) -> Findings:
    """
    >>> found = findings_of([Scored("a", 90.0, ModelFacts(licence="closed")), Scored("b", 80.0, ModelFacts(licence="open"))])
    >>> found.closed_minus_open.difference, found.closed_minus_open.ci95
    (10.0, None)
    """
    closed = [one.total for one in models if one.facts.licence == "closed"]
    opened = [one.total for one in models if one.facts.licence == "open"]
    chinese = [one.total for one in models if one.facts.origin == "china"]
    anchor = next((one.total for one in models if ANCHOR in one.name.casefold()), None)
    small = [one for one in models if one.facts.size == "small"]
    larger = [one.total for one in models if one.facts.size in ("medium", "large")]
    best = max(small, key=lambda one: one.total, default=None)
    return Findings(
        closed_minus_open=_apart(closed, opened),
        chinese_minus_anchor=_from(chinese, anchor),
        at_or_above_anchor=sum(total >= anchor for total in chinese) if anchor is not None else 0,
        small_minus_larger=_apart([one.total for one in small], larger),
        best_small=best.name if best else None,
        best_small_rank=1 + sum(one.total > best.total for one in models) if best else None,
        n_models=len(models),
    )


def _apart(a: Sequence[float], b: Sequence[float]) -> Finding:
    n = (len(a), len(b))
    if not a or not b:
        return Finding(difference=None, ci95=None, n=n)
    difference = statistics.fmean(a) - statistics.fmean(b)
    if min(n) < MIN_EACH or len({*a, *b}) == 1:
        return Finding(difference=difference, ci95=None, n=n)
    from scipy.stats import ttest_ind

    bounds = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return Finding(difference=difference, ci95=(float(bounds.low), float(bounds.high)), n=n)


def _from(values: Sequence[float], anchor: float | None) -> Finding:
    n = (len(values), int(anchor is not None))
    if not values or anchor is None:
        return Finding(difference=None, ci95=None, n=n)
    difference = statistics.fmean(values) - anchor
    if len(set(values)) < MIN_EACH:
        return Finding(difference=difference, ci95=None, n=n)
    from scipy.stats import ttest_1samp

    bounds = ttest_1samp(values, anchor).confidence_interval(0.95)
    return Finding(difference=difference, ci95=(float(bounds.low) - anchor, float(bounds.high) - anchor), n=n)
