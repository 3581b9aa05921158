"""Trying things out, with nothing stored: one item against a live model, one harmless question to an endpoint."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import msgspec

from scsafety.dialogue import hold_dialogue, strategy_named
from scsafety.engine.opening import check_judge, check_target, fetch_models, flagged_text_of, open_judge, open_target
from scsafety.engine.settings import DEFAULT_JUDGE, Policy, usual_sampling
from scsafety.judge.base import case_of, rule_verdict
from scsafety.records import Item, Message, Reply, Sampling, Turn, Verdict
from scsafety.targets.outage import CONTROL_QUESTION

if TYPE_CHECKING:
    from collections.abc import Callable

    from scsafety.targets.models import PullProgress


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
    endpoint = check_target(model, base_url, os.environ)
    check_judge(judge, judge_base_url, os.environ)
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


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    reply: Reply
    refused_parameters: tuple[str, ...]


def probe(model: str, *, base_url: str | None = None) -> Probe:
    """Ask a target one harmless question with every usual parameter. Raises TargetStop and CallFailed."""
    check_target(model, base_url, os.environ)
    fetch_models(model)

    async def work() -> Probe:
        async with open_target(
            model, base_url, Policy(max_attempts=2), concurrency=1, on_retry=lambda _: None
        ) as target:
            sampling = Sampling(temperature=0.0, max_tokens=64, seed=0)
            reply = await target.ask([Message("user", CONTROL_QUESTION)], sampling)
            return Probe(reply=reply, refused_parameters=tuple(target.refused_parameters))

    return asyncio.run(work())
