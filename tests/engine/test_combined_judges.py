"""Panels, cascades, chains and guards on whole runs, with an endpoint that speaks each form of reply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from scsafety import api
from scsafety.engine.settings import Policy
from scsafety.errors import ConfigError
from scsafety.targets.models import cached, models
from tests.scripted_server import ScriptedServer, default_answer
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from pathlib import Path

JUDGES = {"j-lenient": 2, "j-strict": 0, "j-even": 1}


class Vendor(ScriptedServer):
    """Target, judges and a guard behind one address, told apart by the model's name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, int] = {}

    def answer_to(self, body: dict[str, Any]) -> str:
        model, messages = body["model"], body["messages"]
        self.calls[model] = self.calls.get(model, 0) + 1
        if model in JUDGES:
            of_twin = "answered：" in messages[-1]["content"]
            verdict = {"label": "answered"} if of_twin else {"score": JUDGES[model]}
            return json.dumps({"reason": model, "confidence": 0.9, **verdict})
        if model == "j-mute":
            return "我不评"
        if "Guard" in model:
            return "Safety: Unsafe\nCategories: PII\nRefusal: No"
        return default_answer(messages)


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    return write_bank(tmp_path / "bank.jsonl", [*(pair(k) for k in range(1, 6)), twin(1)])


def run(bank: Path, tmp_path: Path, judge: str, **given: Any) -> tuple[api.RunResult, dict[str, int]]:
    with Vendor() as server:
        settings: dict[str, Any] = {
            "base_url": server.base_url,
            "judge_base_url": server.base_url,
            "bank": [bank],
            "out": tmp_path / "runs",
            "name": "r",
            **given,
        }
        result = api.run("openai-compatible/x", judge=judge, policy=Policy(timeout_s=5), **settings)
    return result, server.calls


def raws(result: api.RunResult) -> list[Any]:
    with api.load_run(result.folder).open() as store:
        return [json.loads(raw) for (raw,) in store.query("SELECT raw FROM verdict WHERE raw IS NOT NULL")]


def test_a_panel_of_three_endpoints_gives_the_median_and_keeps_the_disagreement(bank: Path, tmp_path: Path) -> None:
    panel = "panel:" + ",".join(f"openai-compatible/{name}" for name in JUDGES)

    result, calls = run(bank, tmp_path, panel)

    assert result.exit_code == 0
    assert result.summary.labels == {"0": 0, "1": 10, "2": 0}
    assert {name: calls[name] for name in JUDGES} == dict.fromkeys(JUDGES, 11)
    members = result.summary.judge.members
    assert members is not None
    assert (members.n, members.disagreed) == (11, 10)
    assert all(len(raw["members"]) == 3 for raw in raws(result))


def test_a_cascade_saves_calls_and_the_summary_says_how_many(bank: Path, tmp_path: Path) -> None:
    cascade = "cascade:offline-fast@0.6,openai-compatible/j-strict"

    result, calls = run(bank, tmp_path, cascade)

    members = result.summary.judge.members
    assert members is not None
    first = sum(n for key, n in members.decided_by.items() if key.startswith("offline-fast@"))
    second = sum(n for key, n in members.decided_by.items() if key.startswith("openai-compatible/j-strict@"))
    assert first + second == members.n == 11
    assert calls["j-strict"] == second > 0  # among them the harmless twin
    assert first > 0


def test_a_chain_takes_the_next_judge_where_one_gives_nothing(bank: Path, tmp_path: Path) -> None:
    result, calls = run(bank, tmp_path, "chain:openai-compatible/j-mute,openai-compatible/j-even", benign=False)

    assert result.exit_code == 0
    assert result.summary.labels == {"0": 0, "1": 10, "2": 0}
    assert calls["j-mute"] == 2 * calls["j-even"]  # each unreadable reply is asked for once more


@pytest.mark.embedded
@pytest.mark.skipif(
    cached(models()[0]) is None, reason="a guard leaves 1 against 2 to `offline`: `scsafety models pull`"
)
def test_a_guard_behind_an_address_judges_a_run(bank: Path, tmp_path: Path) -> None:
    result, calls = run(bank, tmp_path, "guard:qwen3guard")

    assert result.exit_code == 0
    assert result.summary.labels == {"0": 10, "1": 0, "2": 0}
    assert calls["Qwen/Qwen3Guard-Gen-0.6B"] == 11


def test_one_judge_three_times_is_three_calls_an_answer_with_seeds_of_their_own(bank: Path, tmp_path: Path) -> None:
    with Vendor() as server:
        result = api.run(
            "openai-compatible/x",
            judge="openai-compatible/j-even*3",
            base_url=server.base_url,
            bank=[bank],
            benign=False,
            out=tmp_path,
        )

    seeds = [body["seed"] for body in server.bodies if body["model"] == "j-even"]
    assert result.summary.labels["1"] == 10
    assert sorted(seeds) == [0] * 10 + [1] * 10 + [2] * 10


def test_the_same_answer_is_judged_once(tmp_path: Path) -> None:
    """Three epochs of a target that always answers alike: two verdicts are asked for and six are stored."""
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1)])

    with Vendor() as server:
        result = api.run(
            "openai-compatible/x",
            judge="openai-compatible/j-even",
            base_url=server.base_url,
            bank=[bank],
            epochs=3,
            out=tmp_path,
            policy=Policy(concurrency=1, judge_concurrency=1),
        )

    assert result.summary.labels["1"] == 6
    assert server.calls == {"x": 6, "j-even": 2}


def test_a_run_by_a_combined_judge_can_be_resumed_and_judged_anew(bank: Path, tmp_path: Path) -> None:
    with Vendor() as server:
        cascade = "cascade:offline-fast@0.6,openai-compatible/j-strict"
        given: dict[str, Any] = {"base_url": server.base_url, "judge_base_url": server.base_url, "bank": [bank]}
        first = api.run("openai-compatible/x", judge=cascade, out=tmp_path, name="r", **given)
        again = api.resume("r", out=tmp_path)
        other = api.judge_run(
            "r",
            "panel:offline-fast,openai-compatible/j-even",
            judge_base_url=server.base_url,
            out=tmp_path,
            primary=True,
        )

    assert again.summary.labels == first.summary.labels
    assert other.summary.judge.id == "panel:offline-fast,openai-compatible/j-even"
    assert server.calls["x"] == 11


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("guard:qwen3guard", "needs --judge-base-url"),
        ("panel:offline-fast,openai-compatible/x", "give a base URL"),
        ("panel:offline-fast,deepseek/deepseek-chat", "DEEPSEEK_API_KEY"),
        ("cascade:offline-fast,openai-compatible/x", "give a base URL"),
    ],
)
def test_a_member_that_cannot_be_opened_is_refused_before_anybody_is_asked(judge: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        api.plan("local/qwen2.5-coder-0.5b", judge=judge, limit=1, environ={})
