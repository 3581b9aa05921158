"""One dialogue's way to its attacker: every request is a `Step`, and a step that is stored is never asked for again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.errors import CallFailed
from scsafety.records import Message, Step, utc_now
from scsafety.targets.base import answered_call, failed_call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scsafety.records import Call, Sampling
    from scsafety.targets.base import Target

TRIES = 3  # a reply that cannot be read is asked for again, then the dialogue is over


class Attacker:
    """Writes the questions of an attack and judges its progress: any target can.

    With the steps of an earlier sitting it goes on where that one was interrupted: the strategy asks for all of them again and
    gets what was said then.
    """

    def __init__(
        self,
        target: Target,
        *,
        steps: Sequence[Step] = (),
        seed: int | None = None,
        before_call: Callable[[], None] = lambda: None,
        on_call: Callable[[int, Call, Step | None], None] = lambda *_: None,
    ) -> None:
        """before_call may raise, and nothing is asked. on_call: the turn's number, the call, and the step it led to, if any."""
        self._target, self._seed, self._before_call, self._on_call = target, seed, before_call, on_call
        self.steps = list(steps)

    async def ask(
        self,
        seq: int,
        kind: str,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        read: Callable[[str], dict[str, Any] | None],
        schema: dict[str, Any],
        stricter: str,
        most: int = TRIES,
    ) -> Step:
        """The step of this kind on the way to turn `seq`; where none of its tries can be read, the last of them.

        stricter: what is added when a reply could not be read. most: tries. Raises CallFailed and TargetStop.
        """
        tries = self.of(seq, kind)
        while not tries or (tries[-1].found is None and len(tries) < most):
            *before, last = messages
            asked = f"{last.content}\n\n{stricter}" if tries else last.content
            self._before_call()
            try:
                reply = await self._target.ask(
                    [*before, Message("user", asked)],
                    msgspec.structs.replace(sampling, seed=self._seed),
                    json_schema=schema,
                )
            except CallFailed as failure:
                self._on_call(seq, failed_call("attacker", self._target.label, failure), None)
                raise
            step = Step(
                seq=seq,
                kind=kind,
                number=len(tries) + 1,
                asked=asked,
                said=reply.content,
                blocked=reply.blocked,
                found=None if reply.blocked else read(reply.content),
                created_at=utc_now(),
            )
            self._on_call(seq, answered_call("attacker", self._target.label, reply), step)
            self.steps.append(step)
            tries.append(step)
        return tries[-1]

    def of(self, seq: int, kind: str) -> list[Step]:
        """The tries of one step, in their order."""
        return [step for step in self.steps if (step.seq, step.kind) == (seq, kind)]
