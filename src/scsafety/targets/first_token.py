"""A target that is measured instead of read: its answer is how likely each token was to begin the one it gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.errors import TargetStop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.records import Message, Reply, Sampling
    from scsafety.targets.base import Target

FIELDS: dict[str, Any] = {"logprobs": True, "top_logprobs": 20}  # of the request; most endpoints give no more than 20
MAX_TOKENS = 1


class FirstToken:
    """Asks as the target does; what it gives for an answer is a JSON object, token to natural log-probability."""

    def __init__(self, target: Target) -> None:
        self._target = target

    @property
    def label(self) -> str:
        return self._target.label

    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, *, json_schema: dict[str, Any] | None = None
    ) -> Reply:
        """See `Target.ask`. Raises TargetStop where the endpoint gives no log-probabilities."""
        reply = await self._target.ask(messages, sampling, json_schema=json_schema)
        if reply.blocked:
            return reply
        if not reply.first_token:
            raise TargetStop(
                f"{self.label} gives no log-probabilities of its tokens (logprobs, top_logprobs), and this variant reads nothing "
                "else; choose another --variant, or an endpoint that gives them (llama.cpp, vLLM, SGLang, some vendors)",
                kind="no_logprobs",
            )
        return msgspec.structs.replace(reply, content=msgspec.json.encode(reply.first_token).decode())
