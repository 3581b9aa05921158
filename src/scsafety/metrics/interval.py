"""95% intervals of scores and shares, in closed form: pairs drawn within sub-dimensions.

Both rounds and all epochs of a pair stay together, since they are not independent (Miller 2024, arXiv:2411.00640): the
variance is that of stratified sampling with the pair as unit. From it

- a score or a share, which has ends, gets Wilson's score interval for the number of independent answers that would have this
  variance (Korn and Graubard 1998, Survey Methodology 24; Franco et al. 2019, JSSAM 7), so that it holds near 0 and
  100 as well, where a bootstrap has nothing to draw;
- a difference, of two rounds or two runs, gets Student's interval around it.

Both with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946), since a sub-dimension of a few pairs knows its own
variance badly. How often they hold the truth: docs/statistics.md, `benchmarks/interval_coverage.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from scsafety import taxonomy
from scsafety.metrics.score import FULL_MARK, ScoreTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MIN_PAIRS = 3  # a sub-dimension, for the boards above it
MIN_PAIRS_OF_ONE = 20  # for a single sub-dimension's own score
LEVEL = 0.975  # of the two-sided 95%
NOTHING = 1e-20  # a variance below is rounding: one answer of ten million makes more

Interval = tuple[float, float] | None  # None: too few pairs to say


class Intervals(msgspec.Struct, frozen=True):
    """The intervals of a `Board`, same keys."""

    overall: Interval
    rounds: tuple[Interval, ...]
    gap: Interval
    dimensions: dict[str, Interval]
    sub_dimensions: dict[str, Interval]


class Moments(NamedTuple):
    """What an interval needs of a stratum's pairs; values 0 to 1. Any axes may stand in front: strata, simulations."""

    means: NDArray[np.float64]  # (..., n_rounds), 0 where nothing was judged
    covariances: NDArray[np.float64]  # (..., n_rounds, n_rounds), of these means
    pairs: NDArray[np.intp]  # (...), with a verdict
    judged: NDArray[np.intp]  # (..., n_rounds), answers
    off_ends: NDArray[np.intp]  # (..., n_rounds, 2), answers above 0, answers below 1


def moments(values: NDArray[np.float64]) -> Moments:
    """values: (..., n_pairs, n_rounds), NaN where there is no verdict."""
    known = ~np.isnan(values)
    held = np.where(known, values, 0.0)
    judged, pairs = known.sum(axis=-2), known.any(axis=-1).sum(axis=-1)
    means = held.sum(axis=-2) / np.maximum(judged, 1)
    spread = np.where(known, held - means[..., None, :], 0.0) / np.maximum(judged, 1)[..., None, :]
    unbiased = pairs / np.maximum(pairs - 1, 1)
    covariances = np.swapaxes(spread, -1, -2) @ spread * unbiased[..., None, None]
    off_ends = np.stack([((values > 0) & known).sum(axis=-2), ((values < 1) & known).sum(axis=-2)], axis=-1)
    return Moments(means, covariances, pairs, judged, off_ends)


