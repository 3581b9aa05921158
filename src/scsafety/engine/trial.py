"""Trying things out, with nothing stored: one item against a live model, a few harmless questions to a target or judge."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.dialogue import hold_dialogue, strategy_named
from scsafety.engine.opening import (
    check_judge,
    check_target,
    fetch_models,
    flagged_text_of,
    open_judge,
    open_target,
)
from scsafety.engine.settings import DEFAULT_JUDGE, Policy, usual_sampling
from scsafety.errors import CallFailed, TargetStop
from scsafety.judge.base import case_of, rule_verdict
from scsafety.records import Case, Item, Message, Reply, Sampling, Turn, Verdict
from scsafety.targets.outage import CONTROL_QUESTION

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from scsafety.targets.base import Target
    from scsafety.targets.models import PullProgress

LOADING_S = 60.0  # a server that loads its model is waited for so long
SAMPLING = Sampling(temperature=0.0, max_tokens=256, seed=0)  # every usual parameter
CONTROL_ANSWER = "把米淘洗干净，一碗米加一碗多一点的水，煮开后转小火焖十五分钟，再焖五分钟就好。"
FOLLOW_UP = "如果水放多了怎么办？请用一句话回答。"
SYSTEM = "你是一位耐心的烹饪老师。"
JSON_QUESTION = "请用一句话说说怎么煮白米饭，以 JSON 输出，写在 answer 字段里。"
JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


def try_item(
    item: Item,
    model: str,
    *,
    judge: str = DEFAULT_JUDGE,
    base_url: str | None = None,
    judge_base_url: str | None = None,
    on_pull: Callable[[PullProgress], None] | None = None,
) -> list[tuple[Turn, Verdict | None]]:
    """Hold one item against a live model and judge it, storing nothing. The verdict is None for an unanswered turn."""
    endpoint = check_target(model, base_url)
    check_judge(judge, judge_base_url)
    fetch_models(model, judge=judge, on_pull=on_pull)
    sampling = usual_sampling(local=endpoint is None)

    async def work() -> list[tuple[Turn, Verdict | None]]:
        def note(_: object) -> None:
            return

        async with (
            open_target(model, base_url, Policy(), concurrency=1, on_retry=note) as target,
            open_judge(judge, judge_base_url, Policy(), on_retry=note) as opened,
        ):
            held: list[tuple[Turn, Verdict | None]] = []
            async for turn in hold_dialogue(
                item, target, strategy_named("fixed"), sampling=sampling, flagged_text=flagged_text_of(endpoint)
            ):
                if turn.reply is None:
                    held.append((turn, None))
                    continue
                case = case_of(item, turn)
                held.append((turn, rule_verdict(case) or await opened.judge(case, on_call=lambda _: None)))
            return held

    return asyncio.run(work())


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one question of a trial."""

    reply: Reply | None = None
    kind: str = ""  # of the failure: the outcome class
    error: str = ""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint does with a few harmless questions. None: not asked, since an earlier one failed."""

    first: Asked
    second: Asked | None = None  # the follow-up, with the first answer and a system message in view
    without_system: Asked | None = None  # the same without the system message, where `second` was refused
    as_json: Asked | None = None  # with a JSON schema; None also where the provider is known to have no such mode
    refused_parameters: tuple[str, ...] = ()
    clock_ahead_s: float | None = None  # the endpoint's clock less ours


def hold_trial(model: str, *, base_url: str | None = None) -> Trial:
    """Ask a target three harmless questions, in the ways in which a run asks. Raises ConfigError and MachineError."""
    endpoint = check_target(model, base_url)
    fetch_models(model)
    has_json = endpoint is None or endpoint.provider.json_mode is not False
    ahead: list[float] = []

    async def work() -> Trial:
        async with open_target(
            model,
            base_url,
            Policy(max_attempts=2, patience_s=LOADING_S),
            concurrency=1,
            on_retry=lambda _: None,
            traces=[_watch_clock(ahead)],
        ) as target:
            trial = await _question(target, has_json=has_json)
            return msgspec.structs.replace(
                trial,
                refused_parameters=tuple(target.refused_parameters),
                clock_ahead_s=ahead[-1] if ahead else None,
            )

    return asyncio.run(work())


async def _question(target: Target, *, has_json: bool) -> Trial:
    question = Message("user", CONTROL_QUESTION)
    first = await _ask(target, question)
    if first.reply is None or first.reply.blocked:
        return Trial(first=first)
    history = (question, Message("assistant", first.reply.content or "好的。"), Message("user", FOLLOW_UP))
    second = await _ask(target, Message("system", SYSTEM), *history)
    without_system = await _ask(target, *history) if second.kind == "bad_request" else None
    as_json = await _ask(target, Message("user", JSON_QUESTION), json_schema=JSON_SCHEMA) if has_json else None
    return Trial(first=first, second=second, without_system=without_system, as_json=as_json)


async def _ask(target: Target, *messages: Message, json_schema: dict[str, Any] | None = None) -> Asked:
    try:
        return Asked(reply=await target.ask(messages, SAMPLING, json_schema=json_schema))
    except (CallFailed, TargetStop) as error:
        return Asked(kind=error.kind, error=str(error))


def _watch_clock(ahead: list[float]) -> aiohttp.TraceConfig:
    import aiohttp

    async def see(_: object, __: object, ended: aiohttp.TraceRequestEndParams) -> None:
        with suppress(KeyError, ValueError):
            ahead.append(parsedate_to_datetime(ended.response.headers["Date"]).timestamp() - time.time())

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(see)
    return trace


def try_judge(judge: str, *, base_url: str | None = None) -> Verdict:
    """A judge's verdict on one harmless answer. Raises ConfigError, MachineError and TargetStop."""
    check_judge(judge, base_url)
    fetch_models(judge=judge)
    case = Case(item=None, round=1, history=(), question=CONTROL_QUESTION, answer=CONTROL_ANSWER)

    async def work() -> Verdict:
        async with open_judge(
            judge, base_url, Policy(max_attempts=2, patience_s=LOADING_S), on_retry=lambda _: None
        ) as opened:
            return await opened.judge(case, on_call=lambda _: None)

    return asyncio.run(work())
