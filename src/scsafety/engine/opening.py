"""From what the user wrote (`deepseek/...`, `local/...`, `offline`) to an open target or judge, and closed again."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.errors import ConfigError
from scsafety.judge.plugin import judge_plugin, refuse_shadow
from scsafety.judge.spec import (
    CombinedSpec,
    GuardSpec,
    JudgeSpec,
    MatchSpec,
    ModelSpec,
    OfflineSpec,
    PluginSpec,
    RepeatedSpec,
    ThinkingSpec,
    members_of,
    models_of,
    networks_of,
    parse_judge,
)
from scsafety.targets.application import application_file, resolve_application
from scsafety.targets.embedded import REPEATABLE_BODY, open_embedded, parse_local
from scsafety.targets.keys import EnvironmentKeys, stores_here
from scsafety.targets.models import pull
from scsafety.targets.plugin import LimitedTarget, plugin_hash, resolve_plugin
from scsafety.targets.providers import Endpoint, resolve, thinking_fields
from scsafety.targets.reach import proxy_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    import aiohttp

    from scsafety.dialogue.hold import FlaggedText
    from scsafety.engine.settings import Policy
    from scsafety.judge import Judge
    from scsafety.judge.offline import OfflineJudge
    from scsafety.suites.base import Suite
    from scsafety.targets.base import Note
    from scsafety.targets.chat import ChatTarget
    from scsafety.targets.models import PullProgress
    from scsafety.targets.providers import Thinking

LOCAL_CTX_TOKENS = 8_192
WITHOUT_ADDRESS = ("openai-compatible", "azure-openai", "azure")  # providers that every user reaches elsewhere


def check_target(spec: str, base_url: str | None, environ: Mapping[str, str] | None = None) -> Endpoint | None:
    """The endpoint of a target, None for an embedded one. Raises ConfigError; opens nothing.

    environ: where address and key are looked for; None: this process's environment, for the key also `.env` and the keyring.
    """
    local = parse_local(spec)
    if local is not None:
        if base_url is not None:
            raise ConfigError(f"{spec} runs on this machine and takes no --base-url")
        if isinstance(local, Path) and not local.is_file():
            raise ConfigError(f"{local}: no such file; give the path of a GGUF file as gguf:PATH")
        return None
    stores = stores_here() if environ is None else (EnvironmentKeys(environ),)
    if (path := application_file(spec)) is not None:
        return resolve_application(path, base_url, stores)
    if (plugin := resolve_plugin(spec, base_url)) is not None:
        return plugin
    if environ is None:
        return resolve(spec, base_url=base_url, environ=os.environ, stores=stores)
    return resolve(spec, base_url=base_url, environ=environ)


def form_hash(endpoint: Endpoint | None) -> str | None:
    """Of what an application's file or a plug-in says that it is; None for every other target."""
    if endpoint is None:
        return None
    if endpoint.plugin is not None:
        return plugin_hash(endpoint.plugin)
    return endpoint.form.sha256 if endpoint.form is not None else None


def thinking_body(spec: str, endpoint: Endpoint | None, thinking: Thinking | None) -> dict[str, Any]:
    """The body fields behind `--thinking`; an embedded model is switched as llama.cpp's server does it. Raises ConfigError."""
    if thinking is None:
        return {}
    if endpoint is None and not isinstance(parse_local(spec), Path):
        raise ConfigError(f"--thinking {thinking}: {spec} has no thinking to switch; leave it out")
    embedded = resolve("llamacpp/embedded", environ={}) if endpoint is None else endpoint
    return thinking_fields(embedded, thinking)


def check_judge(spec: str, base_url: str | None, environ: Mapping[str, str] | None = None) -> None:
    """Raises ConfigError where the judge cannot be meant; opens nothing."""
    tree = parse_judge(spec)
    _check(tree, _addresses(tree, base_url), environ)


def _addresses(tree: JudgeSpec, base_url: str | None) -> Callable[[str], str | None]:
    """The address of each model in a judge: in a panel, cascade or chain `--judge-base-url` is for those without one."""
    if not isinstance(tree, CombinedSpec):
        return lambda _: base_url
    return lambda model: base_url if model.partition("/")[0] in WITHOUT_ADDRESS else None


def judge_address(judge: str, judge_base_url: str | None, model: str, base_url: str | None) -> str | None:
    """The judge's address: its own, or the target's where both are openai-compatible and none is given."""
    both = judge.startswith("openai-compatible/") and model.startswith("openai-compatible/")
    return base_url if judge_base_url is None and both else judge_base_url


def judge_endpoints(spec: str, base_url: str | None) -> dict[str, str | None]:
    """Every model of a judge that is not embedded, guards included, with the address that it is given."""
    tree = parse_judge(spec)
    address_of = _addresses(tree, base_url)
    return {model: address_of(model) for model in _models(tree) if parse_local(model) is None}


