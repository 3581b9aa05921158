"""Answers made by hand, and a suite's run from start to end against a server on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scsafety import api
from scsafety.engine.settings import Policy
from scsafety.records import Case, SuiteItem
from scsafety.suites import Answer
from tests.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from scsafety.records import Side
    from scsafety.suites import Metric, Suite


def case_of(item: SuiteItem, answer: str, *, blocked: Side | None = None) -> Case:
    return Case(item=item, round=1, history=(), question=item.question, answer=answer, blocked=blocked)


def read_answer(suite: Suite, item: SuiteItem, text: str, **given: Any) -> Answer:
    """As the engine would have it, of an answer that the suite reads itself."""
    case = case_of(item, text)
    return Answer(item=item, round=1, epoch=1, label=suite.read(case), remark=suite.remark(case), **given)


def labelled(pairs: Iterable[tuple[SuiteItem, str | None]], **given: Any) -> list[Answer]:
    return [Answer(item=item, round=1, epoch=1, label=label, **given) for item, label in pairs]


def values(metrics: Iterable[Metric]) -> dict[str, float | None]:
    """By name, rounded as published figures are."""
    return {metric.name: None if metric.value is None else round(metric.value, 2) for metric in metrics}


def hold(
    name: str,
    data: Path,
    out: Path,
    answer: Callable[[list[dict[str, str]]], str | dict[str, Any]],
    *,
    first: int = 5,
    exit_code: int = 0,
    **given: Any,
) -> tuple[api.RunResult, ScriptedServer]:
    """A run that is cut off after `first` calls and resumed to its end; `verify` must find nothing."""
    judged = given.pop("judge", None)
    with ScriptedServer(answer, faults=given.pop("faults", None)) as server:
        plan = api.plan_suite(
            "openai-compatible/x", name, data, base_url=server.base_url, judge=judged, out=out, name="r", **given
        )
        cut = api.carry_out(plan, policy=Policy(concurrency=1, judge_concurrency=1, max_calls=first))
        assert cut.exit_code == 1
        assert len(server.bodies) == first
        done = api.resume("r", out=out)
    assert done.exit_code == exit_code, done.summary.suite
    assert api.verify("r", out) == []
    assert msgspec.json.decode((done.folder / "summary.json").read_bytes())["suite"]["name"] == name
    return done, server
