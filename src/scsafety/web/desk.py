"""The labelling desk: tasks, who labels which, and the labels on their way into the store. No HTTP here."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety import taxonomy
from scsafety.judge.combined import read_members
from scsafety.judge.people import (
    WITHDRAWN,
    LabelNote,
    Plan,
    agreement_of,
    draw_sample,
    person,
    read_note,
    second_labels,
)
from scsafety.records import Pair, Score, Turn, Verdict, utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.records import DialogueKey
    from scsafety.store import Store

LEASE_S = 900.0  # so long a task that needs one label is kept for the person who has it on the screen
MAX_NOTE_CHARS = 1_000


class Shown(msgspec.Struct, frozen=True):
    """One answer of a task as the page gets it: nothing of any judge."""

    seq: int
    round: int
    question: str
    answer: str
    blocked: str | None
    mine: int | None  # this annotator's label


class Task(msgspec.Struct, frozen=True):
    """One pair's dialogue to label, both rounds."""

    id: str
    sub_dimension: str
    system: str | None
    risk_point: str
    good_answer: str
    answers: tuple[Shown, ...]


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the page sends: a score, or None to take it back."""

    task: str
    seq: int
    score: Score | None
    at: int
    note: str = ""


class Desk:
    """All of a labelling session; every label is committed before it is confirmed."""

    def __init__(
        self, store: Store, annotators: Sequence[str], *, sample: int, plan: Plan, second_share: float, seed: int
    ) -> None:
        self._store, self._plan = store, plan
        self.annotators = tuple(annotators)
        self._cards = {name: person(name) for name in annotators}
        for card in self._cards.values():
            store.add_judge(card, primary=False)
        self._pairs = {item.id: item for item in store.items() if isinstance(item, Pair)}
        self._keys: dict[str, DialogueKey] = {}  # of each pair's dialogue, whatever its strategy
        self._turns = self._answered_turns()
        self.order = self._ordered(sample, plan, seed)
        self._needs_two = second_labels(self.order, second_share, seed=seed)
        self._last: dict[tuple[str, str, int], tuple[int, Score | None, int]] = {}  # name, task, seq: repeat, score, at
        for name, card in self._cards.items():
            for stored in store.verdicts(card.key):
                at = read_note(stored.verdict.raw)
                place = (name, stored.key.item_id, stored.seq)
                self._last[place] = (stored.verdict.repeat, stored.verdict.score, at.at if at else 0)
        self._leases: dict[str, tuple[str, float]] = {}
        store.flush()

    def batch(self, name: str, n: int, skipped: Sequence[str] = ()) -> list[Task]:
        """The next tasks for this person: begun ones first, none that others have done or hold; skipped ones last."""
        now = time.monotonic()
        open_: list[str] = []
        held: list[str] = []
        for task in self.order:
            if self._done(name, task):
                continue
            others = sum(self._done(other, task) for other in self.annotators if other != name)
            if others >= (2 if task in self._needs_two else 1):
                continue
            holder, since = self._leases.get(task, (name, now))
            busy = holder != name and now - since < LEASE_S and task not in self._needs_two
            (held if busy or task in skipped else open_).append(task)
        begun = [task for task in open_ if self._labels(name, task)]
        rest = [task for task in open_ if not self._labels(name, task)]
        chosen = [*begun, *rest][:n] or [task for task in held if task in skipped][:n]
        for task in chosen:
            if task not in self._needs_two:
                self._leases[task] = (name, now)
        return [self._task(name, task) for task in chosen]

    def task(self, name: str, task: str) -> Task | None:
        """One task again, as after an undo; None for one that is not on this desk."""
        return self._task(name, task) if task in self._turns else None

    def shares(self) -> dict[str, list[Task]]:
        """All that is left, dealt out at once: each task to one annotator in turn, or to two where two are to label it."""
        found: dict[str, list[Task]] = {name: [] for name in self.annotators}
        for task in self.order:
            done = [name for name in self.annotators if self._done(name, task)]
            wanted = (2 if task in self._needs_two else 1) - len(done)
            free = sorted((name for name in self.annotators if name not in done), key=lambda name: len(found[name]))
            for name in free[: max(wanted, 0)]:
                found[name].append(self._task(name, task))
        return found

    def take(self, name: str, labels: Sequence[Label]) -> int:
        """Store labels and commit; how many were new. One that is older than what is stored changes nothing."""
        new = 0
        for label in labels:
            turn = next((turn for turn in self._turns.get(label.task, ()) if turn.seq == label.seq), None)
            repeat, _, at = self._last.get((name, label.task, label.seq), (0, None, -1))
            if turn is None or label.at <= at:
                continue
            raw = msgspec.json.encode(LabelNote(self._plan, label.at)).decode()
            verdict = Verdict(
                score=label.score,
                reason=label.note[:MAX_NOTE_CHARS],
                error=None if label.score is not None else WITHDRAWN,
                raw=raw,
                repeat=repeat + 1,
                created_at=utc_now(),
            )
            self._store.add_verdict(self._keys[label.task], label.seq, self._cards[name].key, verdict)
            self._last[name, label.task, label.seq] = (repeat + 1, label.score, label.at)
            new += 1
        self._store.flush()
        return new

    def progress(self, name: str) -> dict[str, Any]:
        """Counts, and the agreement of everybody's labels so far."""
        labels: dict[str, dict[str, Score]] = defaultdict(dict)
        for (who, task, seq), (_, score, _) in self._last.items():
            if score is not None:
                labels[who][f"{task} {seq}"] = score
        needed = len(self.order) + len(self._needs_two)
        done = Counter(task for task in self.order for who in self.annotators if self._done(who, task))
        finished = sum(min(n, 2 if task in self._needs_two else 1) for task, n in done.items())
        return {
            "annotator": name,
            "mine": sum(self._done(name, task) for task in self.order),
            "tasks": len(self.order),
            "second": len(self._needs_two),
            "needed": needed,
            "finished": finished,
            "answers": {who: len(given) for who, given in labels.items()},
            "agreement": msgspec.to_builtins(agreement_of(labels)),
        }

    def _answered_turns(self) -> dict[str, list[Turn]]:
        """The first epoch's turns of every pair that was answered in all its rounds."""
        turns: dict[str, list[Turn]] = defaultdict(list)
        for stored in self._store.turns():
            key = stored.key
            if key.item_id in self._pairs and (key.epoch, key.attempt) == (1, 1):
                self._keys[key.item_id] = key
                turns[key.item_id].append(stored.turn)
        return {name: found for name, found in turns.items() if all(turn.reply is not None for turn in found)}

    def _ordered(self, sample: int, plan: Plan, seed: int) -> list[str]:
        if plan == "random":
            return draw_sample({name: self._pairs[name].sub_dimension for name in self._turns}, sample, seed=seed)
        judge = self._store.primary_judge()
        verdicts = self._store.verdicts(judge.key) if judge else []
        doubt: dict[str, float] = dict.fromkeys(self._turns, 0.0)
        for stored in verdicts:
            if stored.key.item_id in doubt:
                doubt[stored.key.item_id] = max(doubt[stored.key.item_id], _doubt(stored.verdict, plan))
        return sorted(doubt, key=lambda name: (-doubt[name], name))[:sample]

    def _done(self, name: str, task: str) -> bool:
        return len(self._labels(name, task)) == len(self._turns[task])

    def _labels(self, name: str, task: str) -> list[int]:
        found = (self._last.get((name, task, turn.seq)) for turn in self._turns[task])
        return [last[1] for last in found if last is not None and last[1] is not None]

    def _task(self, name: str, task: str) -> Task:
        pair = self._pairs[task]
        answers = []
        for turn in self._turns[task]:
            last = self._last.get((name, task, turn.seq))
            reply = turn.reply
            answers.append(
                Shown(
                    seq=turn.seq,
                    round=turn.round or turn.seq,
                    question=turn.messages[-1].content,
                    answer=reply.content if reply else "",
                    blocked=reply.blocked if reply else None,
                    mine=last[1] if last else None,
                )
            )
        system = next((m.content for m in self._turns[task][0].messages if m.role == "system"), None)
        sub = taxonomy.sub_dimension(pair.sub_dimension)
        return Task(task, sub.zh, system, pair.risk_point, pair.good_answer, tuple(answers))


def _doubt(verdict: Verdict, plan: Plan) -> float:
    if plan == "uncertain":
        return 1.0 if verdict.confidence is None else 1.0 - verdict.confidence
    members = read_members(verdict.raw)
    scores = [one.score for one in members.members if one.score is not None] if members else []
    return float(max(scores) - min(scores)) if scores else 0.0