def used_address(spec: str, base_url: str | None) -> str | None:
    """The address, where a model of the judge is asked at it: an embedded judge asks nobody."""
    return base_url if base_url in judge_endpoints(spec, base_url).values() else None


def _models(spec: JudgeSpec) -> Iterator[str]:
    if isinstance(spec, GuardSpec):
        yield _served_as(spec)
    elif isinstance(spec, ModelSpec):
        yield spec.text
    for member in members_of(spec):
        yield from _models(member)


def _check(spec: JudgeSpec, address_of: Callable[[str], str | None], environ: Mapping[str, str] | None) -> None:
    if isinstance(spec, ModelSpec):
        check_target(spec.text, address_of(spec.text), environ)
    elif isinstance(spec, GuardSpec):
        model = _served_as(spec)
        if address_of(model) is None:
            raise ConfigError(f"--judge {spec.text} needs --judge-base-url, the address of the server that runs it")
        check_target(model, address_of(model), environ)
    elif isinstance(spec, PluginSpec):
        judge_plugin(spec.text)
    elif isinstance(spec, OfflineSpec) and spec.folder is not None:
        from scsafety.judge.offline import load_artefacts

        load_artefacts(spec.folder)
    elif isinstance(spec, OfflineSpec | MatchSpec):
        refuse_shadow(spec.text)
    for member in members_of(spec):
        _check(member, address_of, environ)


def _served_as(spec: GuardSpec) -> str:
    """The guard as a model of an OpenAI-compatible server."""
    from scsafety.judge.guard import load_guard

    return f"openai-compatible/{spec.model or load_guard(spec.guard).model}"


def flagged_text_of(endpoint: Endpoint | None) -> FlaggedText:
    return endpoint.provider.flagged_text if endpoint is not None else "send"


@asynccontextmanager
async def open_target(
    spec: str,
    base_url: str | None,
    policy: Policy,
    *,
    concurrency: int,
    on_retry: Callable[[Note], None],
    thinking: Thinking | None = None,
    traces: Sequence[aiohttp.TraceConfig] = (),
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[ChatTarget | LimitedTarget]:
    """A target ready to be asked; an embedded one is fetched and started first and stopped at the end.

    thinking: switched on or off; None: as the endpoint has it. traces: who else sees requests and responses.

    Raises ConfigError and MachineError.
    """
    import aiohttp

    from scsafety.targets.chat import ChatTarget, Limits

    endpoint = check_target(spec, base_url, environ)
    body = thinking_body(spec, endpoint, thinking)
    limits = Limits(
        concurrency=1
        if endpoint is None
        else concurrency,  # one slot: a call that waits in the server would run out of time
        rpm=policy.rpm,
        tpm=policy.tpm,
        timeout_s=policy.timeout_s,
        max_attempts=policy.max_attempts,
        patience_s=policy.patience_s,
    )
    if endpoint is not None and endpoint.plugin is not None:
        async with endpoint.plugin as plugin:
            yield LimitedTarget(plugin, limits)
        return
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=list(traces)
    ) as session:
        if endpoint is not None:
            proxy = proxy_for(endpoint.base_url)
            yield ChatTarget(endpoint, session, limits, body=body, on_retry=on_retry, proxy=proxy)
            return
        local = parse_local(spec)
        if local is None:
            raise ConfigError(f"{spec}: not an embedded model")
        path = (
            local if isinstance(local, Path) else await asyncio.to_thread(pull, local)
        )  # here already, see fetch_models
        async with open_embedded(path, n_ctx=LOCAL_CTX_TOKENS) as server:
            embedded = resolve("llamacpp/embedded", base_url=server.base_url, environ={})
            target = ChatTarget(embedded, session, limits, body={**REPEATABLE_BODY, **body}, on_retry=on_retry)
            target.label = spec
            yield target


def fetch_models(*models: str, judge: str | None = None, on_pull: Callable[[PullProgress], None] | None = None) -> None:
    """Have the embedded models that are named or that the judge needs on disk before an event loop runs.

    Ctrl-C then ends a download at once.

    Raises ConfigError and MachineError.
    """
    tree = parse_judge(judge) if judge is not None else None
    for model in (*models, *(models_of(tree) if tree is not None else ())):
        local = parse_local(model)
        if local is not None and not isinstance(local, Path):
            pull(local, on_progress=on_pull)
    for offline in networks_of(tree) if tree is not None else ():
        from scsafety.judge.offline_model import prepare_offline

        prepare_offline(_artefacts(offline), on_progress=on_pull)


def _artefacts(spec: OfflineSpec) -> Path:
    """The folder of the judge that the user trained, or of the shipped one of that name."""
    from scsafety.judge.offline import built_in

    return spec.folder or built_in(spec.text)


