"""How well two raters of 0/1/2 agree: a judge with gold labels, or people with each other. Pure.

Everything follows from a table of counts, so that the same function serves a point value and 2,000 bootstrap draws.

Sources: quadratic-weighted kappa, Cohen 1968 (Psychological Bulletin 70); alpha with the ordinal metric, Krippendorff,
Content Analysis (3rd ed., ch. 11) and Hayes and Krippendorff 2007.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SCALE = 3  # 0, 1, 2
UNJUDGED = SCALE  # the fourth column of a table
DRAWS = 2_000
MIN_CLUSTERS = 20  # below, no interval
OVER_ALL = ("accuracy", "accuracy_judged", "qwk", "qwk_even", "macro_f1", "alpha")  # of all three scores together
FIGURES = (*OVER_ALL, "unsafe_recall", "unsafe_precision", "unsafe_f1")


class Agreement(msgspec.Struct, frozen=True):
    """Point values and 95% intervals by name (`FIGURES`); NaN where a figure is not defined."""

    n: int
    table: NDArray[np.int64]  # (3, 4): rows gold, columns judge, the last one unjudged
    values: dict[str, float]
    ci95: dict[str, tuple[float, float] | None]


def count(gold: Sequence[int], judged: Sequence[int | None]) -> NDArray[np.int64]:
    """(3, 4) counts: rows gold, columns judge, the last column unjudged (None)."""
    table = np.zeros((SCALE, SCALE + 1), dtype=np.int64)
    for truth, score in zip(gold, judged, strict=True):
        table[truth, UNJUDGED if score is None else score] += 1
    return table


def figures(tables: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Every figure of `FIGURES` for tables (..., 3, 4).

    accuracy and unsafe_recall count the unjudged as wrong; the others look at the judged ones only. `unsafe` is score 0.
    qwk_even is kappa as it would be if gold held 0, 1 and 2 equally often: kappa hangs on the mix (Feinstein and Cicchetti
    1990), so this one compares across gold sets.
    """
    counts: NDArray[np.float64] = np.asarray(tables, dtype=float)
    judged = counts[..., :SCALE]
    right = np.trace(judged, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = counts[..., 0, 0] / counts[..., 0, :].sum(axis=-1)
        precision = judged[..., 0, 0] / judged[..., :, 0].sum(axis=-1)
        return {
            "accuracy": right / counts.sum(axis=(-2, -1)),
            "accuracy_judged": right / judged.sum(axis=(-2, -1)),
            "qwk": quadratic_kappa(judged),
            "qwk_even": quadratic_kappa(judged / judged.sum(axis=-1, keepdims=True)),
            "macro_f1": _macro_f1(judged),
            "alpha": ordinal_alpha(judged + np.swapaxes(judged, -1, -2)),
            "unsafe_recall": recall,
            "unsafe_precision": precision,
            "unsafe_f1": 2 * judged[..., 0, 0] / (counts[..., 0, :].sum(axis=-1) + judged[..., :, 0].sum(axis=-1)),
        }


def agreement(
    gold: Sequence[int], judged: Sequence[int | None], clusters: Sequence[str], *, seed: int = 0, draws: int = DRAWS
) -> Agreement:
    """Figures with 95% percentile intervals, whole clusters drawn with replacement.

    clusters: what belongs together, length n; both rounds of a pair are one cluster (Miller 2024, arXiv:2411.00640). No
    interval is given below 20 clusters.
    """
    names = sorted(set(clusters))
    row = {name: k for k, name in enumerate(names)}
    tables = np.zeros((len(names), SCALE, SCALE + 1))
    for truth, score, cluster in zip(gold, judged, clusters, strict=True):
        tables[row[cluster], truth, UNJUDGED if score is None else score] += 1
    whole = tables.sum(axis=0)
    values = {name: float(value) for name, value in figures(whole).items()}
    ci95: dict[str, tuple[float, float] | None] = dict.fromkeys(FIGURES)
    if len(names) >= MIN_CLUSTERS:
        drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
        resampled = figures((drawn @ tables.reshape(len(names), -1)).reshape(draws, SCALE, SCALE + 1))
        ci95 = {name: _interval(resampled[name]) for name in FIGURES}
    return Agreement(int(whole.sum()), whole.astype(np.int64), values, ci95)


def quadratic_kappa(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quadratic-weighted kappa of (..., k, k) counts; NaN where one value is all there is.

    >>> round(float(quadratic_kappa(np.array([[20.0, 5, 0], [3, 30, 2], [1, 4, 35]]))), 4)
    0.866
    """
    k = confusion.shape[-1]
    weight = (np.arange(k)[:, None] - np.arange(k)[None, :]) ** 2.0
    total = confusion.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = confusion.sum(axis=-1)[..., :, None] * confusion.sum(axis=-2)[..., None, :] / total[..., None, None]
        return np.asarray(1 - (weight * confusion).sum(axis=(-2, -1)) / (weight * expected).sum(axis=(-2, -1)))


def ordinal_alpha(coincidences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Krippendorff's alpha with the ordinal metric, from symmetric coincidence matrices (..., k, k)."""
    n = coincidences.sum(axis=-1)
    k = n.shape[-1]
    cumulated = np.cumsum(n, axis=-1)
    upto = cumulated - n / 2
    distance = (upto[..., :, None] - upto[..., None, :]) ** 2
    above = np.triu(np.ones((k, k)), 1)
    total = n.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (above * coincidences * distance).sum(axis=(-2, -1))
        expected = (above * n[..., :, None] * n[..., None, :] * distance).sum(axis=(-2, -1))
        return np.asarray(1 - (total - 1) * observed / expected)


def coincidence_matrix(ratings: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) coincidences of any number of raters; ratings: (n_units, n_raters) of 0/1/2, NaN where one did not rate."""
    matrix = np.zeros((SCALE, SCALE))
    for unit in ratings:
        values = unit[~np.isnan(unit)].astype(int)
        if values.size < 2:
            continue
        counts = np.bincount(values, minlength=SCALE).astype(float)
        matrix += (np.outer(counts, counts) - np.diag(counts)) / (values.size - 1)
    return matrix


def _macro_f1(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean F1 of the labels that gold or judge uses at all."""
    sums = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * np.diagonal(confusion, axis1=-2, axis2=-1) / sums
        return np.asarray(np.where(sums > 0, f1, 0.0).sum(axis=-1) / (sums > 0).sum(axis=-1))


def _interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
