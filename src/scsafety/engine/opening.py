"""From what the user wrote (`deepseek/...`, `local/...`, `offline`) to an open target or judge, and closed again."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from scsafety.errors import ConfigError
from scsafety.judge.thinking import SUFFIX, ThinkingJudge
from scsafety.targets.embedded import REPEATABLE_BODY, open_embedded, parse_local
from scsafety.targets.models import pull
from scsafety.targets.providers import Endpoint, is_loopback, resolve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from scsafety.dialogue.hold import FlaggedText
    from scsafety.engine.settings import Policy
    from scsafety.judge import Judge
    from scsafety.targets.chat import ChatTarget
    from scsafety.targets.models import PullProgress

OFFLINE_JUDGES = ("offline", "offline-fast")
LOCAL_CTX_TOKENS = 8_192


def check_target(spec: str, base_url: str | None, environ: Mapping[str, str]) -> Endpoint | None:
    """The endpoint of a target, None for an embedded one. Raises ConfigError; opens nothing."""
    local = parse_local(spec)
    if local is not None:
        if base_url is not None:
            raise ConfigError(f"{spec} runs on this machine and takes no --base-url")
        if isinstance(local, Path) and not local.is_file():
            raise ConfigError(f"{local}: no such file; give the path of a GGUF file as gguf:PATH")
        return None
    return resolve(spec, base_url=base_url, environ=environ)


def check_judge(spec: str, base_url: str | None, environ: Mapping[str, str]) -> None:
    """Raises ConfigError where the judge cannot be meant; opens nothing."""
    spec = spec.removesuffix(SUFFIX)
    if spec in OFFLINE_JUDGES:
        return
    if "/" not in spec and not spec.startswith("gguf:"):
        raise ConfigError(f"--judge {spec!r} is unknown; give {', '.join(OFFLINE_JUDGES)} or provider/model")
    check_target(spec, base_url, environ)


def flagged_text_of(endpoint: Endpoint | None) -> FlaggedText:
    return endpoint.provider.flagged_text if endpoint is not None else "send"


@asynccontextmanager
async def open_target(
    spec: str,
    base_url: str | None,
    policy: Policy,
    *,
    concurrency: int,
    on_retry: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[ChatTarget]:
    """A target ready to be asked; an embedded one is fetched and started first and stopped at the end.

    Raises ConfigError and MachineError.
    """
    import aiohttp

    from scsafety.targets.chat import ChatTarget, Limits

    environ = os.environ if environ is None else environ
    endpoint = check_target(spec, base_url, environ)
    limits = Limits(
        concurrency=concurrency,
        rpm=policy.rpm,
        tpm=policy.tpm,
        timeout_s=policy.timeout_s,
        max_attempts=policy.max_attempts,
    )
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector) as session:
        if endpoint is not None:
            yield ChatTarget(endpoint, session, limits, on_retry=on_retry, proxy=proxy_for(endpoint.base_url))
            return
        local = parse_local(spec)
        if local is None:
            raise ConfigError(f"{spec}: not an embedded model")
        path = (
            local if isinstance(local, Path) else await asyncio.to_thread(pull, local)
        )  # here already, see fetch_models
        async with open_embedded(path, n_ctx=LOCAL_CTX_TOKENS) as server:
            embedded = resolve("llamacpp/embedded", base_url=server.base_url, environ={})
            target = ChatTarget(embedded, session, limits, body=REPEATABLE_BODY, on_retry=on_retry)
            target.label = spec
            yield target


def proxy_for(url: str) -> str | None:
    """The proxy that this machine's environment names for an address (HTTPS_PROXY, NO_PROXY and the like)."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if not parts.hostname or is_loopback(url) or proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


def fetch_models(*specs: str, on_pull: Callable[[PullProgress], None] | None = None) -> None:
    """Have the embedded models among `specs` on disk before an event loop runs: Ctrl-C then ends a download at once.

    Raises ConfigError and MachineError.
    """
    for spec in specs:
        local = parse_local(spec.removesuffix(SUFFIX))
        if local is not None and not isinstance(local, Path):
            pull(local, on_progress=on_pull)


@asynccontextmanager
async def open_judge(
    spec: str,
    base_url: str | None,
    policy: Policy,
    *,
    on_retry: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Judge]:
    """A judge ready to judge. Raises ConfigError and MachineError."""
    check_judge(spec, base_url, os.environ if environ is None else environ)
    if spec.endswith(SUFFIX):
        inner = spec.removesuffix(SUFFIX)
        async with open_judge(inner, base_url, policy, on_retry=on_retry, environ=environ) as judge:
            yield ThinkingJudge(judge)
        return
    if spec in OFFLINE_JUDGES:
        from scsafety.judge.offline_fast import OfflineFastJudge

        yield OfflineFastJudge(spec)
        return
    from scsafety.judge.llm import LLMJudge

    async with open_target(
        spec,
        base_url,
        msgspec.structs.replace(policy, rpm=None, tpm=None),  # those are the target's
        concurrency=policy.judge_concurrency,
        on_retry=on_retry,
        environ=environ,
    ) as target:
        yield LLMJudge(spec, target)