def runs_models_here(*models: str, judge: str) -> bool:
    """Whether a model would run on the machine that asks these and judges by that. Raises ConfigError."""
    tree = parse_judge(judge)
    return any(networks_of(tree)) or any(parse_local(model) is not None for model in (*models, *models_of(tree)))


@asynccontextmanager
async def open_suite_judge(
    spec: str, base_url: str | None, policy: Policy, suite: Suite, *, on_retry: Callable[[Note], None]
) -> AsyncIterator[Judge]:
    """The judge of a suite's answers. Raises ConfigError and MachineError."""
    from scsafety.suites.judging import SuiteJudge

    check_judge(spec, base_url)
    tree = parse_judge(spec)
    async with AsyncExitStack() as stack:
        opening = _Opening(stack, _addresses(tree, base_url), policy, on_retry, None)
        if isinstance(tree, MatchSpec):
            yield SuiteJudge(spec, suite)
        elif isinstance(tree, ModelSpec):
            yield SuiteJudge(spec, suite, target=await opening.target(spec))
        else:
            yield SuiteJudge(spec, suite, judge=await opening.judge(tree))


@asynccontextmanager
async def open_judge(
    spec: str,
    base_url: str | None,
    policy: Policy,
    *,
    on_retry: Callable[[Note], None],
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Judge]:
    """A judge ready to judge. Raises ConfigError and MachineError."""
    check_judge(spec, base_url, environ)
    tree = parse_judge(spec)
    async with AsyncExitStack() as stack:
        yield await _Opening(stack, _addresses(tree, base_url), policy, on_retry, environ).judge(tree)


class _Opening:
    """Opens a tree of judges; one endpoint that stands in it twice is opened once."""

    def __init__(
        self,
        stack: AsyncExitStack,
        address_of: Callable[[str], str | None],
        policy: Policy,
        on_retry: Callable[[Note], None],
        environ: Mapping[str, str] | None,
    ) -> None:
        self._stack, self._address_of, self._on_retry, self._environ = stack, address_of, on_retry, environ
        self._policy = msgspec.structs.replace(policy, rpm=None, tpm=None)  # those are the target's
        self._targets: dict[str, ChatTarget | LimitedTarget] = {}
        self._offline_judges: dict[str, OfflineJudge] = {}

    async def judge(self, spec: JudgeSpec, *, seed: int = 0) -> Judge:
        from scsafety.judge.combined import CascadeJudge, ChainJudge, PanelJudge, RepeatedJudge
        from scsafety.judge.guard import GuardJudge, load_guard
        from scsafety.judge.llm import LLMJudge
        from scsafety.judge.offline_fast import OfflineFastJudge
        from scsafety.judge.thinking import ThinkingJudge

        match spec:
            case OfflineSpec(text="offline-fast"):
                return OfflineFastJudge(spec.text)
            case OfflineSpec():
                return await self._offline(spec)
            case MatchSpec():
                raise ConfigError(f"--judge {spec.text} reads a suite's answers; these need another judge")
            case PluginSpec():
                return await self._stack.enter_async_context(judge_plugin(spec.text))
            case ModelSpec():
                return LLMJudge(spec.text, await self.target(spec.text), seed=seed)
            case GuardSpec():
                offline = await self.judge(OfflineSpec("offline"))
                return GuardJudge(spec.text, load_guard(spec.guard), await self.target(_served_as(spec)), offline)
            case ThinkingSpec():
                return ThinkingJudge(await self.judge(spec.inner, seed=seed))
            case RepeatedSpec():
                return RepeatedJudge(spec.text, [await self.judge(spec.inner, seed=k) for k in range(spec.times)])
            case CombinedSpec():
                members = [await self.judge(member) for member in spec.members]
                if spec.how == "cascade":
                    return CascadeJudge(spec.text, members[0], members[1], spec.threshold)
                return PanelJudge(spec.text, members) if spec.how == "panel" else ChainJudge(spec.text, members)

    async def _offline(self, spec: OfflineSpec) -> OfflineJudge:
        from scsafety.judge.offline_model import open_offline

        if spec.text not in self._offline_judges:
            opened = open_offline(_artefacts(spec), judge_id=spec.text)
            self._offline_judges[spec.text] = await self._stack.enter_async_context(opened)
        return self._offline_judges[spec.text]

    async def target(self, model: str) -> ChatTarget | LimitedTarget:
        if model not in self._targets:
            opening = open_target(
                model,
                self._address_of(model),
                self._policy,
                concurrency=self._policy.judge_concurrency,
                on_retry=self._on_retry,
                environ=self._environ,
            )
            self._targets[model] = await self._stack.enter_async_context(opening)
        return self._targets[model]
