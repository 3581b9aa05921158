"""What each endpoint of a run was asked, how fast it answered, and what stood in the way."""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from scsafety.store import Store

ROLES = ("target", "attacker", "judge")


class LatencyOf(msgspec.Struct, frozen=True):
    """Seconds, of attempts that were answered; each a value that occurred (nearest rank)."""

    p50: float
    p90: float
    p99: float
    max: float


class BlocksOf(msgspec.Struct, frozen=True):
    side: str  # input, output, unknown
    code: str | None  # the vendor's own word for it; None: not known
    n: int


class EndpointOf(msgspec.Struct, frozen=True):
    role: str  # target, attacker, judge
    endpoint: str
    calls: int
    retries: int  # requests beyond the first of each call
    retried: dict[str, int]  # those by cause; of calls that an older version made the cause is not known
    latency_s: LatencyOf | None  # None: nothing was answered
    outcomes: dict[str, int]  # calls that ended answered, empty, blocked, or in that kind of failure
    blocked: tuple[BlocksOf, ...]


def endpoints_of(store: Store) -> tuple[EndpointOf, ...]:
    """Every endpoint that was asked anything, the target first. Raises StoreError."""
    counts = defaultdict(list)
    for row in store.call_counts():
        counts[row.role, row.endpoint].append(row)
    retried: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for role, endpoint, cause, n in store.retries():
        retried[role, endpoint][cause] = n
    latencies: defaultdict[tuple[str, str], array[float]] = defaultdict(lambda: array("d"))
    for role, endpoint, seconds in store.latencies():
        latencies[role, endpoint].append(seconds)

    found = []
    for key in sorted(counts, key=lambda key: (ROLES.index(key[0]), key[1])):
        outcomes: defaultdict[str, int] = defaultdict(int)
        for row in counts[key]:
            outcomes[row.outcome.partition("_")[0] if row.outcome.startswith("blocked_") else row.outcome] += row.calls
        calls = sum(outcomes.values())
        found.append(
            EndpointOf(
                *key,
                calls,
                sum(row.attempts for row in counts[key]) - calls,
                retried[key],
                _latency(latencies[key]),
                dict(outcomes),
                tuple(
                    BlocksOf(row.outcome.removeprefix("blocked_"), row.code, row.calls)
                    for row in counts[key]
                    if row.outcome.startswith("blocked_")
                ),
            )
        )
    return tuple(found)


def _latency(seconds: array[float]) -> LatencyOf | None:
    if not seconds:
        return None
    return LatencyOf(*np.quantile(seconds, [0.5, 0.9, 0.99, 1.0], method="inverted_cdf").tolist())
