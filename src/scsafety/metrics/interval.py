"""95% intervals by the rescaling bootstrap over pairs.

Source: Rao and Wu, Resampling inference with complex survey data, JASA 83 (1988): within a stratum of n
units draw n-1 with replacement; the plain bootstrap, which draws n, understates the variance by (n-1)/n,
which matters at 2 to 8 pairs a sub-dimension. Both rounds and all epochs of a pair stay together, since they are
not independent (Miller 2024, arXiv:2411.00640).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from scsafety import taxonomy
from scsafety.metrics.score import FULL_MARK, ScoreTable, aggregate

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_PAIRS = 3  # a sub-dimension, for the boards above it
MIN_PAIRS_OF_ONE = 20  # for a single sub-dimension's own score
DRAWS = 2_000

Interval = tuple[float, float] | None  # None: too few pairs to say


class Intervals(msgspec.Struct, frozen=True):
    """The intervals of a `Board`, same keys."""

    overall: Interval
    rounds: tuple[Interval, ...]
    gap: Interval
    dimensions: dict[str, Interval]
    sub_dimensions: dict[str, Interval]


def rao_wu_intervals(
    table: ScoreTable,
    *,
    seed: int,
    draws: int = DRAWS,
    min_pairs: int = MIN_PAIRS,
    min_pairs_of_one: int = MIN_PAIRS_OF_ONE,
) -> Intervals:
    """95% percentile intervals of every board of `table`, 0 to 100.

    None where a sub-dimension that enters has verdicts on fewer than `min_pairs` pairs in one of its rounds, and for
    a sub-dimension's own score where it has fewer than `min_pairs_of_one`. Pairs without a verdict are not drawn.
    """
    rng = np.random.default_rng(seed)
    strata = table.strata()
    n_rounds = table.scores.shape[1]
    if not strata:
        return Intervals(None, (None,) * n_rounds, None, {}, {})
    n_judged = np.array([(~np.isnan(table.scores[rows])).sum(axis=0) for rows in strata.values()])
    means = np.stack([_resampled_means(table.scores[rows], rng, draws) for rows in strata.values()], axis=1)
    rounds, dimensions = aggregate(means, tuple(strata))
    of_dimension = np.array([taxonomy.dimension_of(name) for name in strata])

    def on(values: NDArray[np.float64], counts: NDArray[np.intp], enough: int = min_pairs) -> Interval:
        present = counts[counts > 0]
        return _percentiles(values) if present.size and present.min() >= enough else None

    return Intervals(
        overall=on(_nanmean(rounds), n_judged),
        rounds=tuple(on(rounds[:, r], n_judged[:, r]) for r in range(n_rounds)),
        gap=on(rounds[:, -1] - rounds[:, 0], n_judged) if n_rounds > 1 else None,
        dimensions={name: on(_nanmean(values), n_judged[of_dimension == name]) for name, values in dimensions.items()},
        sub_dimensions={
            name: on(_nanmean(means[:, k]), n_judged[k], min_pairs_of_one) for k, name in enumerate(strata)
        },
    )


def share_interval(
    values: NDArray[np.float64], strata: NDArray[np.intp], *, seed: int, draws: int = DRAWS, min_pairs: int = MIN_PAIRS
) -> Interval:
    """95% interval of the plain mean of `values` (n_units,), NaN left out; units drawn within `strata`, n-1 of n.

    None where a stratum that enters has fewer than `min_pairs` values.
    """
    rng = np.random.default_rng(seed)
    known = ~np.isnan(values)
    groups = [np.unique(values[known & (strata == s)], return_counts=True) for s in np.unique(strata[known])]
    sizes = [int(counts.sum()) for _, counts in groups]
    if not groups or min(sizes) < min_pairs:
        return None
    # the mean of n-1 draws stands for the n units of its stratum
    means = [_draw(counts, rng, draws) @ kinds / max(counts.sum() - 1, 1) for kinds, counts in groups]
    return _percentiles(np.average(means, axis=0, weights=sizes))


def _resampled_means(scores: NDArray[np.float64], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """(draws, n_rounds): means of resampled pairs, 0 to 100, NaN where a draw holds no verdict of that round."""
    known = ~np.isnan(scores)
    judged = known.any(axis=1)
    if not judged.any():
        return np.full((draws, scores.shape[1]), np.nan)
    # a difference of two runs may be negative, so no number of the scale can stand for "no verdict"
    kinds, counts = np.unique(np.where(known, scores, -np.inf)[judged], axis=0, return_counts=True)
    drawn, known = _draw(counts, rng, draws), np.isfinite(kinds)
    with np.errstate(invalid="ignore"):
        return np.asarray((drawn @ np.where(known, kinds, 0.0)) / (drawn @ known) * (100 / FULL_MARK))


def _draw(counts: NDArray[np.intp], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """(draws, kinds): how often a unit of each kind is drawn, n-1 of n; a lone unit is always drawn once.

    counts: (kinds,) units of each kind. Units with the same scores are one kind, since which of them is drawn does not
    matter: a multinomial over kinds is the same distribution, and as fast for a hundred thousand units as for ten.
    """
    n = int(counts.sum())
    return rng.multinomial(max(n - 1, 1), counts / n, size=draws).astype(float)


def _nanmean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=-1) / known.sum(axis=-1))


def _percentiles(values: NDArray[np.float64]) -> Interval:
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
