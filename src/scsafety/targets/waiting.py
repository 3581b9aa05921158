"""How long an endpoint asks to be left alone, from the headers of its answer."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from scsafety.targets.signals import signals

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def retry_after(headers: Mapping[str, str], now: float, *, rate_limited: bool) -> float | None:
    """Seconds to wait, at most the cap: what is asked for, else until a spent allowance comes back.

    Names of headers are in small letters. Instants in them are held against the answer's own `Date`, so that a wrong clock
    here does not count; `now`, in seconds since 1970, is for an answer without one.
    """
    now = _moment(headers.get("date", "")) or now
    wait_ms = _number(headers.get("retry-after-ms"))
    wait = wait_ms / 1_000 if wait_ms is not None else _wait(headers.get("retry-after"), now)
    if wait is None and rate_limited:
        wait = _reset(headers, now)
    return None if wait is None else min(max(wait, 0.0), signals().retry.cap_s)


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    """Until the last of the spent allowances is back; where none is said to be spent, until the first of all."""
    spent: list[float] = []
    others: list[float] = []
    for remaining, reset in signals().retry.resets:
        wait = _wait(headers.get(reset), now)
        if wait is not None:
            left = _number(headers.get(remaining))
            (spent if left is not None and left <= 0 else others).append(wait)
    return max(spent) if spent else min(others, default=None)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _wait(text: str | None, now: float) -> float | None:
    """Seconds from now: `20`, `6m0s`, an HTTP or ISO date, seconds or milliseconds since 1970."""
    if text is None:
        return None
    text = text.strip()
    value = _number(text)
    if value is not None:
        if value > 1e11:
            return value / 1_000 - now
        return value - now if value > 1e9 else value
    if re.fullmatch(r"([0-9]+(\.[0-9]+)?(ms|[smhd]))+", text):
        return sum(float(n) * _UNITS_S[unit] for n, unit in re.findall(r"([0-9.]+)(ms|[smhd])", text))
    moment = _moment(text)
    return None if moment is None else moment - now


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an HTTP or ISO date."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError):
            continue
    return None
