"""Figures of agreement: against hand-computed and published values, and the coverage of their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scsafety.metrics.agreement import (
    FIGURES,
    agreement,
    coincidence_matrix,
    count,
    figures,
    ordinal_alpha,
    quadratic_kappa,
)


def test_quadratic_kappa_by_hand() -> None:
    # observed weighted disagreement 0.40, expected 1.20 (worked out on paper): 1 - 1/3
    confusion = np.array([[2.0, 1, 0], [0, 3, 1], [0, 2, 1]])
    weight = np.array([[0, 1, 4], [1, 0, 1], [4, 1, 0]])
    observed = (weight * confusion).sum() / 10
    expected = (weight * np.outer([3, 4, 3], [2, 6, 2])).sum() / 100

    assert observed == pytest.approx(0.4)
    assert float(quadratic_kappa(confusion)) == pytest.approx(1 - observed / expected)


def test_the_even_kappa_does_not_hang_on_how_common_each_score_is() -> None:
    few = np.array([[8, 2, 0, 0], [1, 7, 2, 0], [0, 4, 6, 1]])
    many_ones = few * np.array([[1], [9], [1]])

    of_few, of_many = figures(few), figures(many_ones)

    assert float(of_many["qwk_even"]) == pytest.approx(float(of_few["qwk_even"]))
    assert float(of_few["qwk_even"]) == pytest.approx(float(quadratic_kappa(few[:, :3].astype(float))), abs=0.01)
    assert float(of_many["qwk"]) < float(of_few["qwk"]) - 0.1


def test_alpha_of_krippendorffs_own_example() -> None:
    """Four observers, twelve units, values 1 to 5 (Krippendorff 2011, Computing alpha-reliability, C): ordinal 0.815."""
    rows = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, np.nan, np.nan, np.nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, np.nan, 3],
        [np.nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, np.nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, np.nan],
    ]
    matrix = np.zeros((5, 5))
    for unit in np.array(rows).T:
        values = (unit[~np.isnan(unit)] - 1).astype(int)
        if values.size > 1:
            counts = np.bincount(values, minlength=5).astype(float)
            matrix += (np.outer(counts, counts) - np.diag(counts)) / (values.size - 1)

    assert float(ordinal_alpha(matrix)) == pytest.approx(0.815, abs=0.0005)


def test_two_raters_and_a_table_give_the_same_alpha() -> None:
    rng = np.random.default_rng(3)
    gold = rng.integers(0, 3, 60)
    judged = np.where(rng.random(60) < 0.7, gold, rng.integers(0, 3, 60))

    by_table = figures(count(gold.tolist(), judged.tolist()))["alpha"]

    assert float(by_table) == pytest.approx(float(ordinal_alpha(coincidence_matrix(np.stack([gold, judged], axis=1)))))


def test_a_unit_that_one_rater_left_out_counts_for_nothing_in_alpha() -> None:
    full = np.array([[0.0, 0], [1, 2], [2, 2], [1, 1]])

    assert coincidence_matrix(np.vstack([full, [1, np.nan]])).tolist() == coincidence_matrix(full).tolist()


def test_the_unjudged_are_wrong_in_accuracy_and_missed_in_unsafe_recall() -> None:
    found = agreement([0, 0, 1, 2], [0, None, 1, None], ["a", "b", "c", "d"])

    assert found.values["accuracy"] == 0.5
    assert found.values["accuracy_judged"] == 1.0
    assert found.values["unsafe_recall"] == 0.5
    assert found.values["unsafe_precision"] == 1.0
    assert found.table.tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]]


def test_a_judge_that_always_says_the_same_has_no_kappa_above_0() -> None:
    found = agreement([0, 1, 2] * 10, [1] * 30, [str(k) for k in range(30)])

    assert found.values["qwk"] == pytest.approx(0.0)
    assert math.isnan(found.values["unsafe_precision"])
    assert found.ci95["unsafe_precision"] is None


def test_macro_f1_leaves_out_a_label_that_nobody_uses() -> None:
    assert agreement([0, 0, 2, 2], [0, 0, 2, 2], list("abcd")).values["macro_f1"] == 1.0


def test_below_20_clusters_there_is_no_interval() -> None:
    gold, judged = [0, 1, 2, 2] * 10, [0, 1, 2, 1] * 10

    assert agreement(gold, judged, ["one", "two"] * 20).ci95 == dict.fromkeys(FIGURES)
    assert agreement(gold, judged, [str(k % 20) for k in range(40)]).ci95["qwk"] is not None


def test_answers_of_one_pair_are_drawn_together() -> None:
    """Twins in a cluster say half as much: the interval is as wide as with one of each."""
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 3, 100).tolist()
    judged = [g if rng.random() < 0.6 else int(rng.integers(0, 3)) for g in gold]
    names = [str(k) for k in range(100)]

    single = agreement(gold, judged, names, draws=500).ci95["accuracy"]
    doubled = agreement(gold * 2, judged * 2, names * 2, draws=500).ci95["accuracy"]

    assert single == doubled


@pytest.mark.parametrize("n_pairs", [60, 150])
def test_intervals_of_accuracy_and_kappa_cover_95_percent(n_pairs: int) -> None:
    rng = np.random.default_rng(7)
    chance = np.array([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]])
    truth = figures(np.hstack([chance / 3, np.zeros((3, 1))]))
    hits = {"accuracy": 0, "qwk": 0}
    for trial in range(300):
        gold = rng.integers(0, 3, n_pairs)
        judged = [int(rng.choice(3, p=chance[g])) for g in gold]
        found = agreement(gold.tolist(), judged, [str(k) for k in range(n_pairs)], seed=trial, draws=400)
        for name in hits:
            low, high = found.ci95[name] or (1.0, 0.0)
            hits[name] += low <= float(truth[name]) <= high

    for name, n in hits.items():
        assert 0.915 <= n / 300 <= 0.985, (name, n / 300)
