"""The paired test finds what is there, does not find what is not, and tests the number that is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from scsafety.metrics.paired import paired_differences
from scsafety.metrics.permutation import holm, sign_flip_p
from scsafety.metrics.score import ScoreTable, boards

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scsafety.metrics.paired import Difference, Paired

SUBS = ("property_privacy", "environment", "goal_hijacking")


def runs(
    rng: np.random.Generator, n: int, shift: float
) -> tuple[list[str], list[str], NDArray[np.float64], NDArray[np.float64]]:
    """n pairs a sub-dimension; b differs from a by chance, and is better with the chance `shift`."""
    pairs = [f"{sub}-{k:03d}" for sub in SUBS for k in range(n)]
    a = rng.integers(0, 3, (len(pairs), 2)).astype(float)
    other = rng.integers(0, 3, a.shape).astype(float)
    b = np.where(rng.random(a.shape) < 0.5, a, other)
    better = rng.random(a.shape) < shift
    return pairs, [pair.rpartition("-")[0] for pair in pairs], a, np.where(better, np.minimum(b + 1, 2), b)


def test_the_interval_of_a_difference_that_is_negative_mirrors_that_of_the_positive_one() -> None:
    pairs, subs, a, b = runs(np.random.default_rng(4), 40, 0.4)

    better, worse = paired_differences(pairs, subs, a, b), paired_differences(pairs, subs, b, a)

    for up, down in zip(every(better), every(worse), strict=True):
        assert up.ci95 is not None
        assert down.ci95 is not None
        assert down.ci95[0] < down.value < down.ci95[1]
        assert down.ci95 == pytest.approx((-up.ci95[1], -up.ci95[0]))


def every(found: Paired) -> list[Difference]:
    return [found.overall, *found.dimensions.values(), *found.sub_dimensions.values()]


def test_with_few_pairs_the_p_is_that_of_all_sign_patterns() -> None:
    differences, shares = np.array([3.0, 2.0, 1.0, 1.0]), np.full(4, 0.25)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
    exact = float((np.abs(signs @ (differences * shares)) >= 7 / 4 - 1e-9).mean())

    found = sign_flip_p(differences, shares, rng=np.random.default_rng(0), permutations=40_000)

    assert exact == 0.125
    assert found == pytest.approx(exact, abs=0.006)


def test_where_nothing_differs_p_is_1() -> None:
    assert sign_flip_p(np.zeros(10), np.full(10, 0.1), rng=np.random.default_rng(0), permutations=100) == 1.0


def test_differences_that_cancel_but_for_rounding_have_a_p_of_1() -> None:
    differences = np.array([0.1, 0.2, -0.3, 0.7, -0.7]) * 100

    assert sign_flip_p(differences, np.full(5, 0.2), rng=np.random.default_rng(0), permutations=100) == 1.0


def test_one_pair_says_nothing() -> None:
    assert sign_flip_p(np.ones(1), np.ones(1), rng=np.random.default_rng(0)) is None


def test_the_tested_difference_is_that_of_the_boards() -> None:
    pairs, subs, a, b = runs(np.random.default_rng(1), 20, 0.3)

    found = paired_differences(pairs, subs, a, b, permutations=200)

    board_a, board_b = boards(ScoreTable(pairs, subs, a)), boards(ScoreTable(pairs, subs, b))
    assert found.overall.value == pytest.approx(board_b.overall - board_a.overall)
    for name, one in found.sub_dimensions.items():
        assert one.value == pytest.approx(board_b.sub_dimensions[name] - board_a.sub_dimensions[name])
    assert found.overall.n == 60


def test_a_real_difference_is_found_and_its_interval_leaves_0_out() -> None:
    pairs, subs, a, b = runs(np.random.default_rng(2), 60, 0.5)

    found = paired_differences(pairs, subs, a, b)

    assert found.overall.p is not None
    assert found.overall.p < 0.001
    assert found.overall.ci95 is not None
    assert found.overall.ci95[0] > 0


def test_without_a_difference_one_in_twenty_is_found() -> None:
    rng = np.random.default_rng(3)
    p = []
    for trial in range(400):
        pairs, subs, a, b = runs(rng, 12, 0.0)
        found = paired_differences(pairs, subs, a, b, seed=trial, permutations=400)
        p.append(found.overall.p or 1.0)

    share = float(np.mean(np.array(p) < 0.05))
    assert 0.025 <= share <= 0.08, share


def test_holm_never_lowers_a_p_and_keeps_their_order() -> None:
    raw = {"a": 0.001, "b": 0.02, "c": 0.04, "d": 0.9}

    corrected = holm(raw)

    assert corrected == pytest.approx({"a": 0.004, "b": 0.06, "c": 0.08, "d": 0.9})
    assert list(corrected) == list(raw)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_interval_of_a_difference_lies_around_it_whichever_run_comes_first(shift: float) -> None:
    pairs, subs, a, b = runs(np.random.default_rng(7), 40, shift)

    found = paired_differences(pairs, subs, a, b, permutations=100).overall
    back = paired_differences(pairs, subs, b, a, permutations=100).overall

    assert found.ci95 is not None
    assert back.ci95 is not None
    assert found.ci95[0] < found.value < found.ci95[1]
    assert back.value == pytest.approx(-found.value)
    assert (-back.ci95[1], -back.ci95[0]) == pytest.approx(found.ci95)
    assert (found.ci95[0] > 0) == (shift > 0)
    assert found.p == back.p


def test_the_test_of_each_row_is_that_of_its_pairs_alone() -> None:
    """The rows share their signs; each p is what the row's own sign flips give, but for which signs were drawn."""
    pairs, subs, a, b = runs(np.random.default_rng(8), 30, 0.15)
    by_pair, of = (b - a).mean(axis=1) * 50, np.array(subs)

    found = paired_differences(pairs, subs, a, b)

    for name, one in found.sub_dimensions.items():
        own = by_pair[of == name]
        alone = sign_flip_p(own, np.full(own.size, 1 / own.size), rng=np.random.default_rng(0))
        assert one.p == pytest.approx(alone, abs=0.025)
