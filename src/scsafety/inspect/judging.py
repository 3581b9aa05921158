"""Our judges under Inspect: opened once an event loop, or a model of Inspect's behind the rubric."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inspect_ai.model import get_model

from scsafety.engine.opening import open_judge
from scsafety.engine.settings import Policy
from scsafety.errors import ConfigError
from scsafety.inspect.messages import InspectTarget
from scsafety.judge.llm import LLMJudge
from scsafety.judge.spec import OFFLINE_JUDGES

if TYPE_CHECKING:
    from scsafety.judge import Judge

_Key = tuple[asyncio.AbstractEventLoop, str]
_opened: dict[_Key, tuple[asyncio.Future[Judge], asyncio.Task[None]]] = {}


def check_name(judge: str) -> None:
    """Raises ConfigError for what is neither an offline judge nor the name of a model."""
    if judge not in OFFLINE_JUDGES and "/" not in judge:
        names = ", ".join(OFFLINE_JUDGES)
        raise ConfigError(
            f"judge={judge!r} is unknown; give {names}, or a model as Inspect names it, like openai/gpt-4o"
        )


async def judge_named(judge: str) -> Judge:
    """Raises ConfigError, MachineError, and what Inspect raises for a model that it cannot open."""
    if judge not in OFFLINE_JUDGES:
        return LLMJudge(judge, InspectTarget(get_model(judge)))
    key = (asyncio.get_running_loop(), judge)
    if key not in _opened:
        ready: asyncio.Future[Judge] = key[0].create_future()
        _opened[key] = (ready, key[0].create_task(_keep_open(key, ready)))
    return await asyncio.shield(_opened[key][0])  # a sample that is cancelled leaves it to the others


async def _keep_open(key: _Key, ready: asyncio.Future[Judge]) -> None:
    """Inspect tells no scorer that it is the last; the loop cancels this at its end, and the judge is closed."""
    loop, judge = key
    try:
        async with open_judge(judge, None, Policy(), on_retry=lambda _: None) as opened:
            ready.set_result(opened)
            await loop.create_future()
    except Exception as error:
        if ready.done():
            raise
        ready.set_exception(error)
    finally:
        del _opened[key]
