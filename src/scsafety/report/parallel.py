"""The same work on many things, in as many processes as there are cores."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

from scsafety.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FEW = 4  # below this a process of its own costs more than it saves
T = TypeVar("T")
R = TypeVar("R")


def in_parallel(work: Callable[[T], R], things: Sequence[T], *, processes: int | None = None) -> Iterator[R]:
    """What `work` returns of each, in their order; both must be picklable, since the processes start anew.

    An error, a Ctrl-C or a reader who stops ends it: what is under way is carried to its end, the rest is not begun.
    Raises what `work` raises, and MachineError where a process was killed.
    """
    n = min(processes or os.cpu_count() or 1, len(things))
    if n < 2 or len(things) < FEW:
        yield from map(work, things)
        return
    with ProcessPoolExecutor(n, mp_context=get_context("spawn"), initializer=_deaf) as pool:
        futures = [pool.submit(work, thing) for thing in things]
        try:
            for future in futures:
                yield future.result()
        except BrokenProcessPool as error:
            raise MachineError(
                "a process was killed, most likely for want of memory; free some and try again"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _deaf() -> None:
    """Ctrl-C goes to every process of a terminal; the one that began the work decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
