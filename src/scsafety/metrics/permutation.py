"""Is a paired difference more than chance? The sign-flip test and what several tests together cost.

Sources: the paired permutation test, Fisher 1935, and Dror et al. 2018 (ACL) for its use on systems; Holm 1979
(Scandinavian Journal of Statistics 6); McNemar 1947 (Psychometrika 12), exact, for answers that are right or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

PERMUTATIONS = 10_000
CHUNK = 500


def sign_flip_p(
    differences: NDArray[np.float64],
    shares: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    permutations: int = PERMUTATIONS,
) -> float | None:
    """Two-sided p of the weighted mean of paired differences; None for fewer than two pairs.

    Under the null either run might have given either answer, so each pair's sign is a coin's. `pairwise` does the same for
    many comparisons and rows at once.
    """
    if differences.size < 2:
        return None
    weighted = differences * shares
    observed = abs(float(weighted.sum())) - 1e-9 * float(
        np.abs(weighted).sum()
    )  # what is equal but for rounding counts
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
