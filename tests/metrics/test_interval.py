"""Intervals: when there is none, what they depend on, and that 95% is about 95%."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from scsafety import taxonomy
from scsafety.metrics import ScoreTable, boards, rao_wu_intervals
from scsafety.metrics.interval import share_interval

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
    few, enough = rao_wu_intervals(random_table(2), seed=0), rao_wu_intervals(random_table(3), seed=0)

    assert (few.overall, few.rounds, few.gap) == (None, (None, None), None)
    assert set(few.dimensions.values()) == set(few.sub_dimensions.values()) == {None}
    assert enough.overall is not None
    assert None not in (*enough.rounds, enough.gap, *enough.dimensions.values())


def test_below_20_pairs_a_sub_dimension_has_no_interval_of_its_own() -> None:
    assert rao_wu_intervals(random_table(19), seed=0).sub_dimensions == dict.fromkeys(SUB_DIMENSIONS)
    assert None not in rao_wu_intervals(random_table(20), seed=0).sub_dimensions.values()


def test_one_small_sub_dimension_takes_the_interval_of_its_dimension_and_of_the_total_only() -> None:
    table = random_table(5)
    rows = [k for k, sub in enumerate(table.sub_dimensions) if sub != "environment" or k % 5 < 2]
    small = ScoreTable([table.pairs[k] for k in rows], [table.sub_dimensions[k] for k in rows], table.scores[rows])

    found = rao_wu_intervals(small, seed=0)

    assert found.overall is found.gap is found.dimensions["responsible"] is None
    assert None not in (found.dimensions["traditional"], found.dimensions["attack"])


def test_pairs_without_a_verdict_do_not_count_as_pairs() -> None:
    """Ten pairs of which one was judged have no spread to show: the interval would be too narrow."""
    table = random_table(10)
    scores = table.scores.copy()
    scores[1:10] = NAN  # property_privacy keeps one

    found = rao_wu_intervals(with_scores(table, scores), seed=0)

    assert found.overall is found.dimensions["traditional"] is None
    assert found.dimensions["attack"] is not None


def test_pairs_without_a_verdict_in_one_round_do_not_count_in_that_round() -> None:
    table = random_table(10)
    scores = table.scores.copy()
    scores[1:10, 1] = NAN

    found = rao_wu_intervals(with_scores(table, scores), seed=0)

    assert found.rounds[0] is not None
    assert found.rounds[1] is found.gap is found.overall is None


def test_a_sub_dimension_without_any_verdict_does_not_enter_and_takes_no_interval_away() -> None:
    table = random_table(10)
    scores = table.scores.copy()
    scores[:10] = NAN

    found = rao_wu_intervals(with_scores(table, scores), seed=0)

    assert found.overall is not None
    assert found.sub_dimensions["property_privacy"] is None


def test_a_round_without_any_verdict_has_no_interval_and_the_other_one_has() -> None:
    table = random_table(5)
    scores = table.scores.copy()
    scores[:, 1] = NAN

    found = rao_wu_intervals(with_scores(table, scores), seed=0)

    assert found.rounds[1] is found.gap is None
    assert found.overall == found.rounds[0] is not None


def test_no_pairs_and_no_verdicts_have_no_interval() -> None:
    nothing = rao_wu_intervals(ScoreTable([], [], np.empty((0, 2))), seed=0)
    unjudged = rao_wu_intervals(with_scores(random_table(5), np.full((120, 2), NAN)), seed=0)

    assert (nothing.overall, nothing.rounds, nothing.dimensions) == (None, (None, None), {})
    assert (unjudged.overall, unjudged.rounds, unjudged.gap) == (None, (None, None), None)


def test_the_keys_are_those_of_the_boards() -> None:
    table = random_table(3, subs=["goal_hijacking", "environment"])

    found, points = rao_wu_intervals(table, seed=0), boards(table)

    assert list(found.dimensions) == list(points.dimensions)
    assert list(found.sub_dimensions) == list(points.sub_dimensions)
    assert len(found.rounds) == len(points.rounds)


def test_the_point_lies_within_its_interval_and_the_interval_within_0_and_100() -> None:
    table = random_table(8)
    found, points = rao_wu_intervals(table, seed=0), boards(table)

    for interval, point in [
        (found.overall, points.overall),
        (found.gap, points.gap),
        *zip(found.rounds, points.rounds, strict=True),
        *((found.dimensions[name], points.dimensions[name]) for name in points.dimensions),
    ]:
        assert interval is not None
        assert interval[0] < point < interval[1]
        assert -100 <= interval[0] <= interval[1] <= 100


def test_the_seed_decides() -> None:
    table = random_table(5)

    assert rao_wu_intervals(table, seed=3) == rao_wu_intervals(table, seed=3)
    assert rao_wu_intervals(table, seed=3) != rao_wu_intervals(table, seed=4)


def test_the_order_of_the_pairs_does_not_matter() -> None:
    table = random_table(20)
    turned = np.random.default_rng(1).permutation(len(table.pairs))
    shuffled = ScoreTable(
        [table.pairs[k] for k in turned], [table.sub_dimensions[k] for k in turned], table.scores[turned]
    )

    assert rao_wu_intervals(shuffled, seed=0) == rao_wu_intervals(table, seed=0)


def test_scores_that_are_all_equal_have_an_interval_of_one_point() -> None:
    table = random_table(5)

    found = rao_wu_intervals(with_scores(table, np.ones((120, 2))), seed=0)

    assert found.overall == pytest.approx((50, 50))
    assert found.gap == pytest.approx((0, 0))


def test_the_overall_interval_spreads_as_wide_as_the_closed_form_at_3_pairs() -> None:
    """Drawing n of n instead of n-1 would make it narrower by a fifth."""
    table = random_table(3)
    weight = np.array(list(taxonomy.weights().values())) / sum(taxonomy.weights().values())
    variance = sum(
        w**2 * (50 * table.scores[rows].mean(axis=1)).var(ddof=1) / rows.size
        for w, rows in zip(weight, table.strata().values(), strict=True)
    )

    found = rao_wu_intervals(table, seed=0, draws=20_000).overall

    assert found is not None
    assert found[1] - found[0] == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.04)


def test_rounds_of_a_pair_stay_together() -> None:
    """Where round 2 always answers round 1 with the opposite, the total does not vary at all."""
    n = 30
    first = np.tile([0.0, 2.0], n // 2)
    table = ScoreTable([f"environment-{k:03}" for k in range(n)], ["environment"] * n, np.stack([first, 2 - first], 1))

    found = rao_wu_intervals(table, seed=0)

    assert found.overall == pytest.approx((50, 50))
    assert found.rounds[0] is not None
    assert found.rounds[0][1] - found.rounds[0][0] > 20


def test_four_times_the_pairs_halve_the_interval() -> None:
    def mean_width(n_pairs: int) -> float:
        found = [rao_wu_intervals(random_table(n_pairs, seed=k), seed=0, draws=300).overall for k in range(10)]
        return float(np.mean([high - low for low, high in filter(None, found)]))

    assert mean_width(5) / mean_width(20) == pytest.approx(2, rel=0.15)
    assert mean_width(20) / mean_width(80) == pytest.approx(2, rel=0.1)


def test_a_95_percent_interval_covers_the_truth_about_95_times_in_100() -> None:
    n_simulations, n_pairs, n_subs = 300, 8, len(SUB_DIMENSIONS)
    rng = np.random.default_rng(20)
    # three kinds of pairs a sub-dimension, so that the rounds of a pair are correlated and the truth is known
    kinds = np.array([[0.05, 0.15], [0.45, 0.30], [0.95, 0.80]])  # chance of each of 2 points, by kind and round
    mix = rng.dirichlet([1.5, 1.5, 3.0], size=n_subs)
    weight = np.array(list(taxonomy.weights().values()), dtype=float)
    truth = 100 * float((weight[:, None] * (mix @ kinds)).sum() / weight.sum() / 2)
    of = [sub for sub in SUB_DIMENSIONS for _ in range(n_pairs)]
    names = [f"{sub}-{k:04}" for k, sub in enumerate(of)]
    covered = 0
    for simulation in range(n_simulations):
        kind = np.concatenate([rng.choice(3, n_pairs, p=mix[k]) for k in range(n_subs)])
        table = ScoreTable(names, of, rng.binomial(2, kinds[kind]).astype(float))
        found = rao_wu_intervals(table, seed=simulation, draws=400).overall
        assert found is not None
        covered += found[0] <= truth <= found[1]

    print(f"covered {covered / n_simulations:.1%} of {n_simulations}")  # noqa: T201 (shown by pytest -s)
    assert 0.89 <= covered / n_simulations <= 0.99


def test_a_share_has_an_interval_around_its_plain_mean() -> None:
    values, strata = np.array([1.0] * 30 + [0.0] * 70), np.repeat(np.arange(4), 25)

    found = share_interval(values, strata, seed=0)

    assert found is not None
    assert 0 <= found[0] < 0.3 < found[1] <= 1


@pytest.mark.parametrize("sizes", [[10, 40, 50], [3] * 24], ids=["large", "3 each"])
def test_a_share_spreads_as_wide_as_the_closed_form_of_stratified_sampling(sizes: list[int]) -> None:
    strata = np.repeat(np.arange(len(sizes)), sizes)
    values = (np.random.default_rng(0).random(strata.size) + strata / len(sizes)) / 2
    variance = sum(n * values[strata == s].var(ddof=1) for s, n in enumerate(sizes)) / values.size**2

    found = share_interval(values, strata, seed=0, draws=20_000)

    assert found is not None
    assert found[1] - found[0] == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.06)
    assert found[0] < values.mean() < found[1]


def test_a_share_leaves_what_is_not_known_out() -> None:
    values, strata = np.array([1, 0, 1, 0, 0.5, 1]), np.zeros(6, dtype=np.intp)
    padded = np.concatenate([values, np.full(5, NAN)])

    assert share_interval(padded, np.zeros(11, dtype=np.intp), seed=0) == share_interval(values, strata, seed=0)


def test_a_share_of_too_few_known_values_has_no_interval() -> None:
    strata = np.zeros(10, dtype=np.intp)

    assert share_interval(np.array([1.0, 0.0] + [NAN] * 8), strata, seed=0) is None
    assert share_interval(np.full(10, NAN), strata, seed=0) is None
    assert share_interval(np.array([]), np.array([], dtype=np.intp), seed=0) is None
    assert share_interval(np.ones(10), strata, seed=0, min_pairs=11) is None


def test_a_stratum_that_holds_nothing_known_takes_no_interval_away() -> None:
    values, strata = np.array([1.0, 0.0, 1.0, NAN, NAN]), np.array([0, 0, 0, 1, 1])

    assert share_interval(values, strata, seed=0) is not None


def test_a_share_is_seeded_and_does_not_depend_on_the_order_of_its_units() -> None:
    values, strata = np.random.default_rng(0).random(60), np.arange(60) % 3
    turned = np.random.default_rng(1).permutation(60)

    assert share_interval(values, strata, seed=1) == share_interval(values, strata, seed=1)
    assert share_interval(values, strata, seed=1) != share_interval(values, strata, seed=2)
    assert share_interval(values[turned], strata[turned], seed=1) == share_interval(values, strata, seed=1)
