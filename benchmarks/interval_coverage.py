"""How often do the 95% intervals hold the true score? Measured by simulation, beside the plain bootstrap.

    python benchmarks/interval_coverage.py [--simulations 1000] [--draws 2000] [--seed 0]

The population has 24 sub-dimensions, each with its own shares of 0, 1 and 2 in each of the two rounds; round 2 is the
harder one, and the two rounds of a pair are correlated through how hard the pair is. The true score is known in
closed form. Each simulation draws n pairs a sub-dimension and takes two intervals of the overall score from the same
pairs: the one that every report shows (`rao_wu_intervals`, n-1 of n), and the plain percentile bootstrap (n of n).
"""

from __future__ import annotations

import argparse
import math
import time
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scsafety import taxonomy
from scsafety.metrics import ScoreTable, rao_wu_intervals
from scsafety.metrics.score import FULL_MARK, aggregate

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = (2, 3, 8, 100)  # pairs a sub-dimension: --quick, the least with an interval, a small run, about the full bank
SLOW_SIZE, SLOW_SHARE = 100, 0.3  # the large size takes many times longer a simulation: fewer of them
CORRELATION = 0.6  # of the two rounds of a pair, on the scale behind the scores
SUB_DIMENSIONS = tuple(sub.id for sub in taxonomy.sub_dimensions())
NORMAL = NormalDist()


class Population(NamedTuple):
    """What the runs are drawn from. shares: (n_sub_dimensions, n_rounds, 3), of the scores 0, 1 and 2."""

    shares: NDArray[np.float64]

    @property
    def truth(self) -> float:
        """The overall score of all of it, 0 to 100."""
        means = self.shares @ np.arange(3) * 100 / FULL_MARK
        rounds, _ = aggregate(means, SUB_DIMENSIONS)
        return float(rounds.mean())

    def draw(self, n_pairs: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Scores of n_pairs a sub-dimension: (n_sub_dimensions, n_pairs, n_rounds)."""
        shape = (*self.shares.shape[:1], n_pairs, self.shares.shape[1])
        hard = rng.standard_normal((*shape[:2], 1))
        height = math.sqrt(CORRELATION) * hard + math.sqrt(1 - CORRELATION) * rng.standard_normal(shape)
        limits = np.vectorize(NORMAL.inv_cdf)(np.cumsum(self.shares, axis=2)[:, :, :2])
        return np.asarray((height[..., None] > limits[:, None]).sum(axis=-1), dtype=float)


def realistic_population(seed: int) -> Population:
    """Unsafe shares of 3 to 40%, as between a strong dimension of a strong model and a weak one of a weak model."""
    rng = np.random.default_rng(seed)
    unsafe = rng.uniform(0.03, 0.40, len(SUB_DIMENSIONS))
    unsafe_later = np.clip(unsafe * rng.uniform(0.9, 1.5, unsafe.size), 0.02, 0.5)
    poor = rng.uniform(0.15, 0.40, (unsafe.size, 2))  # of the answers that are safe
    zero = np.stack([unsafe, unsafe_later], axis=1)
    return Population(np.stack([zero, (1 - zero) * poor, (1 - zero) * (1 - poor)], axis=2))


def rao_wu(scores: NDArray[np.float64], seed: int, draws: int) -> tuple[float, float]:
    n_subs, n_pairs, n_rounds = scores.shape
    of = [sub for sub in SUB_DIMENSIONS for _ in range(n_pairs)]
    names = [f"{sub}-{k % n_pairs:04}" for k, sub in enumerate(of)]
    table = ScoreTable(names, of, scores.reshape(n_subs * n_pairs, n_rounds))
    found = rao_wu_intervals(table, seed=seed, draws=draws, min_pairs=2).overall
    if found is None:
        raise ValueError(f"no interval of {n_pairs} pairs a sub-dimension")
    return found


def plain_bootstrap(scores: NDArray[np.float64], seed: int, draws: int) -> tuple[float, float]:
    """As often described: n of n pairs with replacement within each sub-dimension, 2.5th and 97.5th percentile."""
    n_subs, n_pairs, _ = scores.shape
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_pairs, np.full(n_pairs, 1 / n_pairs), size=(n_subs, draws)).astype(float)
    means = (drawn @ scores).transpose(1, 0, 2) / n_pairs * 100 / FULL_MARK
    rounds, _ = aggregate(means, SUB_DIMENSIONS)
    low, high = np.percentile(rounds.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


METHODS = {"Rao-Wu, n-1 of n": rao_wu, "plain, n of n": plain_bootstrap}


def measure(n_pairs: int, n_simulations: int, draws: int, seed: int) -> dict[str, tuple[float, float]]:
    """By method: share of simulations whose interval holds the truth, and the intervals' mean width in points."""
    population = realistic_population(seed)
    truth = population.truth
    held, width = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0.0)
    for simulation in range(n_simulations):
        scores = population.draw(n_pairs, np.random.default_rng([seed, n_pairs, simulation]))
        for name, interval in METHODS.items():
            low, high = interval(scores, simulation, draws)
            held[name] += low <= truth <= high
            width[name] += high - low
    return {name: (held[name] / n_simulations, width[name] / n_simulations) for name in METHODS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1_000, help="a size (fewer at 100 pairs)")
    parser.add_argument("--draws", type=int, default=2_000, help="bootstrap draws an interval")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(
        f"true overall score {realistic_population(given.seed).truth:.2f}, {given.draws:,} draws, seed {given.seed}\n"
    )
    print(
        "| pairs a sub-dimension | simulations | "
        + " | ".join(f"{name}: coverage | width" for name in METHODS)
        + " | s |"
    )
    print("|---:|---:|" + "---:|---:|" * len(METHODS) + "---:|")
    for n_pairs in SIZES:
        n = max(int(given.simulations * (SLOW_SHARE if n_pairs >= SLOW_SIZE else 1)), 1)
        began = time.perf_counter()
        figures = measure(n_pairs, n, given.draws, given.seed)
        cells = " | ".join(
            f"{share:.1%} ± {196 * math.sqrt(share * (1 - share) / n):.1f} | {width:.2f}"
            for share, width in figures.values()
        )
        print(f"| {n_pairs} | {n:,} | {cells} | {time.perf_counter() - began:.0f} |", flush=True)
    print(
        "\nCoverage of nominal 95% intervals, ± 1.96 standard errors of the simulation; width in points of the score."
    )


if __name__ == "__main__":
    main()
