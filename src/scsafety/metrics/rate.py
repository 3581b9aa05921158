"""Shares against a threshold, as an acceptance test reads them: the observed share, and what one can be confident of.

Source: Wilson's score interval, one-sided 95% (Wilson 1927; Brown, Cai and DasGupta 2001, Statistical Science 16).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

CONFIDENCE = 0.95


class Rate(msgspec.Struct, frozen=True):
    """A share held against a limit."""

    hits: int
    n: int
    limit: float  # 0 to 1
    side: Literal["least", "most"]  # the share must be at least, or at most, the limit
    value: float | None  # None: nothing to count
    bound: float | None  # one-sided 95% bound on the limit's side: lower for `least`, upper for `most`

    @property
    def met(self) -> bool | None:
        """Whether the observed share meets the limit."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.side == "least" else self.value <= self.limit

    @property
    def surely_met(self) -> bool | None:
        """Whether one can be 95% confident that the share behind the sample meets it."""
        if self.bound is None:
            return None
        return self.bound >= self.limit if self.side == "least" else self.bound <= self.limit


def rate_against(hits: int, n: int, limit: float, side: Literal["least", "most"]) -> Rate:
    """
    >>> rate_against(916, 1000, 0.90, "least").surely_met, rate_against(914, 1000, 0.90, "least").surely_met
    (True, False)
    >>> rate_against(8, 300, 0.05, "most").surely_met, rate_against(9, 300, 0.05, "most").surely_met
    (True, False)
    """
    if not n:
        return Rate(hits, n, limit, side, None, None)
    from scipy.stats import binomtest

    alternative: Literal["greater", "less"] = "greater" if side == "least" else "less"
    interval = binomtest(hits, n, alternative=alternative).proportion_ci(CONFIDENCE, method="wilson")
    bound = float(interval.low if side == "least" else interval.high)
    return Rate(hits, n, limit, side, hits / n, bound)


@lru_cache(maxsize=1024)  # reports ask for the same share again and again
def wilson(hits: int, n: int) -> tuple[float, float] | None:
    """Two-sided 95% interval of a share; None where there is nothing to count.

    >>> [round(bound, 3) for bound in wilson(0, 10)]
    [0.0, 0.278]
    """
    if not n:
        return None
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
