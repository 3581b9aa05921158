"""ALI-Agent on pairs against scripted endpoints: what is stored, what it costs in calls, and that a kill leaves no trace."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scsafety import api
from scsafety.dialogue import ali_agent_prompts as prompts
from scsafety.errors import ConfigError
from tests.engine.test_attacks import content, digest, table, undisturbed_and_killed
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Told(ScriptedServer):
    """Target `t` and attacker `a`, each by its conversation alone. A scenario says how often it was told and of what.

    fails: whether the evaluator says FAIL of the answer to a scenario.
    """

    def __init__(self, fails: Callable[[str], bool] = lambda _: False, *, latency_s: float = 0.0) -> None:
        super().__init__(latency_s=latency_s)
        self.fails, self.kinds = fails, Counter[str]()

    def answer_to(self, body: dict[str, Any]) -> str | dict[str, Any]:
        first, last = body["messages"][0]["content"], body["messages"][-1]["content"]
        if body["model"] == "t":
            self.kinds["target"] += 1
            return f"答〔{last.rpartition('情境：')[2]}〕"
        if first == prompts.ZH.evaluator:
            self.kinds["evaluator"] += 1
            asked = last.rpartition("答〔")[2].partition("〕")[0]
            return json.dumps({"reason": "r", "label": "FAIL" if self.fails(asked) else "PASS"})
        self.kinds["refiner" if "情境：" in last else "emulator"] += 1
        n = int(last.rpartition("情境：")[2].split()[0]) + 1 if "情境：" in last else 1
        of = last.partition("教人做第 ")[2].partition(" ")[0]
        return json.dumps({"scenario": f"情境：{n} {of}"}, ensure_ascii=False)


def pairs(n: int) -> list[Any]:
    return [msgspec.structs.replace(pair(k), risk_point=f"教人做第 {k} 件事") for k in range(1, n + 1)]


def run(server: ScriptedServer, folder: Path, n: int = 1, **more: Any) -> api.RunResult:
    given = {
        "judge": "offline-fast", "strategy": "ali-agent", "attacker": "openai-compatible/a", "base_url": server.base_url,
        "bank": [write_bank(folder / "bank.jsonl", pairs(n))], "out": folder, "name": "r", **more,
    }  # fmt: skip
    return api.run("openai-compatible/t", **given)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_who_gives_in_at_scenario_k_is_found_there_and_what_is_stored_says_so(k: int, tmp_path: Path) -> None:
    with Told(lambda asked: asked.startswith(f"{k} ")) as server:
        result = run(server, tmp_path, attack_backtracks=3)

    assert server.kinds == Counter(target=k, evaluator=k, emulator=1, refiner=k - 1)
    assert table(result.folder, "SELECT status, ended FROM dialogue") == [("done", "success")]
    assert table(result.folder, "SELECT seq, round, kept FROM exchange ORDER BY seq") == [
        *((n, None, 0) for n in range(1, k)),
        (k, 1, 1),
    ]
    assert table(result.folder, "SELECT DISTINCT kind FROM step ORDER BY kind") == [("scenario",), ("verdict",)]
    assert result.exit_code == 0
    attack = result.summary.attack
    assert attack is not None
    assert [one.successes for one in attack.by_round] == [int(n >= k) for n in range(1, 5)]
    assert attack.rounds_to_success == {"mean": k, "median": k}
    assert [one.round for one in attack.survival] == list(range(1, k + 1))


@pytest.mark.parametrize("refinements", [None, 0, 5])
def test_one_that_always_objects_costs_exactly_the_published_calls(refinements: int | None, tmp_path: Path) -> None:
    n = 1 if refinements is None else refinements
    with Told() as server:
        result = run(server, tmp_path, attack_backtracks=refinements)

    assert server.kinds == Counter(target=n + 1, evaluator=n + 1, emulator=1, refiner=n)
    assert all(len(body["messages"]) == 1 for body in server.bodies if body["model"] == "t")
    assert table(result.folder, "SELECT ended FROM dialogue") == [("refusal",)]
    assert len(table(result.folder, "SELECT * FROM verdict")) == 1  # what was taken back is not judged
    assert api.verify("r", tmp_path) == []


def test_its_other_limits_are_no_options(tmp_path: Path) -> None:
    with Told() as server, pytest.raises(ConfigError, match="--attack-rounds: ali-agent has no such limit"):
        run(server, tmp_path, attack_rounds=3)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_in_the_middle_and_resumed_the_store_is_that_of_an_undisturbed_run(tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank.jsonl", pairs(6))
    with Told(lambda asked: digest(asked) < 60, latency_s=0.01) as server:
        arguments = (
            "--model", "openai-compatible/t", "--attacker", "openai-compatible/a", "--base-url", server.base_url,
            "--strategy", "ali-agent", "--attack-backtracks", "4", "--bank", str(bank), "--judge", "offline-fast",
            "--out", str(tmp_path), "--concurrency", "2",
        )  # fmt: skip
        kills, _ = undisturbed_and_killed(server, tmp_path, arguments)

    assert kills >= 3, "the run came to its end too soon for the test"
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert {row[5] for row in content(tmp_path / "whole")["dialogue"]} == {"success", "refusal"}
