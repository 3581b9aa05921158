"""`--log-json`: every event of a sitting as a line, and never a word of what was asked or answered."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scsafety.dialogue.hold import EMPTY_ANSWER
from tests.program import PROGRAM, can_write, environment, said, scsafety
from tests.scripted_server import ANSWERS, ScriptedServer
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from tests.program import Done

KEY = "planted-key-0123456789-of-no-worth"
N_PAIRS = 6
FULL = Path("/dev/full")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(server: ScriptedServer, folder: Path, *more: object, log: object = "log.jsonl", **given: Any) -> Done:
    bank = write_bank(folder / "bank.jsonl", [*(pair(n) for n in range(1, N_PAIRS + 1)), twin(1)])
    return scsafety(
        "run", "--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast", "--bank", bank,
        "--name", "r", "--log-json", log, "--concurrency", "1", *more, cwd=folder, env={"SCSAFETY_API_KEY": KEY}, **given,
    )  # fmt: skip


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with trouble, resumed, then judged by an LLM: three sittings in one log."""
    folder = tmp_path_factory.mktemp("logged")
    faults = {
        pair(1).question: ["429", "500"],
        pair(2).question: ["dashscope_block"],
        pair(3).question: ["html"] * 6,
    }

    def judged(_: list[dict[str, str]]) -> str:
        return '{"reason": "因为这样不行", "score": 1, "label": "partial", "confidence": 0.5}'

    with ScriptedServer(faults=faults) as server, ScriptedServer(judged) as judging:
        assert run(server, folder).returncode == 1
        env = {"SCSAFETY_API_KEY": KEY}
        resumed = scsafety("resume", "r", "--log-json", "log.jsonl", cwd=folder, env=env)
        judge = ("--judge", "openai-compatible/j", "--judge-base-url", judging.base_url)
        rejudged = scsafety("judge", "r", *judge, "--log-json", "log.jsonl", cwd=folder, env=env)
    assert (resumed.returncode, rejudged.returncode) == (0, 0)
    return folder / "log.jsonl"


@pytest.fixture
def sittings(logged: Path) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    for line in lines_of(logged):
        if line["event"] == "sitting_started":
            found.append([])
        found[-1].append(line)
    return found


def of(kind: str, sitting: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in sitting if line["event"] == kind]


def test_each_sitting_starts_and_ends_in_the_log(sittings: list[list[dict[str, Any]]]) -> None:
    starts = [sitting[0] for sitting in sittings]
    ends = [sitting[-1] for sitting in sittings]

    assert [(start["run"], start.get("target"), start["judge"]) for start in starts] == [
        ("r", "openai-compatible/x", "offline-fast"),
        ("r", "openai-compatible/x", "offline-fast"),
        ("r", None, "openai-compatible/j"),
    ]
    assert len({start["settings"] for start in starts}) == 1
    assert all(set(start["versions"]) == {"scsafety", "python"} for start in starts)
    assert [start["policy"]["concurrency"] for start in starts] == [1, 8, 8]
    assert [(end["event"], end["why"]) for end in ends] == [("sitting_ended", "done")] * 3
    assert (ends[0]["turns_done"], ends[0]["turns_failed"]) == (2 * N_PAIRS - 1, 1)
    assert ends[1]["turns_done"] == 2 * N_PAIRS + 1


def test_every_turn_is_there_with_how_it_ended(sittings: list[list[dict[str, Any]]]) -> None:
    turns = {(turn["item"], turn["round"]): turn for turn in of("turn", sittings[0])}

    assert len(turns) == 2 * N_PAIRS - 1 + 1  # one question was lost and its follow-up with it; and a twin
    assert turns[pair(4).id, 2].items() >= {
        "epoch": 1, "endpoint": "openai-compatible/x", "outcome": "answered", "attempts": 1, "prompt_tokens": 10,
        "completion_tokens": 5, "model": "scripted-1",
    }.items()  # fmt: skip
    assert 0 < turns[pair(4).id, 2]["latency_s"] <= turns[pair(4).id, 2]["elapsed_s"]
    troubled = turns[pair(1).id, 1]
    assert troubled["retried"] == {"rate_limited": 1, "transient": 1}
    assert troubled["elapsed_s"] > 0.2 > troubled["latency_s"]  # the wait that the server asked for
    assert turns[pair(2).id, 1]["outcome"] == "blocked_input"
    assert turns[pair(3).id, 1].items() >= {"outcome": "transient", "attempts": 6}.items()
    assert {(turn["item"], turn["round"]) for turn in of("turn", sittings[1])} == {(pair(3).id, 1), (pair(3).id, 2)}
    assert of("turn", sittings[2]) == []


def test_every_retry_is_there_with_its_kind_and_wait(sittings: list[list[dict[str, Any]]]) -> None:
    retries = of("retry", sittings[0])

    assert [retry["kind"] for retry in retries] == ["rate_limited", "transient", *["transient"] * 5]
    assert all(retry["endpoint"] == "openai-compatible/x" for retry in retries)
    assert retries[0]["wait_s"] >= 0.2
    assert sittings[0][-1]["retries"] == len(retries)


