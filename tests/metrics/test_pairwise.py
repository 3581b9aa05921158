"""Many comparisons at once say what the comparison of two says: the same differences, and by other draws the same tests."""

from __future__ import annotations

import numpy as np
import pytest

from scsafety import taxonomy
from scsafety.metrics.paired import holm, paired_differences
from scsafety.metrics.pairwise import families, pairwise_differences

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
            assert one.p is not None
            assert (found.low[r, k], found.high[r, k]) == pytest.approx(one.ci95, abs=1.2)
            assert found.p[r, k] == pytest.approx(one.p, abs=0.02)


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
    assert other.low == pytest.approx(-found.high, nan_ok=True, abs=1e-4)


def test_nothing_to_compare_is_no_comparison() -> None:
    assert pairwise_differences(PAIRS, OF, scores(n=1)).places == ()
    assert set(pairwise_differences(PAIRS, OF, scores(n=1)).rows) >= {sub.id for sub in taxonomy.sub_dimensions()}
