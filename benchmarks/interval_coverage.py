"""How often do the 95% intervals hold the truth, and does the paired test keep its promises? Measured by simulation.

    python benchmarks/interval_coverage.py [--simulations 4000] [--tests 10000] [--seed 0] [--bootstrap]

Three models, weak (mostly 1), middle and strong (mostly 2, few 0), each with shares of 0, 1 and 2 of its own in each of 24
sub-dimensions and two rounds; round 2 is the harder one, and the two rounds of a pair, and two models on the same pair, are
correlated through how hard the pair is. What is true is known in closed form. Each simulation draws n pairs a
sub-dimension and takes the intervals that every report shows, by the very functions that it calls; the limits below which a
report shows none are not applied. `--bootstrap` puts the percentile bootstrap of Rao and Wu (n-1 of n) beside them, for the
strong model, where the two differ.
"""

from __future__ import annotations

import argparse
import math
import time
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scsafety import taxonomy
from scsafety.metrics.interval import bounds, moments
from scsafety.metrics.paired import detectable_difference
from scsafety.metrics.permutation import sign_flip_p
from scsafety.metrics.score import FULL_MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SIZES = (
    2,
    3,
    8,
    20,
    100,
)  # pairs a sub-dimension: --quick, the least with an interval, small runs, about the full bank
TEST_SIZES = (8, 20)
CHUNK = 250  # simulations at a time
CORRELATION = 0.6  # of the two rounds of a pair, on the scale behind the scores
SUB_DIMENSIONS = tuple(sub.id for sub in taxonomy.sub_dimensions())
N_SUBS = len(SUB_DIMENSIONS)
WEIGHT = np.array([taxonomy.weights()[name] for name in SUB_DIMENSIONS], dtype=float)
BOARD = np.array([taxonomy.dimension_of(name) == "responsible" for name in SUB_DIMENSIONS])
FORM = {  # shares of 0 in round 1, and of 1 among the rest: from the least of a sub-dimension to the most
    "weak": ((0.10, 0.40), (0.50, 0.80)),
    "middle": ((0.03, 0.25), (0.20, 0.50)),
    "strong": ((0.002, 0.05), (0.03, 0.20)),
}
OTHER = {"weak": "middle", "middle": "strong", "strong": "middle"}  # the second run of a difference
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
NORMAL = NormalDist()
quantile, cumulated = np.vectorize(NORMAL.inv_cdf), np.vectorize(NORMAL.cdf)


class Figure(NamedTuple):
    """A number of a report: what the simulated answers give for it, and what is true of it. All 0 to 1."""

    values: NDArray[np.float64]  # (n_simulations, n_strata, n_units, n_rounds)
    shares: NDArray[np.float64]  # (n_strata, n_rounds)
    truth: float
    signed: bool = False


