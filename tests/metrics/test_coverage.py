"""A slice of `benchmarks/interval_coverage.py`: 95% is about 95%, 5% about 5%, 80% about 80%."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.stats

from scsafety import taxonomy
from scsafety.metrics.interval import bounds, moments
from scsafety.metrics.paired import POWER, detectable_difference
from scsafety.metrics.permutation import sign_flip_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_SUBS = len(taxonomy.sub_dimensions())
N = 2_000  # simulations; the standard error of a coverage of 95% is 0.5%
WEIGHT = np.array(list(taxonomy.weights().values()), dtype=float) / sum(taxonomy.weights().values())
# chance of each of the two marks of an answer, by kind of pair (easy, middling, hard) and round: rounds are correlated
MARK = np.array([[0.99, 0.98], [0.80, 0.65], [0.30, 0.20]])
MIX = {"weak": (0.1, 0.4, 0.5), "strong": (0.85, 0.12, 0.03)}


def model(name: str, n_pairs: int, n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores 0 to 1 (n, n_subs, n_pairs, 2), and how many pairs of each kind there are in each sub-dimension."""
    rng = np.random.default_rng(seed)
    mix = np.stack([rng.dirichlet(20 * np.array(MIX[name])) for _ in range(N_SUBS)])
    kind = (rng.random((n, N_SUBS, n_pairs, 1)) > np.cumsum(mix, axis=1)[:, None, :2]).sum(axis=-1)
    return rng.binomial(2, MARK[kind]) / 2, mix


def share_held(
    values: NDArray[np.float64], shares: NDArray[np.float64], truth: float, *, signed: bool = False
) -> float:
    low, high = bounds(moments(values), shares, signed=signed)
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("name", list(MIX))
def test_intervals_hold_the_truth_at_8_pairs_a_sub_dimension(name: str) -> None:
    scores, mix = model(name, 8, N, seed=1)
    means, alike = mix @ MARK, np.full((N_SUBS, 1), 1 / N_SUBS)
    both, gap, later = (np.outer(WEIGHT, rounds) for rounds in ((0.5, 0.5), (-1, 1), (0, 1)))
    unsafe = (1 - MARK) ** 2
    held = {
        "total": share_held(scores, both, float((both * means).sum())),
        "round": share_held(scores, later, float((later * means).sum())),
        "gap": share_held(scores, gap, float((gap * means).sum()), signed=True),
        "unsafe": share_held((scores == 0).mean(axis=-1, keepdims=True), alike, float((mix @ unsafe).mean())),
        "cave": share_held(
            ((scores[..., :1] > 0) & (scores[..., 1:] == 0)).astype(float),
            alike,
            float((mix @ ((1 - unsafe[:, 0]) * unsafe[:, 1])).mean()),
        ),
    }
    assert all(0.93 <= share <= 0.97 for share in held.values()), held


@pytest.mark.parametrize("name", list(MIX))
def test_a_sub_dimensions_own_interval_holds_the_truth_at_20_pairs(name: str) -> None:
    scores, mix = model(name, 20, 400, seed=2)
    held = [
        share_held(scores[:, k : k + 1], np.full((1, 2), 0.5), float((mix[k] @ MARK).mean())) for k in range(N_SUBS)
    ]
    assert 0.93 <= np.mean(held) <= 0.97, held


def test_a_share_near_0_is_held_where_most_samples_have_none_of_it() -> None:
    """The bootstrap's interval of no hits is 0 to 0: at one in 300 it would hold the truth about half of the time."""
    values = (np.random.default_rng(3).random((N, 1, 200, 1)) < 1 / 300).astype(float)
    assert (values.sum(axis=(1, 2, 3)) == 0).mean() > 0.4
    assert share_held(values, np.ones((1, 1)), 1 / 300) > 0.95


def test_the_paired_test_finds_one_in_twenty_where_there_is_nothing() -> None:
    (scores, _), rng = model("strong", 8, 2 * N, seed=4), np.random.default_rng(5)
    differences = (scores[:N] - scores[N:]).mean(axis=3).reshape(N, -1)
    shares = WEIGHT.repeat(8) / 8
    p = np.array([sign_flip_p(one, shares, rng=rng, permutations=400) for one in differences])
    assert 0.035 <= (p < 0.05).mean() <= 0.065


def test_four_of_five_find_the_difference_that_is_called_detectable() -> None:
    rng = np.random.default_rng(6)
    shares = WEIGHT.repeat(8) / 8
    noise = rng.choice([-50.0, -25, 0, 0, 0, 25, 50], (1_000, shares.size))
    true = POWER * float(np.sqrt((shares**2).sum() * noise.var()))
    found = noise + true
    promised = np.mean([detectable_difference(one, shares) for one in found])
    p = np.array([sign_flip_p(one, shares, rng=rng, permutations=400) for one in found])
    assert promised == pytest.approx(true, rel=0.05)
    assert 0.75 <= (p < 0.05).mean() <= 0.85


def test_power_is_that_of_the_normal_distribution() -> None:
    assert scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8) == pytest.approx(POWER, abs=0.01)
