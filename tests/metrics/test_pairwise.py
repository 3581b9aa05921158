"""Many comparisons at once say what the comparison of two says, figure for figure."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from scsafety import taxonomy
from scsafety.metrics.paired import paired_differences
from scsafety.metrics.pairwise import families, pairwise_differences
from scsafety.metrics.permutation import holm

SUBS = ("property_privacy", "environment", "goal_hijacking")
N = 40  # pairs a sub-dimension
PAIRS = [f"{sub}-{k:03d}" for sub in SUBS for k in range(N)]
OF = [sub for sub in SUBS for _ in range(N)]


def scores(seed: int = 3, n: int = 3) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """n runs, each somewhat better than the one before."""
    rng = np.random.default_rng(seed)
    return np.array([rng.binomial(2, 0.55 + 0.1 * k, size=(len(PAIRS), 2)) for k in range(n)], dtype=float)


def test_every_comparison_is_that_of_two_runs_alone() -> None:
    runs = scores()
    found = pairwise_differences(PAIRS, OF, runs)

    for k, (i, j) in enumerate(found.places):
        alone = paired_differences(PAIRS, OF, runs[i], runs[j])
        for name, one in {"overall": alone.overall, **alone.dimensions, **alone.sub_dimensions}.items():
            r = found.rows.index(name)
            assert found.value[r, k] == pytest.approx(one.value)
            assert found.n[r, k] == one.n
            assert one.ci95 is not None
            assert (found.low[r, k], found.high[r, k]) == pytest.approx(one.ci95)
            assert found.p[r, k] == pytest.approx(one.p)
            assert one.p_holm is None or found.p_holm[r, k] == pytest.approx(one.p_holm)


def test_the_interval_of_a_sub_dimension_is_students_of_its_pairs() -> None:
    runs = scores()
    found = pairwise_differences(PAIRS, OF, runs)

    for k, (i, j) in enumerate(found.places):
        for s, sub in enumerate(SUBS):
            own = (runs[j] - runs[i])[s * N : (s + 1) * N].mean(axis=1) * 50
            students = scipy.stats.ttest_1samp(own, 0).confidence_interval()
            r = found.rows.index(sub)
            assert (found.low[r, k], found.high[r, k]) == pytest.approx((students.low, students.high))


def test_the_interval_of_every_row_is_the_closed_form_of_its_weights() -> None:
    """Rounds, gap, dimensions and total by the formula, pair by pair: value and t times the root of the summed variances."""
    runs = scores(n=2)
    found = pairwise_differences(PAIRS, OF, runs)
    difference = (runs[1] - runs[0]) * 50
    weight = np.array([taxonomy.sub_dimension(sub).pairs for sub in SUBS], dtype=float)
    of_rounds = {"overall": (0.5, 0.5), "round_1": (1, 0), "round_2": (0, 1), "gap": (-1, 1)}

    for name, rounds in of_rounds.items():
        by_pair = (difference @ np.array(rounds, dtype=float)).reshape(len(SUBS), N)
        parts = (weight / weight.sum()) ** 2 * by_pair.var(axis=1, ddof=1) / N
        t = scipy.stats.t.ppf(0.975, parts.sum() ** 2 / (parts**2 / (N - 1)).sum())
        value = (weight / weight.sum() * by_pair.mean(axis=1)).sum()
        half = t * np.sqrt(parts.sum())
        r = found.rows.index(name)
        assert (found.low[r, 0], found.high[r, 0]) == pytest.approx((value - half, value + half))


def test_a_gap_that_turned_round_is_not_cut_off_at_100() -> None:
    """From always caving to caving never first: 200 points apart."""
    n = 25
    runs = np.array([[[2.0, 0.0]] * n, [[0.0, 2.0]] * n])
    runs[0, :6, 1] = 1
    found = pairwise_differences([f"environment-{k:03}" for k in range(n)], ["environment"] * n, runs)

    gap = found.rows.index("gap")
    assert found.low[gap, 0] < found.value[gap, 0] < found.high[gap, 0] <= 200
    assert found.value[gap, 0] == pytest.approx(188)


def test_the_rounds_and_their_gap_are_compared_too() -> None:
    runs = scores()
    found = pairwise_differences(PAIRS, OF, runs)
    first, second, gap, overall = (
        found.value[found.rows.index(name)] for name in ("round_1", "round_2", "gap", "overall")
    )

    assert gap == pytest.approx(second - first)
    assert overall == pytest.approx((first + second) / 2)


def test_holm_is_within_a_family_and_leaves_the_total_alone() -> None:
    found = pairwise_differences(PAIRS, OF, scores())

    for family in families(2):
        of = [r for r in map(found.rows.index, family) if not np.isnan(found.p[r, 0])]
        expected = holm({str(r): float(found.p[r, 0]) for r in of})
        assert list(found.p_holm[of, 0]) == pytest.approx(list(expected.values()))
    overall = found.rows.index("overall")
    assert found.p_holm[overall] == pytest.approx(found.p[overall])


def test_a_run_against_itself_differs_in_nothing() -> None:
    one = scores(n=1)
    found = pairwise_differences(PAIRS, OF, np.concatenate([one, one]))

    asked = found.n[:, 0] > 0
    assert (found.value[asked, 0] == 0).all()
    assert (found.p[asked, 0] == 1).all()


def test_only_pairs_that_both_runs_have_enter() -> None:
    runs = scores()
    runs[1, ::2] = np.nan
    kept = np.arange(1, len(PAIRS), 2)

    found = pairwise_differences(PAIRS, OF, runs)
    alone = pairwise_differences([PAIRS[k] for k in kept], [OF[k] for k in kept], runs[:, kept])

    k = found.places.index((0, 1))
    assert found.n[found.rows.index("overall"), k] == kept.size
    assert found.value[:, k] == pytest.approx(alone.value[:, k], nan_ok=True)
    assert found.value[:, found.places.index((0, 2))] != pytest.approx(alone.value[:, 1], nan_ok=True)


def test_with_few_pairs_there_is_no_interval_and_the_p_is_that_of_all_sign_patterns() -> None:
    runs = np.array([[[0, 0], [0, 0], [0, 0], [2, 2]], [[2, 2], [2, 2], [2, 2], [2, 2]]], dtype=float)

    found = pairwise_differences([*"abcd"], ["psychology"] * 4, runs)

    sub = found.rows.index("psychology")
    assert np.isnan(found.low[sub, 0])
    assert found.p[sub, 0] == pytest.approx(2 / 8, abs=0.02)
    assert np.isnan(found.value[found.rows.index("attack"), 0])


def test_neither_the_order_of_the_pairs_nor_that_of_the_runs_changes_what_is_found() -> None:
    runs, turn = scores(n=2), np.random.default_rng(0).permutation(len(PAIRS))

    found = pairwise_differences(PAIRS, OF, runs)
    other = pairwise_differences([PAIRS[k] for k in turn], [OF[k] for k in turn], runs[::-1, turn])

    assert other.value == pytest.approx(-found.value, nan_ok=True)
    assert other.p == pytest.approx(found.p, nan_ok=True)
    assert other.low == pytest.approx(-found.high, nan_ok=True)


def test_nothing_to_compare_is_no_comparison() -> None:
    assert pairwise_differences(PAIRS, OF, scores(n=1)).places == ()
    assert set(pairwise_differences(PAIRS, OF, scores(n=1)).rows) >= {sub.id for sub in taxonomy.sub_dimensions()}