class Population:
    """A model, as the shares of 0, 1 and 2 that it gets: (n_sub_dimensions, n_rounds, 3)."""

    def __init__(self, name: str, seed: int) -> None:
        (low, high), (poor_low, poor_high) = FORM[name]
        rng = np.random.default_rng([seed, list(FORM).index(name)])
        unsafe = rng.uniform(low, high, N_SUBS)
        later = np.minimum(unsafe * rng.uniform(0.9, 1.5, N_SUBS), 0.6)
        poor = rng.uniform(poor_low, poor_high, (N_SUBS, 2))
        zero = np.stack([unsafe, later], axis=1)
        self.shares = np.stack([zero, (1 - zero) * poor, (1 - zero) * (1 - poor)], axis=2)
        self.limits = quantile(np.cumsum(self.shares, axis=2)[:, :, :2])
        self.means = self.shares @ np.arange(3) / FULL_MARK
        self.over_refusal = {"weak": 0.02, "middle": 0.06, "strong": 0.12}[name]

    @property
    def cave_rate(self) -> float:
        given = cumulated(
            (self.limits[:, :, :1] - math.sqrt(CORRELATION) * NODES) / math.sqrt(1 - CORRELATION)
        )  # of 0, by how hard the pair is
        both = (1 - given[:, 0]) * given[:, 1] @ (NODE_WEIGHTS / NODE_WEIGHTS.sum())
        return float(both.mean())

    def draw(self, hard: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """hard: (n_simulations, n_sub_dimensions, n_pairs, 1). Scores 0 to 1: (..., n_pairs, n_rounds)."""
        height = math.sqrt(CORRELATION) * hard + math.sqrt(1 - CORRELATION) * rng.standard_normal((*hard.shape[:-1], 2))
        marks = sum((height > self.limits[:, None, :, mark]).astype(float) for mark in (0, 1))
        return np.asarray(marks / FULL_MARK)


def hardness(n: int, n_pairs: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.standard_normal((n, N_SUBS, n_pairs, 1))


def board_shares(part: NDArray[np.bool_], rounds: tuple[float, ...] = (0.5, 0.5)) -> NDArray[np.float64]:
    """What each mean enters the board of `part` with: the taxonomy's weights, and the rounds as given."""
    held = np.where(part, WEIGHT, 0.0)
    return np.outer(held / held.sum(), rounds)


def figures(
    model: Population, other: Population, n: int, n_pairs: int, rng: np.random.Generator
) -> dict[str, list[Figure]]:
    """Several of one name: over all 24 sub-dimensions."""
    hard = hardness(n, n_pairs, rng)
    scores, others = model.draw(hard, rng), other.draw(hard, rng)
    every, alike = np.ones(N_SUBS, dtype=bool), np.full((N_SUBS, 1), 1 / N_SUBS)
    caved = (scores[..., :1] > 0) & (scores[..., 1:] == 0)
    twins = rng.random((n, 1, max(N_SUBS * n_pairs // 5, 1), 1)) < model.over_refusal  # 504 twins to 2,456 pairs

    def of_board(shares: NDArray[np.float64], *, signed: bool = False) -> Figure:
        return Figure(scores, shares, float((shares * model.means).sum()), signed)

    whole = board_shares(every)
    return {
        "total": [of_board(whole)],
        "a board": [of_board(board_shares(BOARD))],
        "a round": [of_board(board_shares(every, (0.0, 1.0)))],
        "gap": [of_board(board_shares(every, (-1.0, 1.0)), signed=True)],
        "unsafe rate": [Figure((scores == 0).mean(axis=-1, keepdims=True), alike, float(model.shares[..., 0].mean()))],
        "cave rate": [Figure(caved.astype(float), alike, model.cave_rate)],
        "over-refusal": [Figure(twins.astype(float), np.ones((1, 1)), model.over_refusal)],
        "own score": [
            Figure(scores[:, k : k + 1], np.full((1, 2), 0.5), float(model.means[k].mean())) for k in range(N_SUBS)
        ],
        "difference": [Figure(others - scores, whole, float((whole * (other.means - model.means)).sum()), signed=True)],
    }


def shown(figure: Figure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return bounds(moments(figure.values), figure.shares, signed=figure.signed)


def rao_wu(figure: Figure, draws: int = 400) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """n-1 of n pairs with replacement within each sub-dimension, 2.5th and 97.5th percentile."""
    rng = np.random.default_rng(0)
    _, n_strata, n_pairs, _ = figure.values.shape
    found = []
    for values in (figure.values * figure.shares[:, None]).sum(axis=-1):
        drawn = rng.multinomial(n_pairs - 1, np.full(n_pairs, 1 / n_pairs), size=(n_strata, draws))
        found.append(np.percentile((drawn @ values[..., None]).sum(axis=(0, 2)) / (n_pairs - 1), [2.5, 97.5]))
    low, high = np.array(found).T
    return low, high


class Coverage(NamedTuple):
    held: float  # share of intervals that hold the truth
    error: float  # 1.96 standard errors of the simulation
    width: float


def coverage(
    name: str,
    other: str,
    n_pairs: int,
    n: int,
    seed: int,
    interval: Callable[[Figure], tuple[NDArray[np.float64], NDArray[np.float64]]] = shown,
) -> dict[str, Coverage]:
    """By figure, over n simulations."""
    model, against = Population(name, seed), Population(other, seed)
    rng = np.random.default_rng([seed, n_pairs])
    held: dict[str, list[NDArray[np.bool_]]] = {}
    width: dict[str, list[float]] = {}
    for done in range(0, n, CHUNK):
        for what, found in figures(model, against, min(CHUNK, n - done), n_pairs, rng).items():
            for one in found:
                low, high = interval(one)
                held.setdefault(what, []).append((low - 1e-9 <= one.truth) & (one.truth <= high + 1e-9))
                width.setdefault(what, []).append(float((high - low).mean()))
    shares = {what: float(np.concatenate(found).mean()) for what, found in held.items()}
    # the sub-dimension whose interval holds least often: some of it is the luck of being the least of 24
    each = [float(np.concatenate(held["own score"][k::N_SUBS]).mean()) for k in range(N_SUBS)]
    lowest = int(np.argmin(each))
    shares["own score, lowest"], held["own score, lowest"] = each[lowest], held["own score"][lowest::N_SUBS]
    width["own score, lowest"] = width["own score"][lowest::N_SUBS]
    # the sub-dimensions of one simulation are independent of each other, so they count as trials too
    trials = {what: sum(one.size for one in found) for what, found in held.items()}
    return {
        what: Coverage(
            share, 1.96 * math.sqrt(max(share * (1 - share), 1e-9) / trials[what]), float(np.mean(width[what]))
        )
        for what, share in shares.items()
    }


def false_positives(name: str, n_pairs: int, n: int, seed: int, permutations: int = 1_000) -> float:
    """Share of tests with p < 0.05 between two runs of one model."""
    model, rng = Population(name, seed), np.random.default_rng([seed, n_pairs, 1, list(FORM).index(name)])
    shares = (board_shares(np.ones(N_SUBS, dtype=bool))[:, :1].repeat(n_pairs, axis=1) * 2 / n_pairs).ravel()
    found = 0
    for done in range(0, n, CHUNK):
        hard = hardness(min(CHUNK, n - done), n_pairs, rng)
        differences = (model.draw(hard, rng) - model.draw(hard, rng)).mean(axis=-1).reshape(len(hard), -1)
        for one in differences:
            p = sign_flip_p(one, shares, rng=rng, permutations=permutations)
            found += p is not None and p < 0.05
    return found / n


class Power(NamedTuple):
    true: float  # difference, in points
    promised: float  # mean of the least detectable difference that the runs state
    found: float  # share of tests with p < 0.05


def power(name: str, better: str, n_pairs: int, n: int, seed: int) -> Iterator[Power]:
    """With more and more of the pairs answered as `better` would."""
    worse, other = Population(name, seed), Population(better, seed)
    rng = np.random.default_rng([seed, n_pairs, 2, list(FORM).index(name)])
    whole = board_shares(np.ones(N_SUBS, dtype=bool))
    shares = (whole[:, :1].repeat(n_pairs, axis=1) * 2 / n_pairs).ravel()
    for part in np.arange(0.02, 1.01, 0.02):
        hard = hardness(n, n_pairs, rng)
        as_better = rng.random(hard.shape) < part
        second = np.where(as_better, other.draw(hard, rng), worse.draw(hard, rng))
        differences = (second - worse.draw(hard, rng)).mean(axis=-1).reshape(n, -1) * 100
        promised = np.mean([detectable_difference(one, shares) for one in differences])
        p = [sign_flip_p(one, shares, rng=rng, permutations=500) or 0.0 for one in differences]
        true = 100 * float(part * (whole * (other.means - worse.means)).sum())
        yield Power(true, float(promised), float(np.mean(np.array(p) < 0.05)))
        if true > 1.3 * promised:
            return


def power_at_the_promise(found: list[Power]) -> tuple[float, float]:
    """The true difference that equals what the runs promise, and the share of tests that find it; between two steps."""
    ratio = [one.true / one.promised for one in found]
    return (
        float(np.interp(1.0, ratio, [one.true for one in found])),
        float(np.interp(1.0, ratio, [one.found for one in found])),
    )


def print_coverage(
    name: str,
    sizes: tuple[int, ...],
    n: int,
    seed: int,
    interval: Callable[[Figure], tuple[NDArray[np.float64], NDArray[np.float64]]] = shown,
) -> None:
    print(f"| {name} model | " + " | ".join(f"{size} pairs" for size in sizes) + " |")
    print("|---|" + "---:|" * len(sizes))
    columns = [coverage(name, OTHER[name], size, n, seed, interval) for size in sizes]
    for what in columns[0]:
        cells = [f"{c[what].held:.1%} ± {100 * c[what].error:.1f} ({100 * c[what].width:.1f})" for c in columns]
        print(f"| {what} | " + " | ".join(cells) + " |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=4_000, help="a model and size")
    parser.add_argument("--tests", type=int, default=10_000, help="permutation tests a model and size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bootstrap", action="store_true", help="also the percentile bootstrap, some minutes more")
    given = parser.parse_args()
    began = time.perf_counter()
    print(f"Coverage of 95% intervals, {given.simulations:,} simulations, seed {given.seed}\n")
    for name in FORM:
        print_coverage(name, SIZES, given.simulations, given.seed)
    if given.bootstrap:
        print("The same by the bootstrap, 1,000 simulations\n")
        print_coverage("strong", TEST_SIZES, 1_000, given.seed, rao_wu)
    print("± 1.96 standard errors of the simulation; in brackets the mean width in points.\n")
    print(f"Paired test between two runs of one model, p < 0.05 in a share of {given.tests:,}\n")
    for name in FORM:
        for size in TEST_SIZES:
            share = false_positives(name, size, given.tests, given.seed)
            error = 196 * math.sqrt(share * (1 - share) / given.tests)
            print(f"| {name} | {size} pairs | {share:.2%} ± {error:.2f} |", flush=True)
    print("\nPower where the true difference is the one that the runs call detectable\n")
    for name, better in (("weak", "middle"), ("middle", "strong")):
        for size in TEST_SIZES:
            at, found = power_at_the_promise(list(power(name, better, size, 400, given.seed)))
            print(f"| {name} to {better} | {size} pairs | {at:.1f} points | {found:.0%} |", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
