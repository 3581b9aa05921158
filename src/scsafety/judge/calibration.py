"""From a model's digits to probabilities that mean what they say, and the confidence from which a judge may decide. Pure.

Multinomial logistic regression with a ridge (Platt, 1999, for three classes); the threshold holds the agreement of a
cascade: what the judge decides itself must agree with people nearly as often as the judge behind it would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCORES = 3
BOUND = 1.2816  # standard errors: the 90% quantile of a normal distribution
RIDGE = 15.0  # chosen on the dev split by cross-validation


def fit_weights(
    x: NDArray[np.float64], y: NDArray[np.int64], counts: NDArray[np.float64], *, ridge: float = RIDGE
) -> NDArray[np.float64]:
    """(3, 4) weights, the constant last, from log-probabilities (n, 3) and scores (n,); counts: (n,) how much each record counts.

    The ridge draws towards the digits' own log-probabilities and not towards zero: with few labels the model's word stands.
    """
    from scipy.optimize import minimize

    inputs = np.hstack([x, np.ones((len(x), 1))])
    start = np.eye(SCORES, SCORES + 1)
    wanted = np.eye(SCORES)[y]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(start.shape)
        z = inputs @ weights.T
        z -= z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        away = weights - start
        gradient = (counts[:, None] * (np.exp(log_p) - wanted)).T @ inputs + 2 * ridge * away
        return float(-(counts[:, None] * wanted * log_p).sum() + ridge * (away**2).sum()), gradient.ravel()

    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B").x
    return np.asarray(found, dtype=np.float64).reshape(start.shape)


def cascade_threshold(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], *, behind: float = 0.95, loss: float = 0.01
) -> float:
    """The lowest confidence from which the first judge of a cascade may decide; above 1 where it never may.

    confidence, right: (n,) of labelled answers. behind: agreement of the judge behind it. The whole cascade agrees at
    most `loss` less than that judge alone, in nine of ten such samples: what is held is a one-sided bound of the mean, as
    the threshold is chosen on few labels (Learn then Test: Angelopoulos et al., 2021).
    """
    order, n = np.argsort(-confidence, kind="stable"), len(confidence)
    # of each answer that the first judge decides; the others lose nothing
    lost = behind - right[order].astype(np.float64)
    mean, square = np.cumsum(lost) / n, np.cumsum(lost**2) / n
    allowed = np.flatnonzero(mean + BOUND * np.sqrt(np.maximum(square - mean**2, 0.0) / n) <= loss)
    if not len(allowed):
        return 1.01
    return float(np.floor(1e3 * confidence[order[allowed[-1]]]) / 1e3)