def bounds(
    of: Moments, shares: NDArray[np.float64], *, signed: bool = False, reach: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high bound of the sum of `shares` x means.

    of: moments with the axis of strata last before those named. shares: (n_strata, n_rounds), what each mean enters with.
    signed: the sum is a difference, at most `reach` on either side of 0; else it is a mean, 0 to 1.
    """
    from scipy.special import stdtrit

    estimate = (shares * of.means).sum(axis=(-2, -1))
    by_stratum = np.einsum("hr,...hrs,hs->...h", shares, of.covariances, shares)
    variance = by_stratum.sum(axis=-1)
    used, varies = shares != 0, variance > NOTHING
    freedom = np.maximum(of.pairs - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        satterthwaite = variance**2 / (by_stratum**2 / freedom).sum(axis=-1)
        answer = np.where(used, np.abs(shares) / of.judged, 0.0)  # what one answer moves the sum by, at most
        in_all = 1 / np.where(used.any(axis=-1), shares.sum(axis=-1) ** 2 / of.pairs, 0.0).sum(axis=-1)
    t = stdtrit(np.where(varies, satterthwaite, (freedom * used.any(axis=-1)).sum(axis=-1)), LEVEL)
    if signed:
        # where hardly anything differs the spread is not known to be less than one more answer of one point would make it
        half = t * np.maximum(np.sqrt(variance), answer.max(axis=(-2, -1)) / FULL_MARK)
        return np.maximum(estimate - half, -reach), np.minimum(estimate + half, reach)
    # Where nothing varies within a stratum: as if one more pair did. With all at one end it is Wilson's interval of the pairs.
    off_end = (of.off_ends * used[..., None]).sum(axis=(-3, -2)).min(axis=-1) / used.any(axis=0).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        n = np.where(varies, estimate * (1 - estimate) / variance, in_all * (off_end + 1))
    centre = estimate + t**2 / (2 * n)
    half = t * np.sqrt(np.maximum(estimate * (1 - estimate), 0.0) / n + (t / (2 * n)) ** 2)
    scale = 1 + t**2 / n
    return np.maximum((centre - half) / scale, 0.0), np.minimum((centre + half) / scale, 1.0)


def row_shares(sub_dimensions: Sequence[str], present: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """What each mean enters a board's rows with: overall, round_1 and so on, gap, dimensions, sub-dimensions.

    present: (n_sub_dimensions, n_rounds), whether there is a mean. Rows that lack theirs are left out.
    """
    weight = np.array([taxonomy.sub_dimension(name).pairs for name in sub_dimensions], dtype=float)
    of_dimension = np.array([taxonomy.dimension_of(name) for name in sub_dimensions])
    n_rounds = present.shape[1]

    def on(rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> NDArray[np.float64]:
        return _shares(weight, present & rows[:, None] & columns)

    everything, every_round = np.ones(len(sub_dimensions), dtype=bool), np.ones(n_rounds, dtype=bool)
    rounds = [on(everything, np.arange(n_rounds) == r) for r in range(n_rounds)]
    found = {"overall": on(everything, every_round)}
    found |= {f"round_{r}": of for r, of in enumerate(rounds, start=1)}
    if rounds[0].any() and rounds[-1].any():
        found["gap"] = rounds[-1] - rounds[0]
    found |= {one.id: on(of_dimension == one.id, every_round) for one in taxonomy.dimensions()}
    found |= {name: on(np.arange(len(sub_dimensions)) == k, every_round) for k, name in enumerate(sub_dimensions)}
    return {name: shares for name, shares in found.items() if shares.any()}


def board_intervals(
    table: ScoreTable, *, min_pairs: int = MIN_PAIRS, min_pairs_of_one: int = MIN_PAIRS_OF_ONE
) -> Intervals:
    """95% intervals of every board of `table`, 0 to 100.

    None where a sub-dimension that enters has verdicts on fewer than `min_pairs` pairs in one of its rounds, and for
    a sub-dimension's own score where it has fewer than `min_pairs_of_one`. Pairs without a verdict do not count.
    """
    strata = table.strata()
    n_rounds = table.scores.shape[1]
    if not strata:
        return Intervals(None, (None,) * n_rounds, None, {}, {})
    each = [moments(table.scores[rows] / FULL_MARK) for rows in strata.values()]
    of = Moments(*(np.stack(parts) for parts in zip(*each, strict=True)))
    shares = row_shares(tuple(strata), of.judged > 0)
    dimensions = {taxonomy.dimension_of(name) for name in strata}

    def on(row: str, enough: int = min_pairs) -> Interval:
        if row not in shares or of.judged[shares[row] != 0].min() < enough:
            return None
        low, high = bounds(of, shares[row], signed=row == "gap")
        return float(low) * 100, float(high) * 100

    return Intervals(
        overall=on("overall"),
        rounds=tuple(on(f"round_{r}") for r in range(1, n_rounds + 1)),
        gap=on("gap"),
        dimensions={one.id: on(one.id) for one in taxonomy.dimensions() if one.id in dimensions},
        sub_dimensions={name: on(name, min_pairs_of_one) for name in strata},
    )


def share_interval(values: NDArray[np.float64], strata: NDArray[np.intp], *, min_pairs: int = MIN_PAIRS) -> Interval:
    """95% interval of the plain mean of `values` (n_units,), 0 to 1, NaN left out; units drawn within `strata`.

    None where a stratum that enters has fewer than `min_pairs` values.
    """
    known = ~np.isnan(values)
    groups = [values[known & (strata == s)] for s in np.unique(strata[known])]
    if not groups or min(group.size for group in groups) < min_pairs:
        return None
    of = Moments(*(np.stack(parts) for parts in zip(*(moments(group[:, None]) for group in groups), strict=True)))
    low, high = bounds(of, of.pairs[:, None] / of.pairs.sum())
    return float(low), float(high)


def _shares(weight: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What each mean of `present` (n_strata, n_rounds) enters the score with: weighted within a round, rounds alike."""
    shares = weight[:, None] * present
    rounds = shares.sum(axis=0)
    entering = rounds > 0
    return np.where(entering, shares / np.where(entering, rounds, 1.0), 0.0) / max(int(entering.sum()), 1)
