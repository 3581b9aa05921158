"""Runs the dialogues of a store to their end: asks, judges and stores, each at its own pace.

A target worker carries one dialogue at a time; the moment a turn is answered it goes to the judges' queue and the
next round is asked, so judging never holds up asking. Everything is committed by one flusher.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from scsafety.dialogue import NOT_THE_TARGETS, Attacker, hold_dialogue
from scsafety.engine.budget import Budget
from scsafety.engine.control import ask_control
from scsafety.engine.events import AttackerCalled, JudgeCalled, TurnEnded, VerdictGiven, called
from scsafety.engine.interrupt import interruptible
from scsafety.errors import CallFailed, TargetStop
from scsafety.judge.base import case_digest, case_of, rule_verdict
from scsafety.records import Call, Case, DialogueKey, Item, Sampling, Turn, Verdict, utc_now
from scsafety.targets.base import Note, answered_call
from scsafety.targets.prices import load_prices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scsafety.dialogue import Strategy
    from scsafety.dialogue.hold import FlaggedText
    from scsafety.engine.events import Progress
    from scsafety.engine.settings import Policy, RunSettings
    from scsafety.judge import Judge
    from scsafety.records import Step
    from scsafety.store import Store
    from scsafety.targets.base import Target

FLUSH_EVERY_S = 0.02
ITEMS_AT_ONCE = 16
TEXTS_IN_QUEUE = 1_000  # turns that wait for a judge with their texts at hand
BLOCKS_IN_A_ROW = 20  # so many are more likely an outage of the vendor's filter than the bank's doing


async def ask_and_judge(
    store: Store,
    settings: RunSettings,
    policy: Policy,
    *,
    target: Target,
    strategy: Strategy,
    judge: Judge,
    progress: Progress,
    flagged_text: FlaggedText = "send",
    made: Sequence[Call] = (),
    attacker: Target | None = None,
    budget: Budget | None = None,
) -> None:
    """Bring a run to its end: every dialogue held, every answered turn judged by `judge`.

    attacker: who writes an adaptive strategy's questions. made: calls of this sitting that went before and count against its
    caps. budget: the caps, where the caller wants to close them or see what was used; None: the policy's. What is stored
    already is not asked again.

    Raises TargetStop (the rest stays to be resumed) and StoreError; on either, and when cancelled, all that was answered is
    committed first.
    """
    budget = budget or budget_of(policy)
    if made and budget.may_start():
        budget.settle(made)
    sitting = _Sitting(store, settings, target, strategy, judge, progress, flagged_text, budget, attacker)
    async with interruptible(budget, progress):
        await sitting.run(policy)
    progress.stopped = budget.spent


def budget_of(policy: Policy) -> Budget:
    return Budget(policy.max_calls, policy.max_cost, load_prices() if policy.max_cost is not None else ())


def is_finished(store: Store, settings: RunSettings, strategy: Strategy, judge_key: str) -> bool:
    """Whether every dialogue is held to its end and every answered turn judged."""
    finished = store.finished()
    return all(key in finished for key in _keys(store, settings, strategy)) and not store.unjudged(judge_key)


def unfinished_items(store: Store, settings: RunSettings, strategy: Strategy, judge_key: str) -> list[str]:
    """Ids of the items with something left to ask or to judge, in the order in which they are asked."""
    finished = store.finished()
    left = {key.item_id for key in _keys(store, settings, strategy) if key not in finished}
    left |= {key.item_id for key, _ in store.unjudged(judge_key)}
    return [item_id for item_id in store.item_ids() if item_id in left]


def _keys(store: Store, settings: RunSettings, strategy: Strategy) -> Iterator[DialogueKey]:
    """Every dialogue of a run, in the order in which they are held."""
    ids = store.item_ids()
    return (DialogueKey(item_id, epoch, strategy.name) for epoch in range(1, settings.epochs + 1) for item_id in ids)


def count_stored(store: Store, settings: RunSettings, strategy: Strategy, judge_key: str, progress: Progress) -> None:
    """Count what earlier sittings left, and what there is to do in all."""
    rounds = {item.id: strategy.max_rounds(item) for item in store.items()}
    tally = store.tally(judge_key)
    progress.turns_expected = sum(rounds.values()) * settings.epochs
    progress.turns_done = progress.turns_before = tally.answered
    progress.blocked, progress.verdicts_done = tally.blocked, tally.judged
    progress.score_n, progress.score_sum = tally.scored, tally.score_sum
    for one in store.held():
        if one.status in ("done", "skipped"):  # with fewer rounds than it might have had
            progress.turns_expected -= rounds[one.key.item_id] - one.kept


async def judge_only(
    store: Store, policy: Policy, *, judge: Judge, progress: Progress, budget: Budget | None = None
) -> None:
    """Let `judge` give its verdict on every answered turn that it has not judged; the target is never asked.

    budget: as in `ask_and_judge`.
    """
    budget = budget or budget_of(policy)
    sitting = _Rejudging(store, judge, progress, budget, epochs=store.n_epochs())
    sitting.queue_stored()
    progress.turns_expected = sitting.queue.qsize()
    async with interruptible(budget, progress), _flushing(store), unwrapped(), asyncio.TaskGroup() as group:
        workers = [group.create_task(sitting.worker()) for _ in range(policy.judge_concurrency)]
        await sitting.queue.join()
        for worker in workers:
            worker.cancel()
    progress.stopped = budget.spent


class _flushing:  # noqa: N801 (a context manager, read as a verb)
    """Commits what was added every FLUSH_EVERY_S and once more at the end, whatever ended it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __aenter__(self) -> None:
        self._owner = asyncio.current_task()
        self._error: Exception | None = None
        self._task = asyncio.create_task(self._flush_on())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        if self._error is not None:
            if self._owner is not None:
                self._owner.uncancel()
            raise self._error
        self._store.flush()

    async def _flush_on(self) -> None:
        try:
            while True:
                await asyncio.sleep(FLUSH_EVERY_S)
                self._store.flush()
        except Exception as error:  # noqa: BLE001 (handed to the owner, which raises it)
            self._error = error
            if self._owner is not None:
                self._owner.cancel()


