"""A run needs its endpoint and nothing else: with every other address out of reach all commands work."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.loopback_only import GUARD
from tests.program import MAIN, environment
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from pathlib import Path


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", GUARD + MAIN, str(folder / "called.txt"), *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )


def guarded(folder: Path, *arguments: object) -> tuple[int, str]:
    """Exit code and standard error."""
    child = start(folder, *arguments)
    _, errors = child.communicate(timeout=60)
    return child.returncode, errors


def test_the_guard_sees_a_call_to_elsewhere(tmp_path: Path) -> None:
    """Or the silence of the others would say little."""
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1)])
    address = ["--model", "openai-compatible/x", "--base-url", "http://192.0.2.1/v1"]

    child = start(tmp_path, "run", *address, "--judge", "offline-fast", "--bank", bank, "--name", "out")
    called, waiting = tmp_path / "called.txt", threading.Event()
    while child.poll() is None and not (called.exists() and called.read_text()):
        waiting.wait(0.01)
    child.kill()
    _, errors = child.communicate()

    assert "192.0.2.1" in called.read_text(), errors


@pytest.mark.parametrize(
    "arguments",
    ["bank stats", "bank show property_privacy-001", "models list", "doctor --offline", "--version"],
)
def test_a_command_that_asks_no_model_calls_nobody(tmp_path: Path, arguments: str) -> None:
    code, errors = guarded(tmp_path, *arguments.split())

    assert code == 0, errors
    assert (tmp_path / "called.txt").read_text() == ""


def test_a_run_calls_its_endpoint_and_nobody_else(tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1), pair(2), twin(1)])
    with ScriptedServer() as server, ScriptedServer(lambda _: '{"reason": "a", "score": 1}') as judging:
        target = ["--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast"]
        judge = ["--judge", "openai-compatible/j", "--judge-base-url", judging.base_url]
        ran = guarded(tmp_path, "run", *target, "--bank", bank, "--no-benign", "--name", "alone")
        judged = guarded(tmp_path, "judge", "alone", *judge, "--primary")
        assert (len(server.bodies), len(judging.bodies)) == (4, 4)
    later = [guarded(tmp_path, *command.split(), "alone") for command in ("resume", "report", "runs show", "export")]

    assert [errors for code, errors in (ran, judged, *later) if code] == []
    assert (tmp_path / "called.txt").read_text() == ""
    page = (tmp_path / "site" / "alone" / "index.html").read_text(encoding="utf-8")
    assert '<script src="http' not in page
    assert '<link rel="stylesheet" href="http' not in page
