"""A target of another package: an entry point in the group `scsafety.targets` names a subclass of `PluginTarget`.

`--model NAME/MODEL --base-url URL` builds one. It says one thing, the reply to a conversation; limits, time-out, and what
becomes of an error are ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from scsafety.errors import CallFailed, ScsafetyError
from scsafety.plugins import TARGET, load_plugin
from scsafety.records import Reply, whole_characters
from scsafety.targets.providers import ANY, Endpoint, Switch, checked_url, provider_names, providers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.records import Message, Sampling
    from scsafety.targets.chat import Limits

TEXTS = ("content", "reasoning", "finish_reason", "model", "request_id", "fingerprint", "raw")  # of a reply
OWN_FORMS = ("local", "gguf", "http", "https", "human")  # what else stands before a model's name


class PluginTarget(ABC):
    """A subclass says `ask`. The same object serves as target, attacker and judge. Opened by `async with` before it is asked."""

    name: ClassVar[str]  # what stands before the slash in `--model`; the entry point's
    version: ClassVar[int] = (
        1  # raised when the same conversation would be answered differently; a run does not go on then
    )

    def __init__(self, model: str, base_url: str | None = None) -> None:
        """model: what stands behind the slash. Opens nothing; raises ConfigError where something is missing."""
        self.model, self.base_url = model, base_url

    def parameters(self) -> dict[str, str | int | float | None]:
        """What an answer depends on beside model and conversation; never a key."""
        return {}

    @abstractmethod
    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, *, json_schema: dict[str, Any] | None = None
    ) -> Reply:
        """One reply to the conversation; a vendor's block is a reply with `blocked`.

        Raises CallFailed where there is none, TargetStop where no further call can succeed. Nobody tries again behind it.
        """

    @property
    def label(self) -> str:
        return f"{self.name}/{self.model}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


class LimitedTarget:
    """A plug-in's target as the engine asks it: within its limits, and with nothing but our own errors coming out."""

    def __init__(self, target: PluginTarget, limits: Limits) -> None:
        from scsafety.targets.chat import READ_TIMEOUT_S, Gate

        self.label = target.label
        self.refused_parameters: list[str] = []
        self._target = target
        self._timeout_s = limits.timeout_s or READ_TIMEOUT_S
        self._gate = Gate(limits)

    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, *, json_schema: dict[str, Any] | None = None
    ) -> Reply:
        """See `Target.ask`."""
        n_tokens = sum(len(message.content) for message in messages) + (sampling.max_tokens or 512)
        async with self._gate.passed(n_tokens):
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._timeout_s):
                    reply = await self._target.ask(messages, sampling, json_schema=json_schema)
            except ScsafetyError:
                raise
            except TimeoutError as error:
                raise CallFailed("transient", "no answer within the time-out (--timeout)") from error
            except Exception as error:
                raise CallFailed("plugin", f"the target {self.label} raised {type(error).__name__}: {error}") from error
        if not isinstance(reply, Reply) or not isinstance(reply.content, str):
            raise CallFailed("plugin", f"the target {self.label} gave {type(reply).__name__} instead of a Reply")
        seconds = time.monotonic() - began
        whole = {name: whole_characters(text) for name in TEXTS if isinstance(text := getattr(reply, name), str)}
        return msgspec.structs.replace(
            reply, latency_s=reply.latency_s or seconds, elapsed_s=reply.elapsed_s or seconds, **whole
        )


def resolve_plugin(spec: str, base_url: str | None) -> Endpoint | None:
    """The endpoint of `NAME/MODEL` where another package registers NAME; else None. Raises ConfigError."""
    name, slash, model = spec.strip().partition("/")
    address = checked_url(base_url, "the base URL").rstrip("/") if slash and base_url else None
    own = (*provider_names(), *OWN_FORMS)
    found: PluginTarget | None = load_plugin(TARGET, name, own, PluginTarget, lambda kind: kind(model, address))
    if found is None:
        return None
    row = next(row for row in providers() if row.id == ANY)
    provider = msgspec.structs.replace(
        row, id=name, key="none", key_vars=(), base_url=None, base_url_var=None, thinking=Switch()
    )
    return Endpoint(provider=provider, model=model, base_url=address or "", plugin=found)


def plugin_hash(target: PluginTarget) -> str:
    """SHA-256 (hex) of name, version and parameters: a run goes on with the same one only."""
    identity = (target.name, target.version, target.parameters())
    return hashlib.sha256(msgspec.json.encode(identity, order="sorted")).hexdigest()