def test_verdicts_bear_their_judge_and_its_calls_stand_beside_them(sittings: list[list[dict[str, Any]]]) -> None:
    verdicts, calls = of("verdict", sittings[2]), of("judge_call", sittings[2])

    assert len(verdicts) == 2 * N_PAIRS + 1
    assert {verdict["judge"].partition("@")[0] for verdict in verdicts} == {"openai-compatible/j"}
    assert {verdict.get("label") for verdict in verdicts if verdict["item"] == twin(1).id} == {"partial"}
    assert {verdict.get("score") for verdict in verdicts if verdict["item"] != twin(1).id} == {1}
    assert not any(verdict.get("unjudged") for verdict in verdicts)
    assert len(calls) == len(verdicts) - 1  # the block is settled by the rules
    assert {(call["endpoint"], call["outcome"]) for call in calls} == {("openai-compatible/j", "answered")}
    assert of("judge_call", sittings[0]) == []


def test_times_are_utc_and_in_order(logged: Path) -> None:
    times = [line["time"] for line in lines_of(logged)]

    assert all(time.endswith("Z") and len(time) == 24 for time in times)
    assert times == sorted(times)


def test_no_word_that_was_said_and_no_key_is_in_it(logged: Path) -> None:
    text = logged.read_text(encoding="utf-8")

    words = [
        KEY, *(answer[:6] for answer in ANSWERS), EMPTY_ANSWER, "因为这样不行", "inappropriate content", "bad gateway",
        *(part[:6] for n in range(1, N_PAIRS + 1) for part in (pair(n).question, pair(n).follow_up, pair(n).good_answer)),
    ]  # fmt: skip
    assert [word for word in words if word in text] == []
    assert text.isascii()  # so not a Chinese character either


def test_an_endpoint_that_refuses_us_is_the_reason_that_the_sitting_ended(tmp_path: Path) -> None:
    with ScriptedServer(always="401") as server:
        done = run(server, tmp_path)

    assert done.returncode == 4
    assert lines_of(tmp_path / "log.jsonl")[-1].items() >= {"event": "sitting_ended", "why": "error"}.items()
    assert "check SCSAFETY_API_KEY" in lines_of(tmp_path / "log.jsonl")[-1]["message"]


def test_a_cap_is_the_reason_that_the_sitting_ended(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        run(server, tmp_path, "--max-calls", "3")

    end = lines_of(tmp_path / "log.jsonl")[-1]
    assert (end["why"], end["message"]) == ("cap", "--max-calls 3 reached")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no signals to speak of")
@pytest.mark.parametrize(("sign", "why"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_signal_is_the_reason_that_the_sitting_ended(sign: signal.Signals, why: str, tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank.jsonl", [pair(n) for n in range(1, 40)])
    asked = threading.Event()

    class Slow(ScriptedServer):
        def answer_to(self, body: dict[str, Any]) -> Any:
            asked.set()
            return super().answer_to(body)

    with Slow(latency_s=0.1) as server:
        child = subprocess.Popen(
            [*PROGRAM, "run", "--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast",
             "--bank", str(bank), "--log-json", "log.jsonl", "--name", "r", "--concurrency", "1"],
            cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert asked.wait(60)
        child.send_signal(sign)
        child.wait(60)

    assert lines_of(tmp_path / "log.jsonl")[-1]["why"] == why


def test_a_line_that_was_cut_off_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"event":"turn","it', encoding="utf-8")

    with ScriptedServer() as server:
        run(server, tmp_path)

    first, *others = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert first == '{"event":"turn","it'
    assert json.loads(others[0])["event"] == "sitting_started"


@pytest.mark.parametrize("place", ["nowhere/log.jsonl", ".", "locked/log.jsonl"])
def test_a_log_that_cannot_be_written_is_refused_before_anybody_is_asked(place: str, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    if place.startswith("locked") and can_write(tmp_path / "locked"):
        pytest.skip("file permissions do not bind here")

    with ScriptedServer() as server:
        done = run(server, tmp_path, log=place, restricted=True)

    assert done.returncode == 2
    assert said(done).startswith(f"scsafety: --log-json {place}: ")
    assert "give a file in a folder that is there" in said(done)
    assert server.bodies == []
    assert not (tmp_path / "runs/r").exists()


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_ends_the_sitting_with_one_line(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        done = run(server, tmp_path, log=FULL)
        again = scsafety("resume", "r", cwd=tmp_path)

    assert done.returncode == 4
    assert "No space left on device; everything that was answered is kept" in said(done)
    assert again.returncode == 0


def test_nobody_is_told_anything_unless_asked(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        done = scsafety(
            "run", "--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast", "--bank",
            write_bank(tmp_path / "bank.jsonl", [pair(1)]), "--name", "r", cwd=tmp_path,
        )  # fmt: skip

    assert done.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"bank.jsonl", "runs"}
