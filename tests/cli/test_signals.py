"""Signals, other processes and the clock, by the real program: what was answered is kept, and nobody waits in vain."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from scsafety import api
from scsafety.engine import interrupt
from tests.program import MAIN, PROGRAM, environment, said, scsafety, until
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Started = AbstractContextManager[subprocess.Popen[str]]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of another kind there")
VERDICT = '{"reason": "稳妥", "score": 2, "confidence": 0.9}'
N_PAIRS = 12


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    return write_bank(tmp_path / "bank.jsonl", [pair(n) for n in range(1, N_PAIRS + 1)])


def start(bank: Path, *arguments: str, program: tuple[str, ...] = PROGRAM) -> Started:
    command = [*program, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=bank.parent, env=environment(), stdout=pipe, stderr=pipe, text=True)


def run_of(server: ScriptedServer, bank: Path, *more: str) -> tuple[str, ...]:
    target = ("--model", "openai-compatible/x", "--base-url", server.base_url)
    return ("run", *target, "--judge", "offline-fast", "--bank", str(bank), "--name", "r", *more)


def rows(bank: Path, sql: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(bank.parent / "runs/r/run.db")
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


# Ctrl-C and SIGTERM


def test_one_ctrl_c_waits_for_what_is_in_flight_and_keeps_it(bank: Path) -> None:
    with ScriptedServer(latency_s=0.8) as server, ScriptedServer(lambda _: VERDICT, latency_s=0.8) as judge:
        address = ("--judge", "openai-compatible/j", "--judge-base-url", judge.base_url)
        with start(bank, *run_of(server, bank, *address, "--concurrency", "4")) as child:
            until(lambda: len(server.bodies) == 8 and judge.bodies, child)  # the second four
            n_asked = len(server.bodies)
            child.send_signal(signal.SIGINT)
            _, errors = child.communicate(timeout=20)

        assert child.returncode == 130, errors
        assert "everything that was answered is kept" in errors
        assert len(server.bodies) == n_asked  # nothing new was begun
        assert rows(bank, "SELECT count(*) FROM turn WHERE answer IS NOT NULL") == [(n_asked,)]
        assert rows(bank, "SELECT count(*) FROM verdict") == [(len(judge.bodies),)]
        server.latency_s = judge.latency_s = 0

        assert scsafety("resume", "r", cwd=bank.parent).returncode == 0
        assert set(server.asked.values()) == {1}  # no answer was paid for twice
        assert len(judge.bodies) == 2 * N_PAIRS


def test_a_second_ctrl_c_ends_it_now(bank: Path) -> None:
    with ScriptedServer(always="hang") as server, start(bank, *run_of(server, bank, "--concurrency", "4")) as child:
        until(lambda: server.in_flight == 4, child)
        child.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.7)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)

    assert child.returncode == 130
    assert time.monotonic() - began < 2
    assert "Traceback" not in errors


def test_sigterm_does_not_wait_for_what_is_in_flight(bank: Path) -> None:
    hanging = pair(3).question
    with (
        ScriptedServer(faults={hanging: ["hang"]}) as server,
        start(bank, *run_of(server, bank, "--concurrency", "1")) as child,
    ):
        until(lambda: server.bodies and server.bodies[-1]["messages"][0]["content"] == hanging, child)
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=20)

    assert child.returncode == 143
    assert time.monotonic() - began < 2
    assert "Traceback" not in errors
    assert rows(bank, "SELECT count(*) FROM turn WHERE answer IS NOT NULL") == [(len(server.bodies) - 1,)]


def test_what_is_in_flight_is_not_waited_for_without_end(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupt, "GRACE_S", 0.3)
    with ScriptedServer(always="hang") as server:

        def press() -> None:
            while not server.in_flight:
                threading.Event().wait(0.005)
            os.kill(os.getpid(), signal.SIGINT)

        pressing = threading.Thread(target=press)
        pressing.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            api.run("openai-compatible/x", base_url=server.base_url, judge="offline-fast", bank=[bank], out=tmp_path)
        pressing.join()

    assert time.monotonic() - began < 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_ctrl_c_while_answers_are_judged_anew_keeps_the_verdicts_that_came(bank: Path) -> None:
    with ScriptedServer() as server, ScriptedServer(lambda _: VERDICT, latency_s=0.3) as judge:
        assert scsafety(*run_of(server, bank), cwd=bank.parent).returncode == 0
        again = ("judge", "r", "--judge", "openai-compatible/j", "--judge-base-url", judge.base_url)
        with start(bank, *again, "--judge-concurrency", "2") as child:
            until(lambda: len(judge.bodies) == 6, child)
            child.send_signal(signal.SIGINT)
            _, errors = child.communicate(timeout=20)

        assert child.returncode == 130, errors
        kept = "SELECT count(*) FROM verdict JOIN judge USING (judge_key) WHERE judge_id = 'openai-compatible/j'"
        assert rows(bank, kept) == [(len(judge.bodies),)]


# Other processes


def test_of_two_processes_that_resume_one_run_the_second_refuses_and_the_first_goes_on(bank: Path) -> None:
    go_on = threading.Event()

    def answer(messages: list[dict[str, str]]) -> str:
        if len(server.bodies) > 4:
            go_on.wait(30)
        return f"建议先沟通，注意风险。{len(messages)}"

    with ScriptedServer(answer) as server:
        begun = scsafety(*run_of(server, bank, "--max-calls", "4"), cwd=bank.parent)
        assert (begun.returncode, len(server.bodies)) == (1, 4)
        with start(bank, "resume", "r") as first:
            until(lambda: len(server.bodies) > 4, first)
            second = scsafety("resume", "r", cwd=bank.parent)
            go_on.set()
            _, errors = first.communicate(timeout=30)

        assert second.returncode == 4
        assert "another scsafety process is writing this run; wait for it or stop it" in said(second)
        assert first.returncode == 0, errors
        assert set(server.asked.values()) == {1}


@pytest.fixture
def other_program(bank: Path) -> Iterator[Callable[[], sqlite3.Connection]]:
    """Takes the database for itself, as a backup or a browser of databases may."""
    opened: list[sqlite3.Connection] = []

    def take() -> sqlite3.Connection:
        db = sqlite3.connect(bank.parent / "runs/r/run.db", isolation_level=None, check_same_thread=False, timeout=30)
        opened.append(db)
        db.execute("BEGIN EXCLUSIVE")
        return db

    yield take
    for db in opened:
        db.close()


def test_a_database_that_is_locked_for_a_moment_holds_the_run_up_and_no_more(
    bank: Path, other_program: Callable[[], sqlite3.Connection]
) -> None:
    with ScriptedServer(latency_s=0.05) as server, start(bank, *run_of(server, bank, "--concurrency", "2")) as child:
        until(lambda: len(server.bodies) >= 4, child)
        db = other_program()
        threading.Event().wait(2.0)  # of the 5 s that the store waits
        db.execute("ROLLBACK")
        _, errors = child.communicate(timeout=30)

    assert child.returncode == 0, errors
    assert set(server.asked.values()) == {1}


def test_a_database_that_stays_locked_ends_the_run_with_the_reason_and_resume_finishes_it(
    bank: Path, other_program: Callable[[], sqlite3.Connection]
) -> None:
    with ScriptedServer(latency_s=0.05) as server:
        with start(bank, *run_of(server, bank, "--concurrency", "2")) as child:
            until(lambda: len(server.bodies) >= 4, child)
            db = other_program()
            _, errors = child.communicate(timeout=60)
            db.execute("ROLLBACK")

        assert child.returncode == 4
        assert "Traceback" not in errors
        assert "run.db: locked by another program; close it and try again" in errors.splitlines()[-1]
        assert scsafety("resume", "r", cwd=bank.parent).returncode == 0
        repeated = sum(server.asked.values()) - len(server.asked)
        assert repeated <= 2 + 2 * 0.1 / 0.05  # in flight, and what 100 ms brought


# The clock


JUMPING_CLOCK = f"""
import datetime, itertools, time

