"""Two runs on the same pairs: is the difference more than chance?

Sources: the paired (sign-flip) permutation test, Fisher 1935, and Dror et al. 2018 (ACL) for its use on systems; Holm 1979
(Scandinavian Journal of Statistics 6) for several tests; the pair is the unit, both rounds together (Miller 2024,
arXiv:2411.00640); McNemar 1947 (Psychometrika 12), exact, for answers that are right or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from scsafety import taxonomy
from scsafety.metrics.interval import Interval, rao_wu_intervals
from scsafety.metrics.score import FULL_MARK, ScoreTable, boards

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

PERMUTATIONS = 10_000
CHUNK = 500
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
    table = ScoreTable(pairs, sub_dimensions, b - a)
    board, cis = boards(table), rao_wu_intervals(table, seed=seed)
    by_pair = (b - a).mean(axis=1) * 100 / FULL_MARK
    subs = np.array(sub_dimensions)
    rng = np.random.default_rng(seed)

    def test(rows: NDArray[np.bool_]) -> float | None:
        return sign_flip_p(by_pair[rows], _shares(subs[rows]), rng=rng, permutations=permutations)

    of_dimension = np.array([taxonomy.dimension_of(name) for name in sub_dimensions])
    dims = {
        name: Difference(value, cis.dimensions[name], test(of_dimension == name), int((of_dimension == name).sum()))
        for name, value in board.dimensions.items()
    }
    own = {
        name: Difference(value, cis.sub_dimensions[name], test(subs == name), int((subs == name).sum()))
        for name, value in board.sub_dimensions.items()
    }
    everything = np.ones(len(pairs), dtype=bool)
    overall = Difference(board.overall, cis.overall, test(everything), len(pairs))
    shares = _shares(subs)
    error = float(np.sqrt((shares**2 * by_pair**2).sum())) if len(pairs) > 1 else None
    return Paired(overall, _corrected(dims), _corrected(own), POWER * error if error is not None else None)


def sign_flip_p(
    differences: NDArray[np.float64],
    shares: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    permutations: int = PERMUTATIONS,
) -> float | None:
    """Two-sided p of the weighted mean of paired differences; None for fewer than two pairs.

    Under the null either run might have given either answer, so each pair's sign is a coin's.
    """
    if differences.size < 2:
        return None
    weighted = differences * shares
    observed = abs(float(weighted.sum())) * (1 - 1e-9)  # what is equal but for rounding counts
    larger = 0
    for done in range(0, permutations, CHUNK):
        n = min(CHUNK, permutations - done)
        signs = rng.integers(0, 2, size=(n, differences.size), dtype=np.int8) * 2 - 1
        larger += int((np.abs(signs @ weighted) >= observed).sum())
    return (larger + 1) / (permutations + 1)


def mcnemar_p(one_way: int, other_way: int) -> float:
    """Exact two-sided p of the pairs that went one way and the other; those that stayed say nothing.

    Under the null either way is a coin's: 1 of 6 is 2 (1 + 6) / 64.

    >>> mcnemar_p(1, 5), mcnemar_p(0, 0)
    (0.21875, 1.0)
    """
    n, least = one_way + other_way, min(one_way, other_way)
    if not n:
        return 1.0
    from scipy.stats import binom

    return min(1.0, 2 * float(binom.cdf(least, n, 0.5)))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    corrected: dict[str, float] = {}
    highest = 0.0
    for k, name in enumerate(sorted(p, key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - k) * p[name]))
        corrected[name] = round(highest, 12)
    return {name: corrected[name] for name in p}


def _corrected(tests: dict[str, Difference]) -> dict[str, Difference]:
    by_name = holm({name: one.p for name, one in tests.items() if one.p is not None})
    return {name: msgspec.structs.replace(one, p_holm=by_name.get(name)) for name, one in tests.items()}


def _shares(subs: NDArray[np.str_]) -> NDArray[np.float64]:
    """What each pair weighs in the board's score; they sum to 1."""
    weight = taxonomy.weights()
    names, of, n = np.unique(subs, return_inverse=True, return_counts=True)
    of_sub = np.array([weight[str(name)] for name in names], dtype=float)
    return np.asarray((of_sub / of_sub.sum() / n)[of])
