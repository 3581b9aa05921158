"""How what one run may use is divided: the endpoint's limits among workers, the caps among shards. Nothing here asks anybody."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.engine.settings import Policy

LANES = 2  # shards that a worker has in hand: where one runs out, the next fills in
ITEMS_A_CALL = 4  # items of a shard for each call that its worker may have in flight: as much is lost with a worker
TOKENS_A_CALL = 8_192  # a share of `tpm` below this could not let a long call pass at its size
SMALLEST_SHARE = 0.001  # of a cap on cost, for one shard


def shares_of(policy: Policy, n_workers: int, *, judge_alone: bool = False) -> list[Policy]:
    """One policy a worker, at most `n_workers`; together they never exceed the whole. Caps are left to the `Purse`.

    judge_alone: nobody but the judge is asked.
    """
    n = min(n_workers, policy.judge_concurrency, n_workers if judge_alone else policy.concurrency)
    if policy.tpm is not None:
        n = min(n, int(policy.tpm // TOKENS_A_CALL))
    n = max(n, 1)
    return [
        msgspec.structs.replace(
            policy,
            concurrency=max(_part(policy.concurrency, n, k), 1),
            judge_concurrency=_part(policy.judge_concurrency, n, k),
            rpm=None if policy.rpm is None else policy.rpm / n,
            tpm=None if policy.tpm is None else policy.tpm / n,
            max_calls=None,
            max_cost=None,
        )
        for k in range(n)
    ]


def _part(whole: int, n: int, k: int) -> int:
    return whole // n + (k < whole % n)


def shards_of(item_ids: Sequence[str], shares: Sequence[Policy], *, judge_alone: bool = False) -> list[tuple[str, ...]]:
    """The items in order, in pieces that are small enough for every lane to have its part and for a lost one to be cheap."""
    widths = [share.judge_concurrency if judge_alone else share.concurrency for share in shares]
    n_items, lanes = len(item_ids), len(shares) * LANES
    n = max(-(-n_items // (ITEMS_A_CALL * max(widths))), min(n_items, lanes))
    ends = [n_items * k // n for k in range(n + 1)] if n else [0]
    return [tuple(item_ids[start:end]) for start, end in pairwise(ends)]


class Allowance(NamedTuple):
    """What one shard may use; None: as much as it needs."""

    calls: int | None = None
    cost: float | None = None


class Purse:
    """The caps of a sitting, handed out to shards in parts and taken back with what was used."""

    def __init__(self, max_calls: int | None, max_cost: float | None, *, n_lanes: int) -> None:
        self._max_calls, self._max_cost, self._n_lanes = max_calls, max_cost, n_lanes
        self._calls, self._cost = 0, 0.0  # used
        self._out: list[Allowance] = []
        self.spent = ""  # why nothing more may start; empty: go on
        self.closed = False

    def spend(self, calls: int) -> None:
        """Calls that were made beside the shards."""
        self._calls += calls

    def close(self, why: str) -> None:
        """Nothing more may start; what is in flight goes on."""
        self.closed, self.spent = True, why

    def part(self) -> Allowance | None:
        """What the next shard may use, set aside until `settle`; None where nothing is left that is not set aside."""
        calls, cost = None, None
        if self._max_calls is not None:
            left = self._max_calls - self._calls - sum(one.calls or 0 for one in self._out)
            if left <= 0:
                return None
            calls = max(left // self._n_lanes, 1)
        if self._max_cost is not None:
            over = self._max_cost - self._cost - sum(one.cost or 0.0 for one in self._out)
            if over <= 0:
                return None
            cost = min(max(over / self._n_lanes, self._max_cost * SMALLEST_SHARE), over)
        allowance = Allowance(calls, cost)
        self._out.append(allowance)
        return allowance

    def settle(self, allowance: Allowance, calls: int | None, cost: float | None) -> None:
        """What became of a part. None: nobody knows, the worker was lost; all of it counts as used."""
        self._out.remove(allowance)
        self._calls += (allowance.calls or 0) if calls is None else calls
        self._cost += (allowance.cost or 0.0) if cost is None else cost

    def run_out(self) -> bool:
        """Whether nothing is left and nothing will come back; `spent` then says so."""
        if not self.closed and not self._out:
            if self._max_calls is not None and self._calls >= self._max_calls:
                self.close(f"--max-calls {self._max_calls} reached")
            elif self._max_cost is not None and self._cost >= self._max_cost:
                self.close(f"--max-cost {self._max_cost:g} reached (spent {self._cost:.4f})")
        return self.closed
