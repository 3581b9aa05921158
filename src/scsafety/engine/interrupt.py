"""Ctrl-C: once ends a sitting in good order, what is in flight is waited for and kept; twice ends it at once."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from scsafety.engine.events import Progress

GRACE_S = 30.0  # for what is in flight; nobody wants to wait out a pause of minutes that an endpoint asked for


class Closable(Protocol):
    def close(self, why: str) -> None:
        """Nothing more may start; what is in flight goes on."""
        ...


class interruptible:  # noqa: N801 (a context manager, read as an adjective)
    """Raises KeyboardInterrupt at its end when there was a Ctrl-C; on systems without such handlers asyncio's own holds."""

    def __init__(self, budget: Closable, progress: Progress) -> None:
        self._budget, self._progress = budget, progress
        self._interrupted = False

    async def __aenter__(self) -> None:
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        self._handled = False
        try:
            self._loop.add_signal_handler(signal.SIGINT, self._interrupt)
        except (NotImplementedError, RuntimeError, ValueError):  # Windows; a thread beside the main one
            return
        self._handled = True

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._handled:
            self._loop.remove_signal_handler(signal.SIGINT)
        if self._interrupted:
            self._patience.cancel()
            if error is None or isinstance(error, asyncio.CancelledError):
                raise KeyboardInterrupt from None

    def _interrupt(self) -> None:
        if self._interrupted:
            self._cancel()
            return
        self._interrupted = True
        self._budget.close("interrupted")
        self._progress.note = "interrupted: what is in flight is waited for; Ctrl-C once more ends it now"
        self._patience = self._loop.call_later(GRACE_S, self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
