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

    None where the smallest sub-dimension that enters has fewer than `min_pairs` pairs, and for a sub-dimension's
    own score where it has fewer than `min_pairs_of_one`.
    """
    rng = np.random.default_rng(seed)
    strata = table.strata()
    n_rounds = table.scores.shape[1]
    if not strata:
        return Intervals(None, (None,) * n_rounds, None, {}, {})
    means = np.stack([_resampled_means(table.scores[rows], rng, draws) for rows in strata.values()], axis=1)
    rounds, dimensions = aggregate(means, tuple(strata))
    sizes = {name: rows.size for name, rows in strata.items()}
    enough = min(sizes.values()) >= min_pairs
    of_dimension = {
        name: min(size for sub, size in sizes.items() if taxonomy.dimension_of(sub) == name) >= min_pairs
        for name in dimensions
    }
    return Intervals(
        overall=_percentiles(_nanmean(rounds)) if enough else None,
        rounds=tuple(_percentiles(rounds[:, r]) if enough else None for r in range(n_rounds)),
        gap=_percentiles(rounds[:, -1] - rounds[:, 0]) if enough and n_rounds > 1 else None,
        dimensions={
            name: _percentiles(_nanmean(values)) if of_dimension[name] else None for name, values in dimensions.items()
        },
        sub_dimensions={
            name: _percentiles(_nanmean(means[:, k])) if size >= min_pairs_of_one else None
            for k, (name, size) in enumerate(sizes.items())
        },
    )


def share_interval(
    values: NDArray[np.float64], strata: NDArray[np.intp], *, seed: int, draws: int = DRAWS, min_pairs: int = MIN_PAIRS
) -> Interval:
    """95% interval of the plain mean of `values` (n_units,), NaN left out; units drawn within `strata`, n-1 of n."""
    rng = np.random.default_rng(seed)
    groups = [values[strata == s] for s in np.unique(strata)]
    if not groups or min(group.size for group in groups) < min_pairs:
        return None
    total, count = np.zeros(draws), np.zeros(draws)
    for group in groups:
        drawn = _draw(group.size, rng, draws)
        known = ~np.isnan(group)
        # n/(n-1) gives each stratum its full weight back
        total += drawn @ np.where(known, group, 0.0) * (group.size / (group.size - 1))
        count += drawn @ known * (group.size / (group.size - 1))
    with np.errstate(invalid="ignore"):
        return _percentiles(total / count)


def _resampled_means(scores: NDArray[np.float64], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """(draws, n_rounds): means of resampled pairs, 0 to 100, NaN where a draw holds no verdict of that round."""
    known = ~np.isnan(scores)
    drawn = _draw(scores.shape[0], rng, draws)
    with np.errstate(invalid="ignore"):
        return np.asarray((drawn @ np.where(known, scores, 0.0)) / (drawn @ known) * (100 / FULL_MARK))


def _draw(n: int, rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """(draws, n): how often each unit is drawn; a lone unit is always drawn once."""
    return rng.multinomial(max(n - 1, 1), np.full(n, 1 / n), size=draws).astype(float)


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