class _Waiting(NamedTuple):
    """A turn in the judges' queue."""

    key: DialogueKey
    seq: int
    case: Case | None  # None: it is read from the store when its turn comes


class _Judging:
    """The judges' side: a queue of answered turns and the workers that empty it."""

    def __init__(self, store: Store, judge: Judge, progress: Progress, budget: Budget, *, epochs: int) -> None:
        self.store, self.judge, self.progress, self.budget = store, judge, progress, budget
        self.judge_key = judge.card.key
        self.queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        # The same answer to the same conversation is not judged twice; only another epoch can give it. By the digest of
        # the case: where its verdict stands.
        self._known: dict[bytes, tuple[DialogueKey, int]] | None = {} if epochs > 1 else None

    def queue_stored(self) -> None:
        """Queue the stored turns that still lack this judge's verdict."""
        waiting = self.store.unjudged(self.judge_key)
        for key, seq in waiting:
            self.queue.put_nowait(_Waiting(key, seq, None))
        if self._known is None or not waiting:
            return
        left = set(waiting)
        for stored in self.store.turns():
            if stored.turn.reply is not None and (stored.key, stored.turn.seq) not in left:
                case = case_of(self.store.item(stored.key.item_id), stored.turn)
                self._known[case_digest(case)] = (stored.key, stored.turn.seq)

    def wait_for_judge(self, key: DialogueKey, seq: int, case: Case) -> None:
        """Queue an answer. Far behind the target, a slow judge's queue holds no texts."""
        self.queue.put_nowait(_Waiting(key, seq, case if self.queue.qsize() < TEXTS_IN_QUEUE else None))

    async def worker(self) -> None:
        while True:
            waiting = await self.queue.get()
            try:
                await self._judge_turn(*waiting)
            finally:
                self.queue.task_done()

    async def _judge_turn(self, key: DialogueKey, seq: int, case: Case | None) -> None:
        case = case or case_of(self.store.item(key.item_id), self.store.turn(key, seq))
        tell = self.progress.on_event

        calls: list[Call] = []

        def on_call(call: Call) -> None:
            calls.append(call)
            self.store.add_call(key, seq, call, judge_key=self.judge_key)
            if tell is not None:
                tell(JudgeCalled(judge=self.judge_key, **called(key, case.round, call)))

        verdict = rule_verdict(case) or self._known_verdict(key, seq, case)
        if verdict is None:
            if self.budget.closed or (self.judge.makes_calls and not self.budget.may_start()):
                return  # unjudged; `resume` goes on
            verdict = await self.judge.judge(case, on_call=on_call)
            if self.judge.makes_calls:
                self.budget.settle(calls)
        self.store.add_verdict(key, seq, self.judge_key, msgspec.structs.replace(verdict, created_at=utc_now()))
        self._count(verdict)
        if tell is not None:
            tell(
                VerdictGiven(
                    item=key.item_id, epoch=key.epoch, round=case.round, judge=self.judge_key,
                    score=verdict.score, label=verdict.label, unjudged=not verdict.judged,
                )
            )  # fmt: skip

    def _known_verdict(self, key: DialogueKey, seq: int, case: Case) -> Verdict | None:
        """What this judge said of the very same case; else it is known from now on."""
        if self._known is None:
            return None
        place = self._known.setdefault(case_digest(case), (key, seq))
        if place == (key, seq):
            return None
        for stored in self.store.verdicts(self.judge_key, key.item_id):
            if (stored.key, stored.seq) == place and stored.verdict.judged:
                return stored.verdict
        return None

    def _count(self, verdict: Verdict) -> None:
        self.progress.verdicts_done += verdict.judged
        self.progress.unjudged += not verdict.judged
        if verdict.score is not None:
            self.progress.score_sum += verdict.score
            self.progress.score_n += 1


