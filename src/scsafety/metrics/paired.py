"""Two runs on the same pairs: is the difference more than chance?

The figures are those of `pairwise`, of which this is the case of two runs, so that every page and command that compares the
same two says the same. The pair is the unit, both rounds together (Miller 2024, arXiv:2411.00640).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from scsafety import taxonomy
from scsafety.metrics.pairwise import pairwise_differences
from scsafety.metrics.permutation import PERMUTATIONS
from scsafety.metrics.score import FULL_MARK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scsafety.metrics.interval import Interval

POWER = 2.8  # standard errors: a difference so large is found with a power of 80% at 5%, two-sided


class Difference(msgspec.Struct, frozen=True):
    """b - a on a scale of -100 to 100, over the pairs that both judged in every round."""

    value: float
    ci95: Interval
    p: float | None  # None: fewer than two pairs
    n: int  # pairs
    p_holm: float | None = None  # corrected for the other tests of its kind


class Paired(msgspec.Struct, frozen=True):
    overall: Difference
    dimensions: dict[str, Difference]
    sub_dimensions: dict[str, Difference]
    detectable: float | None  # the least overall difference that this many pairs would find four times of five


def paired_differences(
    pairs: Sequence[str],
    sub_dimensions: Sequence[str],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> Paired:
    """a, b: (n_pairs, n_rounds) of 0 to 2, without NaN: the common answered set.

    The overall score weighs sub-dimensions as the board does, so that the test is of the number that is shown.
    """
    found = pairwise_differences(pairs, sub_dimensions, np.stack([a, b]), seed=seed, permutations=permutations)

    def on(row: str, *, alone: bool = False) -> Difference:
        r = found.rows.index(row)
        value, low, high, p, p_holm = (
            float(of[r, 0]) for of in (found.value, found.low, found.high, found.p, found.p_holm)
        )
        ci = None if np.isnan(low) else (low, high)
        tested = not np.isnan(p)
        corrected = p_holm if tested and not alone else None
        return Difference(value, ci, p if tested else None, int(found.n[r, 0]), corrected)

    present = {*sub_dimensions, *map(taxonomy.dimension_of, sub_dimensions)}
    return Paired(
        overall=on("overall", alone=True),
        dimensions={one.id: on(one.id) for one in taxonomy.dimensions() if one.id in present},
        sub_dimensions={one.id: on(one.id) for one in taxonomy.sub_dimensions() if one.id in present},
        detectable=_detectable(sub_dimensions, b - a) if len(pairs) > 1 else None,
    )


def detectable_difference(differences: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    """The least true difference that four of five such pairs of runs would find: `POWER` standard errors of the test."""
    return POWER * float(np.sqrt((shares**2 * differences**2).sum()))


def _detectable(sub_dimensions: Sequence[str], differences: NDArray[np.float64]) -> float:
    """Each pair weighs what it weighs in the board's score."""
    weight = taxonomy.weights()
    names, of, n = np.unique(np.array(sub_dimensions), return_inverse=True, return_counts=True)
    of_sub = np.array([weight[str(name)] for name in names], dtype=float)
    shares = np.asarray((of_sub / of_sub.sum() / n)[of])
    return detectable_difference(differences.mean(axis=1) * 100 / FULL_MARK, shares)
