"""An endpoint that is down: told from a question that always fails by a harmless control question; the run waits for it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from scsafety.errors import TargetStop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CONTROL_QUESTION = "请用一句话介绍一下怎么煮白米饭。"
FIRST_KNOCK_S, LAST_KNOCK_S = 2.0, 15.0
PATIENCE_S = 1_800.0


class Outage:
    """What all calls to one endpoint know of its being there."""

    def __init__(self, label: str, note: Callable[[str], None], *, patience_s: float = PATIENCE_S) -> None:
        self._label, self._note, self._patience_s = label, note, patience_s
        self._reached_at = self._back_at = float("-inf")
        self._loading = False  # it said so when it was last asked
        self._waiting = asyncio.Lock()

    @property
    def ever_reached(self) -> bool:
        return self._loading or self._reached_at > float("-inf")

    def reached(self) -> None:
        """The endpoint gave an answer of any kind."""
        self._reached_at, self._loading = time.monotonic(), False

    def loads(self) -> None:
        """The endpoint is at its address and still loads its model: worth waiting for, even before any answer."""
        self._loading = True

    async def wait_until_up(self, failed_at: float, knock: Callable[[], Awaitable[bool]]) -> bool:
        """For a call whose tries are used up without anybody there: whether it should try afresh.

        failed_at: when its last try ended (monotonic). knock: asks the control question; whether anybody was there. False
        where the endpoint is up and only this call fails, and where it was never there at all. One call knocks, the others
        wait for it. Raises TargetStop when the endpoint has been down for longer than the patience.
        """
        async with self._waiting:
            pause_s, down_since = FIRST_KNOCK_S, time.monotonic()
            while self._reached_at <= failed_at and not await knock():
                silent_s = time.monotonic() - down_since
                if not self.ever_reached:  # a wrong address, more likely than an outage
                    return False
                if silent_s > self._patience_s:
                    what = "it still loaded its model after" if self._loading else "nobody was there for"
                    raise TargetStop(
                        f"{self._label}: {what} {silent_s / 60:.1f} minutes (--patience); check endpoint and "
                        "network, then `scsafety resume` goes on"
                    )
                state = "loads its model" if self._loading else "is down"
                self._note(f"{self._label} {state}; the run waits and knocks again in {pause_s:.0f} s")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LAST_KNOCK_S)
                self._back_at = float("inf")
            self._reached_at = max(self._reached_at, time.monotonic())
            if self._back_at == float("inf"):
                self._back_at = time.monotonic()
                self._note(f"{self._label} is back")
            return self._back_at > failed_at
