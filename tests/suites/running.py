"""What the tests of suites share: answers by hand, runs from start to end, and the real data where they are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scsafety import api
from scsafety.engine.settings import Policy
from scsafety.judge.base import case_of
from scsafety.records import Message, Reply, SuiteItem, Turn
from scsafety.suites import Answer
from tests.scripted_server import ScriptedServer, completion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scsafety.api import RunResult
    from scsafety.records import Case
    from scsafety.suites import Metric, SuiteScore

JUDGE_MARK = "<<<"  # stands in what a judge is asked, not in what a target is


def data_of(suite: str) -> Path:
    """The folder of a suite's data below $SCSAFETY_SUITE_DATA; the test is skipped without it."""
    folder = Path(os.environ.get("SCSAFETY_SUITE_DATA", "")) / suite
    if not os.environ.get("SCSAFETY_SUITE_DATA") or not folder.is_dir():
        pytest.skip(f"$SCSAFETY_SUITE_DATA/{suite} is not here")
    return folder


def answered(item: SuiteItem, label: str | None, **given: Any) -> Answer:
    return Answer(item=item, round=1, epoch=1, label=label, **given)


def values(score: SuiteScore) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in score.metrics}


def named(score: SuiteScore, name: str) -> Metric:
    return next(metric for metric in score.metrics if metric.name == name)


def case(item: SuiteItem, answer: str) -> Case:
    """As a judge gets it."""
    messages = (*item.before, Message("user", item.prompts[-1]))
    return case_of(
        item, Turn(seq=1, round=1, messages=messages, reply=Reply(content=answer), created_at="2026-11-21T08:00:00Z")
    )


def server_of(target: Callable[[str], str], judge: Callable[[str], str]) -> ScriptedServer:
    """One server for both: `target` answers the last message, `judge` what a judge is asked."""

    def answer(messages: list[dict[str, str]]) -> str:
        asked = messages[-1]["content"]
        return judge(asked) if JUDGE_MARK in asked else target(asked)

    return ScriptedServer(answer)


def run(
    server: ScriptedServer, suite: str, data: Path, out: Path, *, cap: int | None = None, **given: Any
) -> RunResult:
    """A run on the server, judged by it too where `judge` says so; cap: it ends after so many calls and is resumed."""
    planned = api.plan_suite(
        "openai-compatible/x", suite, data, base_url=server.base_url, out=out, **{"name": "r", **given}
    )
    result = api.carry_out(planned, policy=Policy(max_calls=cap, concurrency=1, judge_concurrency=1))
    if cap is None:
        return result
    assert not result.summary.complete
    return api.resume(str(given.get("name", "r")), out=out)


def written_suite(result: RunResult) -> dict[str, Any]:
    """`suite` of summary.json."""
    record: dict[str, Any] = json.loads((result.folder / "summary.json").read_text("utf-8"))["suite"]
    return record


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def labelled(items: Sequence[SuiteItem], *counts: tuple[str | None, int]) -> list[Answer]:
    """The first `n` items with the first label, the next with the second, and so on; items are used again from the start."""
    labels = [label for label, n in counts for _ in range(n)]
    return [answered(items[k % len(items)], label) for k, label in enumerate(labels)]


def weighed(tokens: dict[str, Any]) -> dict[str, Any]:
    """A reply with the log-probabilities of its first token, and with what is none."""
    body = completion(next(iter(tokens)), "length")
    listed = [*({"token": token, "logprob": value} for token, value in tokens.items()), {"token": 1}, None]
    body["choices"][0]["logprobs"] = {"content": [{"token": "x", "logprob": -1, "top_logprobs": listed}]}
    return body
