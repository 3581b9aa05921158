"""`judge-check` through the real program: figures, unjudged cases, an interrupted check, the card beside a score."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from scsafety.judge.gold import load_gold
from scsafety.judge.training import RECIPES
from tests.program import PROGRAM, environment, scsafety
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from pathlib import Path

    from tests.program import Done

GOLD = [0, 1, 2, 0, 1, 2, 0, 1, 2, 2]


def record(number: int, score: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"g{number}",
        "sub_dimension": "property_privacy",
        "round": 1,
        "history": [],
        "question": f"第 {number} 问",
        "response": f"回答 {number} 应得 {score}",
        "score": score,
        **more,
    }


def write_gold(path: Path, scores: list[int] = GOLD, **more: Any) -> Path:
    lines = [json.dumps(record(k, score, **more), ensure_ascii=False) for k, score in enumerate(scores)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def says(verdict: dict[int, str] | None = None) -> Any:
    """A judge that reads the right score off the answer, but gives `verdict` for some."""

    def answer(messages: list[dict[str, str]]) -> str:
        text = messages[-1]["content"].split("被测模型的回答")[1]
        number = int(text.split("回答 ")[2].split()[0]) if "回答 " in text else -1
        right = text.split("应得 ")[1][0]
        return (verdict or {}).get(number, json.dumps({"reason": "看过", "score": int(right), "confidence": 0.9}))

    return answer


def check(tmp_path: Path, gold: Path, *more: object, server: ScriptedServer | None = None) -> Done:
    judge = ["--judge", "openai-compatible/j", "--judge-base-url", server.base_url] if server else []
    home = {"SCSAFETY_HOME": str(tmp_path / "home")}
    return scsafety("judge-check", "--gold", gold, "--json", tmp_path / "c.json", *judge, *more, cwd=tmp_path, env=home)


def written(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    return found


def test_figures_of_a_judge_are_those_counted_by_hand(tmp_path: Path) -> None:
    wrong = {0: '{"reason": "r", "score": 2}', 5: '{"reason": "r", "score": 1}'}
    with ScriptedServer(says(wrong)) as server:
        done = check(tmp_path, write_gold(tmp_path / "g.jsonl"), server=server)

    found = written(tmp_path)
    assert done.returncode == 0, done.stderr
    assert found["confusion"] == [[2, 0, 1], [0, 3, 0], [0, 1, 3]]
    assert (found["n"], found["unjudged"], found["calls"]) == (10, 0, 10)
    assert found["accuracy"] == pytest.approx(0.8)
    assert found["unsafe"] == pytest.approx({"recall": 2 / 3, "precision": 1.0, "f1": 0.8})
    observed, expected = (
        (4 + 1) / 10,
        sum(g * j * (a - b) ** 2 for a, g in enumerate([3, 3, 4]) for b, j in enumerate([2, 4, 4])) / 100,
    )
    assert found["qwk"] == pytest.approx(1 - observed / expected)
    assert found["ci95"]["qwk"] is None  # ten clusters say too little
    assert set(found["baselines"]) == {"majority", "length", "refusal_words"}
    assert "0.800" in done.stdout


def test_what_cannot_be_read_is_unjudged_and_asked_again_next_time(tmp_path: Path) -> None:
    gold = write_gold(tmp_path / "g.jsonl")
    with ScriptedServer(says({3: "不好说", 4: "不好说"})) as server:
        first = check(tmp_path, gold, server=server)
        asked = sum(server.asked.values())
        server.answer = says()
        again = written(tmp_path)
        second = check(tmp_path, gold, server=server)
        asked_second = sum(server.asked.values()) - asked
        fresh = check(tmp_path, gold, "--fresh", server=server)
        asked_fresh = sum(server.asked.values()) - asked - asked_second

    assert (first.returncode, again["unjudged"], again["accuracy"], again["accuracy_judged"]) == (1, 2, 0.8, 1.0)
    assert asked == 12  # the unreadable ones are asked for once more, stricter
    assert (second.returncode, asked_second, written(tmp_path)["unjudged"]) == (0, 2, 0)
    assert (fresh.returncode, asked_fresh) == (0, 10)


def test_an_interrupted_check_goes_on_where_it_was(tmp_path: Path) -> None:
    gold = write_gold(tmp_path / "g.jsonl", GOLD * 3)
    home = {"SCSAFETY_HOME": str(tmp_path / "home")}
    with ScriptedServer(says(), latency_s=0.2) as server:
        command = [
            *PROGRAM, "judge-check", "--gold", str(gold), "--judge", "openai-compatible/j", "--judge-base-url",
            server.base_url, "--judge-concurrency", "2",
        ]  # fmt: skip
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(**home), stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while sum(server.asked.values()) < 8:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130, said.decode()
        before = sum(server.asked.values())
        server.latency_s = 0.0
        done = check(tmp_path, gold, server=server)
        after = sum(server.asked.values()) - before

    assert done.returncode == 0, done.stderr
    assert written(tmp_path)["n"] == 30
    assert 30 - before <= after <= 30 - before + 2  # only the calls in flight were lost


def test_the_null_control_counts_flips_of_the_same_answers(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def moody(messages: list[dict[str, str]]) -> str:
        text = messages[-1]["content"].split("被测模型的回答")[1]
        number = int(text.split("回答 ")[2].split()[0])
        seen[str(number)] = seen.get(str(number), 0) + 1
        flips = number in (1, 2) and seen[str(number)] == 2
        return json.dumps({"reason": "r", "score": 0 if flips else GOLD[number]})

    with ScriptedServer(moody) as server:
        done = check(tmp_path, write_gold(tmp_path / "g.jsonl"), "--null-control", server=server)

    flips = written(tmp_path)["flips"]
    assert done.returncode == 0, done.stderr
    assert (flips["n"], flips["flip_rate"], flips["unsafe_flip_rate"]) == (10, 0.2, 0.2)
    assert "20.0% 改变" in done.stdout
    assert written(tmp_path)["accuracy"] == 1.0  # the first time counts


def test_the_offline_judge_never_flips(tmp_path: Path) -> None:
    done = check(tmp_path, write_gold(tmp_path / "g.jsonl"), "--judge", "offline-fast", "--null-control")

    assert done.returncode == 0, done.stderr
    assert written(tmp_path)["flips"]["flip_rate"] == 0.0


def test_slices_are_by_round_origin_model_and_tag(tmp_path: Path) -> None:
    rows = [
        record(0, 0, origin="real", model="m1", tags=["disclaimer"]),
        record(1, 1, round=2, history=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
        record(2, 2, sub_dimension="goal_hijacking", tags=["disclaimer", "english"]),
    ]
    (tmp_path / "g.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    check(tmp_path, tmp_path / "g.jsonl", "--judge", "offline-fast")

    found = written(tmp_path)
    counts = {
        name: {k: v["n"] for k, v in found[name].items()} for name in ("by_round", "by_origin", "by_model", "by_tag")
    }
    assert counts == {
        "by_round": {"1": 2, "2": 1},
        "by_origin": {"real": 1, "written": 2},
        "by_model": {"m1": 1},
        "by_tag": {"disclaimer": 2, "english": 1},
    }
    assert {k: v["n"] for k, v in found["by_dimension"].items()} == {"attack": 1, "traditional": 2}


def test_what_was_measured_stands_beside_the_score_of_a_run(tmp_path: Path) -> None:
    """What this machine measured holds over what was shipped."""
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1)])
    home = {"SCSAFETY_HOME": str(tmp_path / "home")}
    run = ["--model", "openai-compatible/x", "--bank", str(bank), "--judge", "offline-fast"]
    shipped = len([record for record in load_gold(split="test") if record.origin == "real"])
    with ScriptedServer() as server:
        before = scsafety("run", *run, "--base-url", server.base_url, "--name", "a", cwd=tmp_path, env=home)
        check(tmp_path, write_gold(tmp_path / "g.jsonl"), "--judge", "offline-fast")
        after = scsafety("run", *run, "--base-url", server.base_url, "--name", "b", cwd=tmp_path, env=home)

    assert f"与人工标注（真实回答）n {shipped}" in before.stdout
    assert "一致性低，分数只供冒烟测试" in before.stdout
    assert "与人工标注" in after.stdout
    assert f"n {shipped}" not in after.stdout


def test_what_was_measured_at_one_address_says_nothing_of_another(tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1)])
    home = {"SCSAFETY_HOME": str(tmp_path / "home")}
    with ScriptedServer() as target, ScriptedServer(says()) as measured, ScriptedServer(says()) as other:
        check(tmp_path, write_gold(tmp_path / "g.jsonl"), server=measured)
        for name, server in (("there", measured), ("elsewhere", other)):
            server.answer = lambda _: '{"reason": "r", "score": 2}'
            judge = ["--judge", "openai-compatible/j", "--judge-base-url", f"{server.base_url}/"]
            asked = ["--model", "openai-compatible/x", "--base-url", target.base_url, "--bank", bank]
            scsafety("run", *asked, *judge, "--name", name, cwd=tmp_path, env=home)
    agreement = {
        name: json.loads((tmp_path / "runs" / name / "summary.json").read_bytes())["judge"]["agreement"]
        for name in ("there", "elsewhere")
    }

    assert agreement["there"]["n"] == 10
    assert agreement["elsewhere"] is None


def test_an_address_that_an_embedded_judge_does_not_ask_changes_nothing(tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1)])
    with ScriptedServer() as server:
        run = [
            "--model",
            "openai-compatible/x",
            "--base-url",
            server.base_url,
            "--bank",
            bank,
            "--judge",
            "offline-fast",
        ]
        done = scsafety("run", *run, "--judge-base-url", server.base_url, cwd=tmp_path)

    assert "与人工标注（真实回答）n" in done.stdout


def test_figures_on_answers_that_a_judge_may_have_learned_from_are_not_kept(tmp_path: Path) -> None:
    gold = write_gold(tmp_path / "g.jsonl", split="train")

    done = check(tmp_path, gold, "--judge", "offline-fast", "--split", "train")

    assert done.returncode == 0, done.stderr
    assert written(tmp_path)["n"] == 10
    assert not (tmp_path / "home" / "checks" / "cards.json").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "g.jsonl:1: not JSON"),
        ('{"id": "a"}', "g.jsonl:1: Object missing required field `sub_dimension`"),
        (json.dumps(record(1, 3)), "g.jsonl:1: Invalid enum value 3"),
        (
            json.dumps(record(1, 1, sub_dimension="privacy")),
            "g.jsonl:1: sub_dimension: 'privacy' is not a sub-dimension",
        ),
        (json.dumps(record(1, 1)) + "\n" + json.dumps(record(1, 1)), "g.jsonl:2: id: 'g1' stands already at"),
        ("", "no record in it"),
    ],
)
def test_a_bad_gold_file_is_named_by_line_with_the_mend(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "g.jsonl").write_text(line)

    done = check(tmp_path, tmp_path / "g.jsonl", "--judge", "offline-fast")

    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "c.json").exists()


def test_a_split_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = check(tmp_path, write_gold(tmp_path / "g.jsonl", split="dev"), "--judge", "offline-fast", "--split", "test")

    assert done.returncode == 2
    assert "none of its 10 records is of the split 'test'" in done.stderr


def test_a_folder_without_a_judge_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "judge.json").write_text("{", encoding="utf-8")

    gold = write_gold(tmp_path / "gold.jsonl")
    for name in ("half", "nothing"):
        done = scsafety("judge-check", "--judge", f"offline:{name}", "--gold", gold, cwd=tmp_path)

        assert done.returncode == 2
        assert f"{name} holds no offline judge" in done.stderr
        assert f"scsafety judge-train --out {name}" in done.stderr


def test_judge_train_says_what_each_recipe_takes_and_refuses_another(tmp_path: Path) -> None:
    small, large = RECIPES["offline"], RECIPES["offline-large"]

    told = " ".join(scsafety("judge-train", "--help", cwd=tmp_path).stdout.split())
    refused = scsafety("judge-train", "--out", "mine", "--recipe", "offlin", cwd=tmp_path)

    assert f"{small.layers}; large {large.layers}" in told
    assert f"{small.frozen}; large {large.frozen}" in told
    assert f"[default: {small.epochs}]" in told
    assert small.epochs == large.epochs
    assert refused.returncode == 2
    assert "--recipe 'offlin' is unknown; give offline or offline-large" in refused.stderr
    assert not (tmp_path / "mine").exists()
