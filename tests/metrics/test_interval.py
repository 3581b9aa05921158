"""Intervals: when there is none, what they depend on, and that they are those of SciPy where SciPy has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.stats

from scsafety import taxonomy
from scsafety.metrics import ScoreTable, board_intervals, boards
from scsafety.metrics.interval import bounds, moments, share_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAN = float("nan")
SUB_DIMENSIONS = [sub.id for sub in taxonomy.sub_dimensions()]
RESPONSIBLE = [sub.id for sub in taxonomy.sub_dimensions() if sub.dimension == "responsible"]


def random_table(n_pairs: int, seed: int = 0, subs: list[str] | None = None) -> ScoreTable:
    """`n_pairs` a sub-dimension, rounds correlated, each sub-dimension with its own level."""
    rng = np.random.default_rng(seed)
    of = [sub for sub in subs or SUB_DIMENSIONS for _ in range(n_pairs)]
    level = np.array([0.4 + 0.5 * SUB_DIMENSIONS.index(sub) / 23 for sub in of])
    hard = rng.normal(0, 0.25, len(of))
    scores = rng.binomial(2, np.clip(level + hard, 0, 1)[:, None].repeat(2, axis=1)).astype(float)
    return ScoreTable([f"{sub}-{k:04}" for k, sub in enumerate(of)], of, scores)


def with_scores(table: ScoreTable, scores: NDArray[np.float64]) -> ScoreTable:
    return ScoreTable(table.pairs, table.sub_dimensions, scores)


def test_below_3_pairs_a_sub_dimension_there_is_no_interval() -> None:
    few, enough = board_intervals(random_table(2)), board_intervals(random_table(3))

    assert (few.overall, few.rounds, few.gap) == (None, (None, None), None)
    assert set(few.dimensions.values()) == set(few.sub_dimensions.values()) == {None}
    assert enough.overall is not None
    assert None not in (*enough.rounds, enough.gap, *enough.dimensions.values())


def test_below_20_pairs_a_sub_dimension_has_no_interval_of_its_own() -> None:
    assert board_intervals(random_table(19)).sub_dimensions == dict.fromkeys(SUB_DIMENSIONS)
    assert None not in board_intervals(random_table(20)).sub_dimensions.values()


def test_one_small_sub_dimension_takes_the_interval_of_its_dimension_and_of_the_total_only() -> None:
    table = random_table(5)
    rows = [k for k, sub in enumerate(table.sub_dimensions) if sub != "environment" or k % 5 < 2]
    small = ScoreTable([table.pairs[k] for k in rows], [table.sub_dimensions[k] for k in rows], table.scores[rows])

    found = board_intervals(small)

    assert found.overall is found.gap is found.dimensions["responsible"] is None
    assert None not in (found.dimensions["traditional"], found.dimensions["attack"])


def test_pairs_without_a_verdict_do_not_count_as_pairs() -> None:
    """Ten pairs of which one was judged have no spread to show: the interval would be too narrow."""
    table = random_table(10)
    scores = table.scores.copy()
    scores[1:10] = NAN  # property_privacy keeps one

    found = board_intervals(with_scores(table, scores))

    assert found.overall is found.dimensions["traditional"] is None
    assert found.dimensions["attack"] is not None


def test_pairs_without_a_verdict_in_one_round_do_not_count_in_that_round() -> None:
    table = random_table(10)
    scores = table.scores.copy()
    scores[1:10, 1] = NAN

    found = board_intervals(with_scores(table, scores))

    assert found.rounds[0] is not None
    assert found.rounds[1] is found.gap is found.overall is None


def test_a_sub_dimension_without_any_verdict_does_not_enter_and_takes_no_interval_away() -> None:
    table = random_table(10)
    scores = table.scores.copy()
    scores[:10] = NAN

    found = board_intervals(with_scores(table, scores))

    assert found.overall is not None
    assert found.sub_dimensions["property_privacy"] is None


def test_a_round_without_any_verdict_has_no_interval_and_the_other_one_has() -> None:
    table = random_table(5)
    scores = table.scores.copy()
    scores[:, 1] = NAN

    found = board_intervals(with_scores(table, scores))

    assert found.rounds[1] is found.gap is None
    assert found.overall == found.rounds[0] is not None


def test_no_pairs_and_no_verdicts_have_no_interval() -> None:
    nothing = board_intervals(ScoreTable([], [], np.empty((0, 2))))
    unjudged = board_intervals(with_scores(random_table(5), np.full((120, 2), NAN)))

    assert (nothing.overall, nothing.rounds, nothing.dimensions) == (None, (None, None), {})
    assert (unjudged.overall, unjudged.rounds, unjudged.gap) == (None, (None, None), None)


def test_the_keys_are_those_of_the_boards() -> None:
    table = random_table(3, subs=["goal_hijacking", "environment"])

    found, points = board_intervals(table), boards(table)

    assert list(found.dimensions) == list(points.dimensions)
    assert list(found.sub_dimensions) == list(points.sub_dimensions)
    assert len(found.rounds) == len(points.rounds)


def test_the_point_lies_within_its_interval_and_the_interval_within_0_and_100() -> None:
    table = random_table(8)
    found, points = board_intervals(table), boards(table)

    for interval, point in [
        (found.overall, points.overall),
        (found.gap, points.gap),
        *zip(found.rounds, points.rounds, strict=True),
        *((found.dimensions[name], points.dimensions[name]) for name in points.dimensions),
    ]:
        assert interval is not None
        assert interval[0] < point < interval[1]
        assert -100 <= interval[0] <= interval[1] <= 100


def test_the_order_of_the_pairs_does_not_matter() -> None:
    table = random_table(20)
    turned = np.random.default_rng(1).permutation(len(table.pairs))
    shuffled = ScoreTable(
        [table.pairs[k] for k in turned], [table.sub_dimensions[k] for k in turned], table.scores[turned]
    )

    assert board_intervals(shuffled) == board_intervals(table)


@pytest.mark.parametrize("score", [0.0, 2 / 3, 1.0, 2.0])
def test_scores_that_are_all_equal_still_have_an_interval_with_a_width(score: float) -> None:
    """That 120 pairs scored the same does not say that every pair would."""
    table = random_table(5)

    found = board_intervals(with_scores(table, np.full((120, 2), score)))

    assert found.overall is not None
    assert found.gap is not None
    assert found.overall[0] - 1e-9 <= 50 * score <= found.overall[1] + 1e-9
    assert 0.5 < found.overall[1] - found.overall[0] < 4
    assert found.gap[0] == -found.gap[1] < 0


def test_the_interval_of_a_difference_of_two_means_is_welchs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(7), 0.3 * rng.random(7) + 0.2

    low, high = bounds(moments(np.stack([a, b])[:, :, None]), np.array([[1.0], [-1.0]]), signed=True)

    welch = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (low, high) == pytest.approx((welch.low, welch.high))


def test_the_interval_of_a_gap_is_students() -> None:
    scores = np.random.default_rng(0).integers(0, 3, (25, 2)).astype(float)
    table = ScoreTable([f"environment-{k:03}" for k in range(25)], ["environment"] * 25, scores)

    students = scipy.stats.ttest_1samp((scores[:, 1] - scores[:, 0]) * 50, 0).confidence_interval()

    assert board_intervals(table).gap == pytest.approx((students.low, students.high))


@pytest.mark.parametrize("n", [3, 20, 500])
def test_where_nothing_was_hit_the_interval_of_a_share_is_wilsons(n: int) -> None:
    """Wilson's has the quantile of the normal distribution, this one Student's: his at the level of that quantile."""
    level = 1 - 2 * scipy.stats.norm.sf(scipy.stats.t.ppf(0.975, n - 1))

    found = share_interval(np.zeros(n), np.zeros(n, dtype=np.intp))

    wilson = scipy.stats.binomtest(0, n).proportion_ci(level, method="wilson")
    assert found == pytest.approx((wilson.low, wilson.high), abs=1e-12)


def test_a_bound_of_a_score_is_where_the_variance_there_would_just_explain_what_was_seen() -> None:
    table = random_table(3)
    weight = np.array(list(taxonomy.weights().values())) / sum(taxonomy.weights().values())
    parts = [
        w**2 * (table.scores[rows].mean(axis=1) / 2).var(ddof=1) / rows.size
        for w, rows in zip(weight, table.strata().values(), strict=True)
    ]
    variance = sum(parts)
    t = scipy.stats.t.ppf(0.975, variance**2 / sum(part**2 / 2 for part in parts))
    score = boards(table).overall / 100

    found = board_intervals(table).overall

    assert found is not None
    for bound in np.array(found) / 100:
        there = variance * bound * (1 - bound) / (score * (1 - score))
        assert abs(score - bound) == pytest.approx(t * np.sqrt(there))


def test_rounds_of_a_pair_stay_together() -> None:
    """Where round 2 always answers round 1 with the opposite, the total hardly varies."""
    n = 30
    first = np.tile([0.0, 2.0], n // 2)
    table = ScoreTable([f"environment-{k:03}" for k in range(n)], ["environment"] * n, np.stack([first, 2 - first], 1))

    found = board_intervals(table)

    assert found.overall is not None
    assert found.rounds[0] is not None
    assert found.overall[1] - found.overall[0] < 10 < 20 < found.rounds[0][1] - found.rounds[0][0]


def test_four_times_the_pairs_halve_the_interval() -> None:
    def mean_width(n_pairs: int) -> float:
        found = [board_intervals(random_table(n_pairs, seed=k)).overall for k in range(10)]
        return float(np.mean([high - low for low, high in filter(None, found)]))

    assert mean_width(5) / mean_width(20) == pytest.approx(2, rel=0.15)
    assert mean_width(20) / mean_width(80) == pytest.approx(2, rel=0.1)


def test_a_share_has_an_interval_around_its_plain_mean() -> None:
    values, strata = np.array([1.0] * 30 + [0.0] * 70), np.repeat(np.arange(4), 25)

    found = share_interval(values, strata)

    assert found is not None
    assert 0 <= found[0] < 0.3 < found[1] <= 1


@pytest.mark.parametrize("sizes", [[10, 40, 50], [3] * 24], ids=["large", "3 each"])
def test_a_share_spreads_as_wide_as_the_closed_form_of_stratified_sampling(sizes: list[int]) -> None:
    strata = np.repeat(np.arange(len(sizes)), sizes)
    values = (np.random.default_rng(0).random(strata.size) + strata / len(sizes)) / 2
    variance = sum(n * values[strata == s].var(ddof=1) for s, n in enumerate(sizes)) / values.size**2

    found = share_interval(values, strata)

    assert found is not None
    assert found[1] - found[0] == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.06)
    assert found[0] < values.mean() < found[1]


def test_a_share_leaves_what_is_not_known_out() -> None:
    values, strata = np.array([1, 0, 1, 0, 0.5, 1]), np.zeros(6, dtype=np.intp)
    padded = np.concatenate([values, np.full(5, NAN)])

    assert share_interval(padded, np.zeros(11, dtype=np.intp)) == share_interval(values, strata)


def test_a_share_of_too_few_known_values_has_no_interval() -> None:
    strata = np.zeros(10, dtype=np.intp)

    assert share_interval(np.array([1.0, 0.0] + [NAN] * 8), strata) is None
    assert share_interval(np.full(10, NAN), strata) is None
    assert share_interval(np.array([]), np.array([], dtype=np.intp)) is None
    assert share_interval(np.ones(10), strata, min_pairs=11) is None


def test_a_stratum_that_holds_nothing_known_takes_no_interval_away() -> None:
    values, strata = np.array([1.0, 0.0, 1.0, NAN, NAN]), np.array([0, 0, 0, 1, 1])

    assert share_interval(values, strata) is not None


def test_a_share_does_not_depend_on_the_order_of_its_units() -> None:
    values, strata = np.random.default_rng(0).random(60), np.arange(60) % 3
    turned = np.random.default_rng(1).permutation(60)

    assert share_interval(values[turned], strata[turned]) == pytest.approx(share_interval(values, strata))
