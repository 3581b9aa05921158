"""A target that answers from a list and keeps what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scsafety.records import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.records import Message, Sampling

Step = str | Reply | Exception


class FakeTarget:
    """Gives `steps` one after the other: a text is an answer, an exception is raised."""

    label = "fake/target"

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        self.seen: list[tuple[Message, ...]] = []
        self.samplings: list[Sampling] = []
        self.schemas: list[dict[str, Any] | None] = []

    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, *, json_schema: dict[str, Any] | None = None
    ) -> Reply:
        self.seen.append(tuple(messages))
        self.samplings.append(sampling)
        self.schemas.append(json_schema)
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return Reply(content=step) if isinstance(step, str) else step