class _Rejudging(_Judging):
    """Nobody is asked: the verdicts are what progress is made in."""

    def _count(self, verdict: Verdict) -> None:
        super()._count(verdict)
        self.progress.turns_done += 1


class _Sitting(_Judging):
    """One sitting of a run: the target's side beside the judges'."""

    def __init__(
        self,
        store: Store,
        settings: RunSettings,
        target: Target,
        strategy: Strategy,
        judge: Judge,
        progress: Progress,
        flagged_text: FlaggedText,
        budget: Budget,
        attacker: Target | None,
    ) -> None:
        super().__init__(store, judge, progress, budget, epochs=settings.epochs)
        self.settings, self.target, self.strategy, self.flagged_text = settings, target, strategy, flagged_text
        self.attacker = attacker
        self._blocks_in_a_row = 0

    async def run(self, policy: Policy) -> None:
        self.store.add_judge(self.judge.card, primary=self.store.primary_judge() is None)
        held = self._count_stored()
        self.queue_stored()
        todo = self._todo()
        async with _flushing(self.store), unwrapped(), asyncio.TaskGroup() as judges:
            workers = [judges.create_task(self.worker()) for _ in range(policy.judge_concurrency)]
            async with asyncio.TaskGroup() as askers:
                for _ in range(policy.concurrency):
                    askers.create_task(self._ask_all(todo, held))
            await self.queue.join()
            for worker in workers:
                worker.cancel()

    def _count_stored(self) -> dict[DialogueKey, list[Turn]]:
        """Count what earlier sittings left; returns the answered turns of dialogues that are not finished, taken back or not."""
        count_stored(self.store, self.settings, self.strategy, self.judge_key, self.progress)
        held: dict[DialogueKey, list[Turn]] = {}
        for stored in self.store.turns(unfinished=True, taken_back=True):
            if stored.turn.reply is not None:
                held.setdefault(stored.key, []).append(stored.turn)
        return held

    def _todo(self) -> Iterator[tuple[DialogueKey, Item]]:
        """What is not finished; the items are read a few at a time."""
        finished = self.store.finished()
        left = (key for key in _keys(self.store, self.settings, self.strategy) if key not in finished)
        while keys := list(islice(left, ITEMS_AT_ONCE)):
            items = self.store.items_of([key.item_id for key in keys])
            yield from ((key, items[key.item_id]) for key in keys)

    async def _ask_all(self, todo: Iterator[tuple[DialogueKey, Item]], held: dict[DialogueKey, list[Turn]]) -> None:
        for key, item in todo:
            if not self.budget.may_start():
                return
            await self._hold(key, item, held.pop(key, []))

    async def _hold(self, key: DialogueKey, item: Item, turns: Sequence[Turn]) -> None:
        """One dialogue; its first call has been set aside by the caller."""
        status, allowance = "done", _Allowance(self.budget)
        strategy = self._about(key, allowance)
        n_kept = sum(turn.kept for turn in turns)
        seen = len(turns)
        try:
            async for turn in hold_dialogue(
                item,
                self.target,
                strategy,
                sampling=self._sampling(key.epoch),
                system=self.settings.system,
                turns=turns,
                flagged_text=self.flagged_text,
                before_call=allowance.take,
            ):
                new, seen = turn.seq > seen, turn.seq
                if new:
                    allowance.settle([self._answered(key, turn)])
                else:
                    self.store.keep_turn(key, turn)
                if turn.reply is None:
                    status = "failed"
                elif turn.kept:
                    n_kept += 1
                    self.progress.turns_done += 1
                    self.wait_for_judge(key, turn.seq, case_of(item, turn))
                if new and turn.reply is not None:
                    await self._watch_blocks(turn)
        except _NoMoreCalls:
            return  # the dialogue stays open
        except CallFailed:
            status = "failed"  # the attacker's call; what was said before is stored
        finally:
            allowance.give_back()
        self.progress.turns_failed += status == "failed"
        if status == "done":
            status = "skipped" if strategy.ended in NOT_THE_TARGETS else "done"
            self.progress.turns_expected -= strategy.max_rounds(item) - n_kept
        self.store.set_status(key, status, strategy.ended)

    def _answered(self, key: DialogueKey, turn: Turn) -> Call:
        """Store a new turn with its call."""
        call = call_of(self.target.label, turn)
        self.store.add_turn(key, turn)
        self.store.add_call(key, turn.seq, call)
        if self.progress.on_event is not None:
            self.progress.on_event(TurnEnded(**called(key, turn.round, call)))
        return call

    def _about(self, key: DialogueKey, allowance: _Allowance) -> Strategy:
        """The strategy for one dialogue, with its attacker where it needs one."""
        if self.attacker is None:
            return self.strategy
        self.store.begin(key)

        def on_call(seq: int, call: Call, step: Step | None) -> None:
            self.store.add_call(key, seq, call)
            if step is not None:
                self.store.add_step(key, step)
            allowance.settle([call])
            if self.progress.on_event is not None:
                kind, readable = (step.kind, step.found is not None) if step is not None else ("", False)
                self.progress.on_event(AttackerCalled(kind=kind, readable=readable, **called(key, None, call)))

        attacker = Attacker(
            self.attacker,
            steps=self.store.steps(key),
            seed=self._sampling(key.epoch).seed,
            before_call=allowance.take,
            on_call=on_call,
        )
        return self.strategy.against(attacker)

    def _sampling(self, epoch: int) -> Sampling:
        """Each epoch has a seed of its own, or a seeded endpoint would give the same answer every time."""
        sampling = self.settings.sampling
        return sampling if sampling.seed is None else msgspec.structs.replace(sampling, seed=sampling.seed + epoch - 1)

    async def _watch_blocks(self, turn: Turn) -> None:
        """After a burst of blocks ask something harmless: if that is blocked too, the filter is broken, not the bank."""
        blocked = turn.reply is not None and turn.reply.blocked is not None
        self.progress.blocked += blocked
        self._blocks_in_a_row = self._blocks_in_a_row + 1 if blocked else 0
        if self._blocks_in_a_row < BLOCKS_IN_A_ROW:
            return
        self._blocks_in_a_row = 0
        control, _ = await ask_control(self.store, self.target, self._sampling(1))
        if control is None:
            return
        if control.blocked:
            raise TargetStop(
                f"{self.target.label}: {BLOCKS_IN_A_ROW} answers in a row were blocked and a harmless control question "
                "was blocked too, so the vendor's filter looks out of order; `scsafety resume` goes on later"
            )
        line = f"{BLOCKS_IN_A_ROW} blocks in a row; a harmless control question was answered, so they count"
        self.progress.noted(Note(self.target.label, line))


