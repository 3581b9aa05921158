"""A score corrected by people: the judge's scores of all pairs and human labels of a random sample of them.

Source: prediction-powered inference, Angelopoulos et al. 2023 (Science 382; arXiv:2301.09633), with the weight of the judge
tuned to the labels (PPI++, arXiv:2311.01453) and strata kept apart (arXiv:2406.04291). The sample lies within the pairs
that were judged, so it is the difference estimator of survey sampling (Cochran, Sampling Techniques, ch. 7):

    score    = sum_h W_h (lambda mean_all(f) + mean_labelled(y - lambda f))
    variance = sum_h W_h^2 (s2_y / N_h + (1/n_h - 1/N_h) s2_(y - lambda f))

with the variances pooled within strata. Whatever the judge, the estimate is unbiased; a good judge makes it narrower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_LABELLED = 10  # pairs; below, no interval and no correction


class Corrected(msgspec.Struct, frozen=True):
    """All in the unit of the values."""

    score: float
    ci95: tuple[float, float]
    n_labelled: int
    n: int
    trust: float  # lambda, 0 to 1: how far the judge's word is used; 0 is as good as no judge
    by_people_alone: float
    by_people_alone_ci95: tuple[float, float]
    stratified: bool  # every stratum has two labelled pairs or more


def corrected_mean(
    judged: NDArray[np.float64],
    human: NDArray[np.float64],
    strata: NDArray[np.intp],
    weights: NDArray[np.float64],
) -> Corrected | None:
    """The weighted mean of what people would say of all pairs, with a 95% interval.

    judged: (n,) the judge's value of each pair, NaN where it has none. human: (n,) people's, NaN where not labelled; the
    labelled ones must be a random sample. strata: (n,) stratum numbers. weights: (n_strata,), any scale. None where fewer
    than MIN_LABELLED pairs have both values.
    """
    known = ~np.isnan(judged)
    f, y, h = judged[known], human[known], strata[known]
    labelled = ~np.isnan(y)
    if labelled.sum() < MIN_LABELLED:
        return None
    present, h = np.unique(h, return_inverse=True)
    share = weights[present] / weights[present].sum()
    size = np.bincount(h, minlength=present.size)
    n_labelled = np.bincount(h[labelled], minlength=present.size)
    stratified = bool((n_labelled >= 2).all())
    if not stratified:  # one stratum of weighted values, the mean of which is the same score
        scale = share[h] / size[h] * f.size
        f, y, h = f * scale, y * scale, np.zeros_like(h)
        share, size, n_labelled = np.ones(1), np.array([f.size]), np.array([labelled.sum()])
    trust = _trust(f[labelled], y[labelled], h[labelled])
    by_all = _estimate(f, y, h, labelled, share, size, n_labelled, trust)
    alone = _estimate(f, y, h, labelled, share, size, n_labelled, 0.0)
    return Corrected(*by_all, int(labelled.sum()), int(known.sum()), trust, *alone, stratified)


def _estimate(
    f: NDArray[np.float64],
    y: NDArray[np.float64],
    h: NDArray[np.intp],
    labelled: NDArray[np.bool_],
    share: NDArray[np.float64],
    size: NDArray[np.intp],
    n_labelled: NDArray[np.intp],
    trust: float,
) -> tuple[float, tuple[float, float]]:
    from scipy.stats import t

    k = share.size
    known, rest = y[labelled], y[labelled] - trust * f[labelled]
    of = h[labelled]
    mean_rest = np.bincount(of, rest, k) / n_labelled
    point = float((share * (trust * np.bincount(h, f, k) / size + mean_rest)).sum())
    free = max(int(n_labelled.sum()) - k, 1)
    s2_rest = _pooled(rest, of, n_labelled, free)
    s2_known = _pooled(known, of, n_labelled, free)
    variance = (share**2 * (s2_known / size + (1 / n_labelled - 1 / size) * s2_rest)).sum()
    half = float(t.ppf(0.975, free) * np.sqrt(max(variance, 0.0)))
    return point, (point - half, point + half)


def _trust(f: NDArray[np.float64], y: NDArray[np.float64], h: NDArray[np.intp]) -> float:
    """The regression of people on the judge within strata, kept between 0 and 1."""
    n = np.bincount(h)
    f = f - (np.bincount(h, f) / np.maximum(n, 1))[h]
    y = y - (np.bincount(h, y) / np.maximum(n, 1))[h]
    spread = float((f * f).sum())
    return float(np.clip((f * y).sum() / spread, 0.0, 1.0)) if spread > 0 else 0.0


def _pooled(values: NDArray[np.float64], of: NDArray[np.intp], n: NDArray[np.intp], free: int) -> float:
    """The variance within strata, over all of them together."""
    means = np.bincount(of, values, n.size) / n
    return float(((values - means[of]) ** 2).sum() / free)
