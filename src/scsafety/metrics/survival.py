"""How long a defence holds: the share of attacks that have not succeeded, round by round.

Source: the product-limit estimator of Kaplan and Meier 1958 (JASA 53) with log-log intervals (Kalbfleisch and Prentice 1980), by
`scipy.stats.ecdf`. An attack that ended without success is censored at its last round: it says that the defence held so long,
and nothing of what a longer attack would have found.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class SurvivalAt(msgspec.Struct, frozen=True):
    """After one round."""

    round: int
    at_risk: int  # attacks that came to this round
    broken: int  # those that succeeded in it
    survival: float  # 0 to 1: estimated share that has held so far
    lower: float | None  # 95%, round by round; None where nothing has been broken yet, or nothing is left
    upper: float | None


def kaplan_meier(rounds: Sequence[int], broken: Sequence[bool], n_rounds: int) -> tuple[SurvivalAt, ...]:
    """The curve over rounds 1 to `n_rounds`, as far as an attack came.

    rounds: the last round of each attack, 1 or more; broken: whether it succeeded in it.

    >>> [(one.round, one.at_risk, one.broken, round(one.survival, 3)) for one in kaplan_meier([1, 2, 2, 3], [1, 1, 0, 0], 3)]
    [(1, 4, 1, 0.75), (2, 3, 1, 0.5), (3, 1, 0, 0.5)]
    """
    if not rounds:
        return ()
    from scipy.stats import CensoredData, ecdf

    last, fell = np.asarray(rounds, dtype=float), np.asarray(broken, dtype=bool)
    curve = ecdf(CensoredData(uncensored=last[fell], right=last[~fell])).sf
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # undefined where nothing, or everything, is broken: NaN
        interval = curve.confidence_interval(confidence_level=0.95, method="log-log")
    found = []
    for k in range(1, n_rounds + 1):
        at_risk = int((last >= k).sum())
        if not at_risk:
            break
        low, high = (float(bound.evaluate(k)) for bound in (interval.low, interval.high))
        found.append(
            SurvivalAt(
                k,
                at_risk,
                int((fell & (last == k)).sum()),
                float(curve.evaluate(k)),
                None if math.isnan(low) else low,
                None if math.isnan(high) else high,
            )
        )
    return tuple(found)