class _NoMoreCalls(Exception):
    pass


class _Allowance:
    """One dialogue's calls, set aside in the budget one by one; it begins with one that the caller has set aside."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._set_aside = budget, True

    def take(self) -> None:
        """Before a call. Raises _NoMoreCalls."""
        if not self._set_aside and not self._budget.may_start():
            raise _NoMoreCalls
        self._set_aside = True

    def settle(self, calls: Sequence[Call]) -> None:
        self._set_aside = False
        self._budget.settle(calls)

    def give_back(self) -> None:
        """What was set aside and not used."""
        if self._set_aside:
            self.settle([])


class unwrapped:  # noqa: N801 (a context manager, read as an adjective)
    """Raises the first error of a task group itself instead of the group around it."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        first = error
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if first is not error and first is not None:
            raise first


def call_of(endpoint: str, turn: Turn) -> Call:
    """The audit row of a turn's request."""
    reply = turn.reply
    if reply is None:
        kind = (turn.error or "").partition(":")[0]
        return Call(
            role="target",
            endpoint=endpoint,
            outcome=kind,
            attempts=turn.attempts,
            latency_s=0.0,
            retried=turn.retried,
            elapsed_s=turn.elapsed_s,
            raw=turn.error,
            created_at=turn.created_at,
        )
    return msgspec.structs.replace(
        answered_call("target", endpoint, reply), attempts=turn.attempts, created_at=turn.created_at
    )
