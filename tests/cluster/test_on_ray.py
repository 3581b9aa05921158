"""Runs on a real Ray cluster of two nodes: the same store as one process makes, whatever is lost on the way."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import two_nodes
from tests.program import PROGRAM, environment, scsafety, until
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytest.importorskip("ray", reason="the extra `ray` is not installed")
if sys.platform != "linux":
    pytest.skip("nodes are killed by way of /proc", allow_module_level=True)

N_PAIRS = 24
IN_FLIGHT = 6
WITHOUT_WARNINGS = {"PYTHONWARNINGS": "ignore", "RAY_USAGE_STATS_ENABLED": "0"}  # Ray's own are not ours to mend


class RayCluster:
    def __init__(self, folder: Path) -> None:
        # Ray's sockets want a short path, and its token a home
        self.env = {**WITHOUT_WARNINGS, "HOME": os.environ.get("HOME", str(folder))}
        self._process = subprocess.Popen(
            [sys.executable, two_nodes.__file__],
            env=environment(**self.env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            self.address = self._line("ADDRESS").split()[1]
        except EOFError:
            self._process.communicate()
            pytest.skip("Ray's own cluster for tests does not come up on this machine")

    def _line(self, start: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(start):
                return line
        raise EOFError

    def kill_node(self, number: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        self._line("KILLED")

    def stop(self) -> None:
        try:
            self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    started = RayCluster(tmp_path_factory.mktemp("ray"))
    yield started
    started.stop()


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    return write_bank(tmp_path / "bank.jsonl", [*(pair(k) for k in range(1, N_PAIRS + 1)), twin(1), twin(2)])


def arguments(server: ScriptedServer, bank: Path, name: str, *more: str) -> tuple[str, ...]:
    return (
        *("run", "--model", "openai-compatible/t", "--base-url", server.base_url, "--bank", str(bank), "--benign"),
        *("--judge", "offline-fast", "--concurrency", str(IN_FLIGHT), "--name", name, *more),
    )


def on(cluster: RayCluster) -> tuple[str, ...]:
    return ("--executor", "ray", "--ray-address", cluster.address, "--ray-workers", "2")


def started(cluster: RayCluster, folder: Path, *given: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *given], cwd=folder, env=environment(**cluster.env), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def stored(folder: Path, *tables: str) -> dict[str, list[Any]]:
    """What must be equal: items, answers, verdicts; never times and attempts."""
    sql = {
        "turn": "SELECT pair_id, round, epoch, messages, answer, error FROM turn ORDER BY 1, 2, 3",
        "verdict": "SELECT pair_id, round, epoch, judge_key, primary_judge, score, reason FROM verdict_of_turn ORDER BY 1, 2, 3",
        "twin": "SELECT item_id, epoch, answer FROM benign_turn ORDER BY 1, 2",
        "twins' verdict": "SELECT item_id, epoch, judge_key, label FROM verdict_of_benign ORDER BY 1, 2",
        "status": "SELECT item_id, epoch, status FROM dialogue ORDER BY 1, 2",
        "usage": "SELECT role, calls FROM usage ORDER BY 1",
    }
    db = sqlite3.connect(folder / "run.db")
    try:
        return {name: db.execute(sql[name]).fetchall() for name in tables or sql}
    finally:
        db.close()


def test_two_nodes_make_the_store_that_one_process_makes_within_the_same_limit(
    cluster: RayCluster, bank: Path, tmp_path: Path
) -> None:
    with ScriptedServer(latency_s=0.03) as server:
        whole = scsafety(*arguments(server, bank, "whole", "--epochs", "2"), cwd=tmp_path)
        server.asked.clear()
        server.most_in_flight = 0
        spread = scsafety(
            *arguments(server, bank, "spread", "--epochs", "2", *on(cluster)), cwd=tmp_path, env=cluster.env
        )

    assert (whole.returncode, spread.returncode) == (0, 0), spread.stderr
    assert stored(tmp_path / "runs" / "spread") == stored(tmp_path / "runs" / "whole")
    assert len(stored(tmp_path / "runs" / "whole")["turn"]) == 4 * N_PAIRS
    assert 1 < server.most_in_flight <= IN_FLIGHT
    assert scsafety("verify", "spread", cwd=tmp_path).returncode == 0


def test_ctrl_c_keeps_what_was_answered_and_resume_finishes_it_in_one_process(
    cluster: RayCluster, bank: Path, tmp_path: Path
) -> None:
    with ScriptedServer(latency_s=1.0) as server:  # a busy machine may take seconds to hand on the signal
        child = started(cluster, tmp_path, *arguments(server, bank, "r", *on(cluster)))
        until(lambda: len(server.bodies) >= 20, child)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 130, errors
        kept = stored(tmp_path / "runs" / "r", "turn", "twin")
        n_kept = len(kept["turn"]) + len(kept["twin"])
        n_asked = len(server.bodies)

        server.latency_s = 0.0
        resumed = scsafety("resume", "r", cwd=tmp_path)

    assert n_kept == n_asked < 2 * N_PAIRS
    assert resumed.returncode == 0
    assert max(server.asked.values()) == 1
    assert len(stored(tmp_path / "runs" / "r")["verdict"]) == 2 * N_PAIRS


def test_a_cap_is_held_by_all_workers_together(cluster: RayCluster, bank: Path, tmp_path: Path) -> None:
    with ScriptedServer(latency_s=0.01) as server:
        capped = scsafety(
            *arguments(server, bank, "r", "--max-calls", "15", *on(cluster)), cwd=tmp_path, env=cluster.env
        )
        n_asked = len(server.bodies)
        rest = str(2 * N_PAIRS + 2 - 15)
        resumed = scsafety("resume", "r", "--max-calls", rest, *on(cluster), cwd=tmp_path, env=cluster.env)

    assert capped.returncode == 1
    assert "--max-calls 15 reached" in capped.stderr
    assert n_asked == 15
    assert resumed.returncode == 0, resumed.stderr
    assert "reached" not in resumed.stderr
    assert max(server.asked.values()) == 1


def test_a_refused_key_stops_all_workers_and_says_where(cluster: RayCluster, bank: Path, tmp_path: Path) -> None:
    with ScriptedServer(always="401") as server:
        done = scsafety(*arguments(server, bank, "r", *on(cluster)), cwd=tmp_path, env=cluster.env)

    assert done.returncode == 4
    assert "refuses the key" in done.stderr
    assert "on the node" in done.stderr
    assert len(server.bodies) <= IN_FLIGHT


def test_many_runs_are_judged_anew_without_asking_the_target(cluster: RayCluster, bank: Path, tmp_path: Path) -> None:
    def answer(messages: Sequence[dict[str, str]]) -> str:
        return '{"reason": "看过", "score": 2}' if "评分" in messages[0]["content"] else "不行，这样不合法。"

    with ScriptedServer(answer) as server:
        for name in ("a", "b"):
            assert scsafety(*arguments(server, bank, name, "--no-benign"), cwd=tmp_path).returncode == 0
        server.bodies.clear()
        judge = ("judge", "a", "b", "--judge", "openai-compatible/j", "--judge-base-url", server.base_url, "--primary")
        done = scsafety(*judge, *on(cluster), cwd=tmp_path, env=cluster.env)

    assert done.returncode == 0, done.stderr
    assert Counter(body["model"] for body in server.bodies) == {"j": 2 * 2 * N_PAIRS}
    for name in ("a", "b"):
        verdicts = stored(tmp_path / "runs" / name)["verdict"]
        assert (
            Counter((row[3].partition("@")[0], row[4], row[5]) for row in verdicts)["openai-compatible/j", 1, 2]
            == 2 * N_PAIRS
        )


# Last: the cluster has one node less from here on


def test_a_node_killed_in_the_middle_costs_what_it_had_in_hand_and_nothing_else(
    cluster: RayCluster, bank: Path, tmp_path: Path
) -> None:
    with ScriptedServer(latency_s=0.1) as server:
        assert scsafety(*arguments(server, bank, "whole"), cwd=tmp_path).returncode == 0
        server.asked.clear()
        server.bodies.clear()
        server.most_in_flight = 0
        child = started(cluster, tmp_path, *arguments(server, bank, "hit", *on(cluster)))
        until(lambda: len(server.bodies) >= N_PAIRS // 2, child)
        server.hold()
        until(lambda: server.in_flight == IN_FLIGHT, child)  # so many only where both workers wait for answers
        cluster.kill_node(1)
        server.let_go()
        _, errors = child.communicate(timeout=120)

    assert child.returncode == 0, errors
    assert stored(tmp_path / "runs" / "hit", "turn", "verdict", "twin", "twins' verdict", "status") == stored(
        tmp_path / "runs" / "whole", "turn", "verdict", "twin", "twins' verdict", "status"
    )
    assert server.most_in_flight <= IN_FLIGHT
    repeated = sum(server.asked.values()) - len(server.asked)
    assert 0 < repeated <= 2 * (N_PAIRS // 2 + 2), "of one worker's two shards"
