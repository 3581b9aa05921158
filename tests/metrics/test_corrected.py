"""A score corrected by people: unbiased under a biased judge, and its interval covers what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from scsafety.metrics.corrected import MIN_LABELLED, corrected_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_STRATA, PER_STRATUM = 24, 40
WEIGHTS = np.linspace(90.0, 110.0, N_STRATA)
STRATA = np.repeat(np.arange(N_STRATA), PER_STRATUM)


def population(rng: np.random.Generator, *, noise: float, kind: float = 0.0) -> tuple[NDArray[np.float64], ...]:
    """People's values of pairs (0 to 100 in quarters), and a judge's: wrong by chance, and kinder by `kind`.

    The pairs are drawn from a population of which each stratum has its own mean; the truth is over that population.
    """
    mean = np.linspace(0.2, 0.8, N_STRATA)[STRATA]
    human = (25.0 * rng.binomial(4, mean)).astype(np.float64)
    wrong = rng.random(human.size) < noise
    judged = np.where(wrong, 25.0 * rng.integers(0, 5, human.size), human)
    return human, np.clip(judged + kind * (rng.random(human.size) < 0.5), 0, 100).astype(np.float64)


TRUTH = 100 * float(np.average(np.linspace(0.2, 0.8, N_STRATA), weights=WEIGHTS))


def sample(rng: np.random.Generator, human: NDArray[np.float64], n: int, *, by_stratum: bool) -> NDArray[np.float64]:
    chosen = np.zeros(human.size, dtype=bool)
    if by_stratum:
        for h in range(N_STRATA):
            rows = np.flatnonzero(h == STRATA)
            chosen[rng.choice(rows, n // N_STRATA, replace=False)] = True
    else:
        chosen[rng.choice(human.size, n, replace=False)] = True
    return np.where(chosen, human, np.nan)


@pytest.mark.parametrize(
    ("noise", "kind", "n", "by_stratum"),
    [
        (0.3, 25.0, 72, True),
        (0.3, 25.0, 60, False),
        (0.0, 0.0, 48, True),
        (1.0, 0.0, 120, True),
        (0.5, 50.0, 240, True),
    ],
)
def test_the_interval_covers_95_percent_whatever_the_judge(noise: float, kind: float, n: int, by_stratum: bool) -> None:
    rng = np.random.default_rng(11)
    trials, hits, points = 600, 0, []
    for _ in range(trials):
        human, judged = population(rng, noise=noise, kind=kind)
        found = corrected_mean(judged, sample(rng, human, n, by_stratum=by_stratum), STRATA, WEIGHTS)
        assert found is not None
        points.append(found.score)
        hits += found.ci95[0] <= TRUTH <= found.ci95[1]

    assert 0.93 <= hits / trials <= 0.97, hits / trials
    error = np.std(points) / np.sqrt(trials)
    assert abs(np.mean(points) - TRUTH) < 4 * error  # unbiased


def test_the_judge_alone_would_be_wrong_where_the_corrected_score_is_right() -> None:
    rng = np.random.default_rng(5)
    human, judged = population(rng, noise=0.2, kind=50.0)
    alone = np.average([judged[h == STRATA].mean() for h in range(N_STRATA)], weights=WEIGHTS)

    found = corrected_mean(judged, sample(rng, human, 240, by_stratum=True), STRATA, WEIGHTS)

    assert found is not None
    assert alone - TRUTH > 10
    assert abs(found.score - TRUTH) < 5


def test_a_good_judge_makes_the_interval_narrower_and_a_worthless_one_no_wider() -> None:
    rng = np.random.default_rng(8)

    def widths(noise: float) -> tuple[float, float, float]:
        human, judged = population(rng, noise=noise)
        found = corrected_mean(judged, sample(rng, human, 120, by_stratum=True), STRATA, WEIGHTS)
        assert found is not None
        low, high = found.ci95
        low_alone, high_alone = found.by_people_alone_ci95
        return high - low, high_alone - low_alone, found.trust

    good, without, trust = widths(0.1)
    assert good < 0.75 * without
    assert trust > 0.7
    worthless, without, trust = widths(1.0)
    assert worthless < 1.1 * without
    assert trust < 0.3


def test_people_on_everything_are_the_score_itself() -> None:
    rng = np.random.default_rng(2)
    human, judged = population(rng, noise=0.4)

    found = corrected_mean(judged, human, STRATA, WEIGHTS)

    assert found is not None
    assert found.score == pytest.approx(
        np.average([human[h == STRATA].mean() for h in range(N_STRATA)], weights=WEIGHTS)
    )
    assert found.score == pytest.approx(found.by_people_alone)


def test_too_few_labels_say_nothing() -> None:
    human, judged = population(np.random.default_rng(1), noise=0.4)
    few = np.full(human.size, np.nan)
    few[: MIN_LABELLED - 1] = human[: MIN_LABELLED - 1]

    assert corrected_mean(judged, few, STRATA, WEIGHTS) is None


def test_pairs_that_the_judge_left_out_are_left_out() -> None:
    rng = np.random.default_rng(4)
    human, judged = population(rng, noise=0.3)
    judged[::7] = np.nan

    found = corrected_mean(judged, human, STRATA, WEIGHTS)

    assert found is not None
    assert found.n == found.n_labelled == int((~np.isnan(judged)).sum())