days = itertools.cycle((0, 1, -1, 400, -400))
real, Real = time.time, datetime.datetime

class Jumping(Real):
    @classmethod
    def now(cls, tz=None):
        return Real.now(tz) + datetime.timedelta(days=next(days))

time.time = lambda: real() + 86_400 * next(days)
datetime.datetime = Jumping
{MAIN}
"""


def test_a_wall_clock_that_jumps_moves_no_wait_and_loses_nothing(bank: Path) -> None:
    faults = {pair(n).question: ["429_date"] for n in (1, 5)} | {pair(3).question: ["429"]}

    with ScriptedServer(faults=faults) as server:
        program = (sys.executable, "-c", JUMPING_CLOCK)
        with start(bank, *run_of(server, bank, "--concurrency", "1"), program=program) as child:
            _, errors = child.communicate(timeout=60)

        assert child.returncode == 0, errors
    seen = list(zip(server.times, server.bodies, strict=True))
    waits = [after - before for (before, asked), (after, again) in pairwise(seen) if asked == again]
    assert len(waits) == 3
    assert all(0.15 < wait < 3 for wait in waits)
    assert rows(bank, "SELECT count(*) FROM turn WHERE answer IS NOT NULL") == [(2 * N_PAIRS,)]
    shown = scsafety("runs", "show", "r", cwd=bank.parent)
    assert shown.returncode == 0, shown.stderr
    assert scsafety("verify", "r", cwd=bank.parent).returncode == 0


# A refused key


@pytest.mark.parametrize("fault", ["401", "403", "404"])
def test_an_endpoint_that_refuses_us_stops_the_run_within_two_seconds_of_its_answer(bank: Path, fault: str) -> None:
    with ScriptedServer(always=fault) as server, start(bank, *run_of(server, bank)) as child:
        until(lambda: server.bodies, child)
        began = time.monotonic()
        _, errors = child.communicate(timeout=20)

    assert time.monotonic() - began < 2
    assert child.returncode == 4
    assert len(errors.splitlines()) == 1
    assert ("model" if fault == "404" else "refuses the key") in errors
