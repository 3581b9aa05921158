"""SIGKILL at random instants, resumed each time: the store ends as if nothing had happened."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.program import PROGRAM, kill_after
from tests.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

N_KILLS = 20
CONCURRENCY = 4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_run_killed_at_twenty_random_instants_and_resumed_equals_an_undisturbed_one(tmp_path: Path) -> None:
    rng = random.Random(20260101)
    arguments = (
        "--judge",
        "offline-fast",
        "--limit",
        "3",
        "--benign",
        "--out",
        str(tmp_path),
        "--concurrency",
        str(CONCURRENCY),
    )
    with ScriptedServer(latency_s=0.01) as server:
        address = ("--model", "openai-compatible/x", "--base-url", server.base_url)
        assert _program("run", *address, *arguments, "--name", "whole").wait(120) == 0
        n_asked_whole = len(server.bodies)
        n_twice_whole = max(server.asked.values())
        server.asked.clear()
        server.bodies.clear()

        kills = 0
        command: tuple[str, ...] = ("run", *address, *arguments, "--name", "killed")
        while kills < N_KILLS:
            child = _program(*command)
            kill_after(child, server, n_requests=rng.randint(1, 9), delay_s=rng.uniform(0, 0.06))
            assert child.wait(60) == -signal.SIGKILL, (
                "the run came to its end before the kill: too few turns for the test"
            )
            kills += 1
            if (tmp_path / "killed" / "run.db").exists():
                command = ("resume", "killed", "--out", str(tmp_path), "--concurrency", str(CONCURRENCY))
        assert _program("resume", "killed", "--out", str(tmp_path)).wait(120) == 0

    whole, killed = _views(tmp_path / "whole"), _views(tmp_path / "killed")
    assert len(whole["turn"]) == 144
    assert killed == whole
    assert n_twice_whole == 1
    repeated = sum(server.asked.values()) - len(server.asked)
    lost_a_kill = CONCURRENCY + CONCURRENCY * 100 / 10  # in flight, and 100 ms not yet committed at 10 ms an answer
    assert repeated <= N_KILLS * lost_a_kill
    assert len(server.asked) == n_asked_whole


def _program(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _views(folder: Path) -> dict[str, list[Any]]:
    """What must be equal: pairs, rounds, answers and scores; never times and attempts."""
    db = sqlite3.connect(folder / "run.db")
    try:
        return {
            "turn": db.execute(
                "SELECT pair_id, round, epoch, strategy, messages, answer, reasoning, finish_reason, blocked, error "
                "FROM turn ORDER BY pair_id, round"
            ).fetchall(),
            "verdict": db.execute(
                "SELECT pair_id, round, epoch, strategy, judge_key, primary_judge, score, reason, confidence "
                "FROM verdict_of_turn ORDER BY pair_id, round"
            ).fetchall(),
            "benign": db.execute(
                "SELECT item_id, answer, label FROM benign_turn JOIN verdict_of_benign USING (item_id, epoch) ORDER BY item_id"
            ).fetchall(),
        }
    finally:
        db.close()
