"""What a target is to everybody else: messages in, a reply out. The same object serves as judge or attacker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from scsafety.records import Call, CallRole, utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.errors import CallFailed
    from scsafety.records import Message, Reply, Sampling


class Note(msgspec.Struct, frozen=True):
    """What an endpoint has to say to whoever watches: a call is tried again, or something worth a line."""

    endpoint: str
    line: str  # may quote the endpoint
    kind: str | None = None  # of the attempt that is tried again: `rate_limited`, `transient`; None: no retry
    wait_s: float = 0.0  # before it is


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


def answered_call(role: CallRole, endpoint: str, reply: Reply) -> Call:
    """The audit row of a request that got a reply, a block included."""
    outcome = f"blocked_{reply.blocked}" if reply.blocked else "answered" if reply.content.strip() else "empty"
    return Call(
        role=role,
        endpoint=endpoint,
        outcome=outcome,
        attempts=reply.attempts,
        latency_s=reply.latency_s,
        retried=reply.retried,
        elapsed_s=reply.elapsed_s,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        model=reply.model,
        request_id=reply.request_id,
        fingerprint=reply.fingerprint,
        raw=reply.raw,
        created_at=utc_now(),
    )


def failed_call(role: CallRole, endpoint: str, failure: CallFailed) -> Call:
    """The audit row of a request that got none."""
    return Call(
        role=role,
        endpoint=endpoint,
        outcome=failure.kind,
        attempts=failure.attempts,
        latency_s=0.0,
        retried=failure.retried,
        elapsed_s=failure.elapsed_s,
        raw=failure.raw,
        created_at=utc_now(),
    )
