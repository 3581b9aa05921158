"""What a target is to everybody else: messages in, a reply out. The same object serves as judge or attacker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.records import Message, Reply, Sampling


class Target(Protocol):
    @property
    def label(self) -> str:
        """`provider/model`, as it stands in records; never a key."""
        ...

    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, *, json_schema: dict[str, Any] | None = None
    ) -> Reply:
        """One reply to the conversation.

        Raises CallFailed when there is none after the retries, TargetStop when no further call can succeed.
        """
        ...
