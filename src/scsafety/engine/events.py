"""What the engine tells whoever watches: counts for a progress bar, and events for a log or a trace.

No event holds what was asked or answered, nor what an endpoint said of a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.records import utc_now

if TYPE_CHECKING:
    from scsafety.records import Call, DialogueKey, Score
    from scsafety.targets.base import Note


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    time: str = msgspec.field(default_factory=utc_now)  # UTC, ISO-8601


class SittingStarted(Event, frozen=True, kw_only=True, tag="sitting_started"):
    run: str
    target: str | None = None  # None: nobody is asked, stored answers are judged
    judge: str
    settings: str  # the first 12 hex digits of SHA-256 over the run's settings
    versions: dict[str, str]
    policy: dict[str, Any]


class SittingEnded(Event, frozen=True, kw_only=True, tag="sitting_ended"):
    why: str  # done, cap, interrupted, terminated, error
    message: str = ""  # of a cap or an error
    turns_done: int  # those of earlier sittings too
    turns_failed: int
    verdicts_done: int
    unjudged: int
    retries: int


class Called(Event, frozen=True, kw_only=True):
    """A request that came to its end, in the words of the store's `call` table."""

    item: str
    epoch: int
    round: int | None
    endpoint: str
    outcome: str  # answered, empty, blocked_input, ..., or the kind of the failure
    latency_s: float  # of the attempt that was answered
    elapsed_s: float  # retries and waits included
    attempts: int
    retried: dict[str, int] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    model: str | None = None  # as the response names it


class TurnEnded(Called, frozen=True, kw_only=True, tag="turn"):
    pass


class JudgeCalled(Called, frozen=True, kw_only=True, tag="judge_call"):
    judge: str  # its key; a panel's calls bear the panel's


class AttackerCalled(Called, frozen=True, kw_only=True, tag="attacker_call"):
    kind: str  # question, refusal, success; empty where the call failed
    readable: bool = True


class VerdictGiven(Event, frozen=True, kw_only=True, tag="verdict"):
    item: str
    epoch: int
    round: int | None
    judge: str
    score: Score | None = None
    label: str | None = None
    unjudged: bool = False


class Retried(Event, frozen=True, kw_only=True, tag="retry"):
    endpoint: str
    kind: str
    wait_s: float


class Noted(Event, frozen=True, kw_only=True, tag="note"):
    """A pause, a refused parameter, fewer calls in flight."""

    line: str


Sink = Callable[[Event], None]


def called(key: DialogueKey, round_: int | None, call: Call) -> dict[str, Any]:
    """The fields that `TurnEnded`, `JudgeCalled` and `AttackerCalled` share."""
    return {
        "item": key.item_id,
        "epoch": key.epoch,
        "round": round_,
        "endpoint": call.endpoint,
        "outcome": call.outcome,
        "latency_s": round(call.latency_s, 6),
        "elapsed_s": round(call.elapsed_s, 6),
        "attempts": call.attempts,
        "retried": call.retried,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "model": call.model,
    }


class Progress(msgspec.Struct):
    """Counts of one sitting of a run, brought up to date in place; a watcher reads them when it likes."""

    turns_expected: int = 0
    turns_done: int = 0  # answered, blocked ones included; those of earlier sittings too
    turns_before: int = 0  # of turns_done, those of earlier sittings
    turns_failed: int = 0  # dialogues that ended in an error in this sitting
    blocked: int = 0
    verdicts_done: int = 0
    unjudged: int = 0  # verdicts that came back without a score in this sitting
    retries: int = 0
    score_sum: int = 0  # over judged answers to pairs
    score_n: int = 0
    stopped: str = ""  # a cap that ended the sitting early
    note: str = ""  # the last thing worth a line: a pause, a refused parameter
    on_event: Sink | None = None  # told of everything that happens; None: nobody listens

    @property
    def running_score(self) -> float | None:
        """100 x (sum of scores) / (2 x number of answers), unweighted: only an impression on the way."""
        return 100 * self.score_sum / (2 * self.score_n) if self.score_n else None

    def noted(self, note: Note) -> None:
        """An endpoint has something to say."""
        self.retries += note.kind is not None
        self.note = note.line
        if self.on_event is None:
            return
        if note.kind is None:
            self.on_event(Noted(line=note.line))
        else:
            self.on_event(Retried(endpoint=note.endpoint, kind=note.kind, wait_s=round(note.wait_s, 3)))
