"""Every two of many runs on the same pairs: differences, intervals and tests of thousands of comparisons at once.

The interval is `interval`'s of a difference, in closed form. Score and sign-flip test are linear in a run's scores: signs drawn
once and applied to each run, a difference of two runs is the difference of what was drawn for each. All comparisons over
the same pairs share the signs; each by itself is the test of `permutation`.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from scsafety import taxonomy
from scsafety.metrics.interval import MIN_PAIRS, MIN_PAIRS_OF_ONE, Moments, bounds, moments, row_shares
from scsafety.metrics.permutation import PERMUTATIONS, holm
from scsafety.metrics.score import FULL_MARK, ScoreTable, aggregate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

CHUNK = 1_000  # permutations held in memory at a time
ROUNDING = 1e-4  # of a score: what is equal but for rounding, in single precision, counts as equal


class Pairwise(msgspec.Struct, frozen=True):
    """Rows by comparisons; NaN where there is nothing to say. Differences are the second run minus the first, -100 to 100."""

    rows: tuple[str, ...]  # overall, round_1 ..., gap, dimensions, sub-dimensions
    places: tuple[tuple[int, int], ...]  # the two runs of each comparison, the earlier first
    value: NDArray[np.float64]
    low: NDArray[np.float64]  # of the 95% interval
    high: NDArray[np.float64]
    p: NDArray[np.float64]
    p_holm: NDArray[np.float64]  # corrected for the other rows of its family
    n: NDArray[np.int64]  # pairs


def families(n_rounds: int) -> list[tuple[str, ...]]:
    """Rows that are tested together and corrected for each other; the overall score is one question of its own."""
    rounds = tuple(f"round_{r}" for r in range(1, n_rounds + 1))
    dimensions, subs = (tuple(one.id for one in of) for of in (taxonomy.dimensions(), taxonomy.sub_dimensions()))
    return [("overall",), (*rounds, "gap"), dimensions, subs]


def pairwise_differences(
    pairs: Sequence[str],
    sub_dimensions: Sequence[str],
    scores: NDArray[np.float64],
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> Pairwise:
    """scores: (n_runs, n_pairs, n_rounds), 0 to 2, NaN where a run has no score of the pair; two runs are compared over the
    pairs that both have in every round.
    """
    n_runs, _, n_rounds = scores.shape
    rows = tuple(name for family in families(n_rounds) for name in family)
    places = tuple(combinations(range(n_runs), 2))
    empty = np.full((len(rows), len(places)), np.nan)
    value, low, high, p, p_holm = (empty.copy() for _ in range(5))
    found = Pairwise(rows, places, value, low, high, p, p_holm, np.zeros(empty.shape, dtype=np.int64))
    known: NDArray[np.bool_] = np.logical_not(np.isnan(scores).any(axis=2))
    by_set: defaultdict[bytes, list[int]] = defaultdict(list)
    for k, (i, j) in enumerate(places):
        by_set[(known[i] & known[j]).tobytes()].append(k)
    for key, ks in by_set.items():
        common = np.flatnonzero(np.frombuffer(key, dtype=bool)).tolist()
        if common:
            table = _Table([pairs[k] for k in common], [sub_dimensions[k] for k in common], scores[:, common], rows)
            _compare(table, found, np.array(ks), seed=seed, permutations=permutations)
    _correct(found, n_rounds)
    return found


class _Table:
    """All runs over one set of pairs."""

    def __init__(
        self, pairs: Sequence[str], subs: Sequence[str], scores: NDArray[np.float64], rows: Sequence[str]
    ) -> None:
        strata = ScoreTable(pairs, subs, scores[0]).strata()
        self.scores = [scores[:, of].transpose(1, 0, 2).reshape(of.size, -1) for of in strata.values()]
        self.shape = scores.shape[0], scores.shape[2]
        self.subs, self.rows = tuple(strata), rows
        self.sizes = np.array([of.size for of in strata.values()])

    def rows_of(self, weights: Callable[[int], NDArray[np.float64]], n: int) -> Iterator[NDArray[np.float64] | None]:
        """Each row's (n_runs, n) values, when a sub-dimension of `size` pairs has the means `weights(size)` (n, size) make
        of its scores; None for a row without pairs.
        """
        runs, n_rounds = self.shape
        means = np.stack([weights(of.shape[0]) @ of for of in self.scores], axis=1) * (100 / FULL_MARK)
        means = means.reshape(n, len(self.subs), runs, n_rounds).transpose(2, 0, 1, 3)  # (runs, n, subs, rounds)
        rounds, dimensions = aggregate(means, self.subs)
        values = {"overall": rounds.mean(axis=-1), "gap": rounds[..., -1] - rounds[..., 0]}
        values |= {f"round_{r + 1}": rounds[..., r] for r in range(n_rounds)}
        values |= {name: of.mean(axis=-1) for name, of in dimensions.items()}
        values |= {name: means[:, :, k].mean(axis=-1) for k, name in enumerate(self.subs)}
        yield from (values.get(name) for name in self.rows)

    def of_row(self, row: str) -> NDArray[np.intp]:
        """Sizes of the sub-dimensions that enter a row."""
        of = {row} if row in self.subs else {sub for sub in self.subs if taxonomy.dimension_of(sub) == row}
        return self.sizes[[not of or sub in of for sub in self.subs]]


def _compare(table: _Table, found: Pairwise, ks: NDArray[np.intp], *, seed: int, permutations: int) -> None:
    """Fill in the comparisons `ks`, all over the pairs of `table`."""
    first, second = np.array(found.places)[ks].T
    plain = list(table.rows_of(lambda size: np.full((1, size), 1 / size), 1))
    for r, values in enumerate(plain):
        if values is not None:
            found.value[r, ks] = values[second, 0] - values[first, 0]
            found.n[r, ks] = table.of_row(found.rows[r]).sum()
    _set_intervals(table, found, ks)
    rng = np.random.default_rng(seed)
    larger = np.zeros((len(found.rows), ks.size))
    observed = np.abs(found.value[:, ks]).astype(np.float32) - np.float32(ROUNDING)
    for done in range(0, permutations, CHUNK):
        n = min(CHUNK, permutations - done)
        for r, values in enumerate(table.rows_of(lambda size, n=n: _signs(rng, n, size), n)):  # type: ignore[misc]
            if values is None:
                continue
            for of, differences in _by_first(values, first, second):
                np.abs(differences, out=differences)
                larger[r, of] += np.count_nonzero(differences >= observed[r, of][:, None], axis=1)
    found.p[:, ks] = np.where(found.n[:, ks] > 1, (larger + 1) / (permutations + 1), np.nan)


def _set_intervals(table: _Table, found: Pairwise, ks: NDArray[np.intp]) -> None:
    runs, n_rounds = table.shape
    shares = row_shares(table.subs, np.ones((len(table.subs), n_rounds), dtype=bool))
    shown = {
        name: of
        for name, of in shares.items()
        if table.of_row(name).min() >= (MIN_PAIRS_OF_ONE if name in table.subs else MIN_PAIRS)
    }
    by_run = [of.reshape(-1, runs, n_rounds).transpose(1, 0, 2) / FULL_MARK for of in table.scores]
    first, second = np.array(found.places)[ks].T
    for i in np.unique(first):
        of = np.flatnonzero(first == i)
        each = [moments(scores[second[of]] - scores[i]) for scores in by_run]
        differences = Moments(*(np.stack(parts, axis=1) for parts in zip(*each, strict=True)))
        for name, share in shown.items():
            r = found.rows.index(name)
            low, high = bounds(differences, share, signed=True, reach=2.0 if name == "gap" else 1.0)
            found.low[r, ks[of]], found.high[r, ks[of]] = low * 100, high * 100


def _by_first(
    values: NDArray[np.float64], first: NDArray[np.intp], second: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Comparisons that share their first run, with their differences; in single precision, as this is where the time goes."""
    single = values.astype(np.float32)
    for i in np.unique(first):
        of = np.flatnonzero(first == i)
        others = second[of]
        in_a_row = others[-1] - others[0] + 1 == others.size  # the usual case, and a view where the other is a copy
        yield of, (single[others[0] : others[-1] + 1] if in_a_row else single[others]) - single[i]


def _signs(rng: np.random.Generator, n: int, size: int) -> NDArray[np.float64]:
    return np.asarray((rng.integers(0, 2, size=(n, size)) * 2.0 - 1) / size)


def _correct(found: Pairwise, n_rounds: int) -> None:
    for family in families(n_rounds):
        of = [found.rows.index(name) for name in family]
        for k in range(len(found.places)):
            known = {str(r): float(found.p[r, k]) for r in of if not np.isnan(found.p[r, k])}
            for r, p in holm(known).items():
                found.p_holm[int(r), k] = p
