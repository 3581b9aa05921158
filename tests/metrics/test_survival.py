"""How long a defence holds: closed forms of Kaplan and Meier, and how often its interval covers."""

from __future__ import annotations

import numpy as np
import pytest

from scsafety.metrics.survival import kaplan_meier


def test_without_censoring_it_is_the_share_that_is_left() -> None:
    curve = kaplan_meier([1, 1, 3, 4], [True] * 4, 5)

    assert [(one.round, one.at_risk, one.broken, one.survival) for one in curve] == [
        (1, 4, 2, 0.5),
        (2, 2, 0, 0.5),
        (3, 2, 1, 0.25),
        (4, 1, 1, 0.0),
    ]


def test_what_ended_early_without_success_counts_as_far_as_it_came() -> None:
    curve = kaplan_meier([1, 2, 2, 3, 3], [False, True, False, True, False], 3)

    assert [one.at_risk for one in curve] == [5, 4, 2]
    assert [one.survival for one in curve] == pytest.approx([1.0, 3 / 4, 3 / 4 * 1 / 2])


def test_the_interval_is_the_log_log_one_by_greenwoods_variance() -> None:
    """Kalbfleisch and Prentice: exp(-exp(log(-log S) +- 1.96 sqrt(V) / log S)), V the sum of d / (n (n - d))."""
    one = kaplan_meier([1] * 6 + [2] * 14, [True] * 6 + [False] * 14, 2)[0]

    s, variance = 0.7, 6 / (20 * 14)
    half = 1.959964 * np.sqrt(variance) / np.log(s)
    bounds = sorted(np.exp(-np.exp(np.log(-np.log(s)) + sign * half)) for sign in (-1, 1))
    assert [one.lower, one.upper] == pytest.approx(bounds, abs=1e-5)


@pytest.mark.parametrize(("broken", "survival"), [(False, 1.0), (True, 0.0)])
def test_where_all_hold_or_all_fall_there_is_no_interval(broken: bool, survival: float) -> None:
    one = kaplan_meier([2, 2, 2], [broken] * 3, 2)[-1]

    assert (one.survival, one.lower, one.upper) == (survival, None, None)


def test_of_nothing_there_is_no_curve() -> None:
    assert kaplan_meier([], [], 10) == ()


def test_the_order_does_not_matter() -> None:
    rounds, broken = [3, 1, 2, 5, 2], [True, False, True, False, False]

    assert kaplan_meier(rounds, broken, 5) == kaplan_meier(rounds[::-1], broken[::-1], 5)


def test_the_interval_covers_the_true_share_about_95_times_of_100() -> None:
    rng, true, covered, n = np.random.default_rng(1), 0.85**5, 0, 300
    for _ in range(n):
        falls = rng.geometric(0.15, size=60)
        rounds = np.minimum(falls, 10)
        at = kaplan_meier(rounds.tolist(), (falls <= 10).tolist(), 10)[4]
        assert at.lower is not None
        assert at.upper is not None
        covered += at.lower <= true <= at.upper

    assert 0.92 <= covered / n <= 0.98
