"""Caps on a sitting: how many calls it may make and what they may cost. Nothing in flight is cut short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsafety.errors import ConfigError
from scsafety.targets.prices import Spent, cost_of, price_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scsafety.records import Call
    from scsafety.targets.prices import Price


class Budget:
    """Asked before each call; told of each call that was made, retries included."""

    def __init__(
        self, max_calls: int | None = None, max_cost: float | None = None, prices: Sequence[Price] = ()
    ) -> None:
        self._max_calls, self._max_cost, self._prices = max_calls, max_cost, prices
        self._started = 0
        self._cost = 0.0
        self.spent = ""  # why nothing more may start, for the user; empty: go on
        self.closed = False

    @property
    def used(self) -> tuple[int, float]:
        """Calls that were made or set aside, and their cost."""
        return self._started, self._cost

    def may_start(self) -> bool:
        """Whether one more call may be made; if so it is set aside until `settle`."""
        if self.closed:
            return False
        if self._max_calls is not None and self._started >= self._max_calls:
            self.spent = f"--max-calls {self._max_calls} reached"
        elif self._max_cost is not None and self._cost >= self._max_cost:
            self.spent = f"--max-cost {self._max_cost:g} reached (spent {self._cost:.4f})"
        else:
            self._started += 1
            return True
        return False

    def close(self, why: str) -> None:
        """Nothing more may start, not even what costs no call; what is in flight goes on."""
        self.closed, self.spent = True, why

    def settle(self, calls: Iterable[Call]) -> None:
        """What became of a call that was set aside: none was needed, or one, or several."""
        requests = 0
        for call in calls:
            requests += call.attempts
            if self._max_cost is not None:
                used = Spent(call.endpoint, 1, call.prompt_tokens or 0, call.completion_tokens or 0)
                self._cost += cost_of([used], self._prices).amount
        self._started += requests - 1


def check_prices(max_cost: float | None, endpoints: Iterable[str], prices: Sequence[Price]) -> None:
    """Raises ConfigError where a cap on cost could not be held because a price is unknown."""
    if max_cost is None:
        return
    unknown = [endpoint for endpoint in endpoints if price_of(endpoint, prices) is None]
    if unknown:
        raise ConfigError(
            f"--max-cost cannot be held: the price of {', '.join(unknown)} is unknown; put it into prices.toml "
            "(`scsafety models prices` says where), or cap the calls with --max-calls"
        )
    cost_of([Spent(endpoint, 0, 0, 0) for endpoint in endpoints], prices)  # one currency
