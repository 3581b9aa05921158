"""What stands on a node: opens the run's endpoints once and holds shards, each a small store, until it is closed.

Nothing here knows of Ray; the driver makes an actor of it. All that crosses the wire is bytes and records.
"""

from __future__ import annotations

import asyncio
import platform
import tempfile
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scsafety import errors
from scsafety.engine.engine import budget_of, count_stored, judge_only
from scsafety.engine.events import Event, Progress
from scsafety.engine.opening import fetch_models
from scsafety.engine.sitting import Opened, ask_with, judge_for, opened, strategy_for
from scsafety.errors import ScsafetyError, TargetStop
from scsafety.store import Store

if TYPE_CHECKING:
    from scsafety.cluster.shares import Allowance
    from scsafety.engine.budget import Budget
    from scsafety.engine.settings import Policy, RunSettings
    from scsafety.judge import Judge
    from scsafety.records import JudgeCard
    from scsafety.targets.base import Note

COUNTS = (
    "turns_expected",
    "turns_done",
    "turns_failed",
    "blocked",
    "verdicts_done",
    "unjudged",
    "score_sum",
    "score_n",
)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What all shards of a sitting have in common."""

    run: str
    settings: RunSettings
    policy: Policy  # this worker's share
    judge: str
    judge_base_url: str | None
    judge_alone: bool = False  # stored answers are judged, the target is not asked
    events: bool = False  # somebody listens


class Ready(msgspec.Struct, frozen=True):
    """A worker that is open."""

    judge: JudgeCard
    node: str
    version: str


class Trouble(msgspec.Struct, frozen=True):
    """An error that a user can act on, to be raised where the user is."""

    kind: str  # name of the class in scsafety.errors
    message: str
    outcome: str = ""  # of a TargetStop

    @classmethod
    def of(cls, error: ScsafetyError) -> Trouble:
        kind = next(base.__name__ for base in type(error).__mro__ if hasattr(errors, base.__name__))
        outcome = error.kind if isinstance(error, TargetStop) else ""
        return cls(kind, f"{error} (on the node {platform.node()})", outcome)

    def error(self) -> ScsafetyError:
        kind: type[ScsafetyError] = getattr(errors, self.kind)
        if issubclass(kind, TargetStop):
            return kind(self.message, kind=self.outcome)
        if issubclass(kind, errors.RecordError | errors.CallFailed):  # made of more than a message
            kind = errors.ConfigError
        return kind(self.message)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a shard."""

    store: bytes  # of its file
    counts: dict[str, int]  # added by this shard, names of COUNTS
    calls: int
    cost: float
    unfinished: bool  # its allowance ran out, or it was stopped
    refused_parameters: list[str]  # by the target so far
    trouble: Trouble | None
    retries: int  # of this worker since it gave back a shard last
    events: list[Event]


class _InHand:
    """A shard that is being held."""

    def __init__(self, budget: Budget) -> None:
        self.progress, self.before, self.budget = Progress(), Progress(), budget
        self.task: asyncio.Task[None] | None = None

    def counts(self) -> dict[str, int]:
        return {name: getattr(self.progress, name) - getattr(self.before, name) for name in COUNTS}


class ShardWorker:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._stack = AsyncExitStack()
        self._opened: Opened | None = None
        self._judge: Judge | None = None
        self._in_hand: dict[int, _InHand] = {}
        self._retries, self._note, self._events = 0, "", list[Event]()

    async def open(self) -> Ready | Trouble:
        """Fetches and opens what this node needs."""
        job, settings = self._job, self._job.settings
        asked = () if job.judge_alone else settings.asked
        try:
            await asyncio.to_thread(fetch_models, *asked, judge=job.judge)
            if job.judge_alone:
                opening = judge_for(settings, job.judge, job.judge_base_url, job.policy, on_retry=self._noted)
                self._judge = await self._stack.enter_async_context(opening)
            else:
                whole = opened(settings, job.judge, job.judge_base_url, job.policy, on_retry=self._noted)
                self._opened = await self._stack.enter_async_context(whole)
                self._judge = self._opened.judge
        except ScsafetyError as error:
            return Trouble.of(error)
        return Ready(self._judge.card, platform.node(), version("scsafety"))

    async def hold(self, number: int, shard: bytes, allowance: Allowance) -> Outcome:
        """Hold a shard to its end, or as far as its allowance goes. number: by which `counts` tells of it."""
        caps = msgspec.structs.replace(self._job.policy, max_calls=allowance.calls, max_cost=allowance.cost)
        held = self._in_hand[number] = _InHand(budget_of(caps))
        trouble = None
        with tempfile.TemporaryDirectory(prefix="scsafety-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / self._job.run / "run.db"
            path.parent.mkdir()
            path.write_bytes(shard)
            try:
                with Store.open(path, write=True) as store:
                    held.task = asyncio.create_task(self._hold(store, held))
                    await held.task
            except asyncio.CancelledError:
                if not held.budget.closed:
                    raise
            except ScsafetyError as error:
                trouble = Trouble.of(error)
            finally:
                del self._in_hand[number]
            calls, cost = held.budget.used
            return Outcome(
                store=path.read_bytes(),
                counts=held.counts(),
                calls=calls,
                cost=cost,
                unfinished=bool(held.budget.spent),
                refused_parameters=list(self._opened.target.refused_parameters) if self._opened else [],
                trouble=trouble,
                retries=self._taken_retries(),
                events=self._taken_events(),
            )

    async def _hold(self, store: Store, held: _InHand) -> None:
        job, progress = self._job, held.progress
        if job.events:
            progress.on_event = self._events.append
        if self._opened is None:
            if self._judge is None:
                raise RuntimeError("not open")
            held.before.turns_expected = len(store.unjudged(self._judge.card.key))
            await judge_only(store, job.policy, judge=self._judge, progress=progress, budget=held.budget)
            return
        strategy = strategy_for(job.settings)
        count_stored(store, job.settings, strategy, self._opened.judge.card.key, held.before)
        await ask_with(self._opened, store, job.settings, job.policy, progress, budget=held.budget)

    def _noted(self, note: Note) -> None:
        self._retries += note.kind is not None
        self._note = note.line
        if self._job.events:
            Progress(on_event=self._events.append).noted(note)

    def _taken_retries(self) -> int:
        taken, self._retries = self._retries, 0
        return taken

    def _taken_events(self) -> list[Event]:
        taken, self._events[:] = self._events.copy(), []
        return taken

    async def counts(self) -> tuple[dict[int, dict[str, int]], str]:
        """Of each shard in hand what it has added; the endpoint's last word."""
        return {number: held.counts() for number, held in self._in_hand.items()}, self._note

    async def stop(self, *, now: bool = False) -> None:
        """No more calls; what is in flight is waited for, or dropped now. `hold` then gives back what there is."""
        for held in self._in_hand.values():
            held.budget.close("stopped")
            if now and held.task is not None:
                held.task.cancel()

    async def close(self) -> None:
        await self._stack.aclose()
