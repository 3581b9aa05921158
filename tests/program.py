"""Runs the real program as another process, with a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.scripted_server import ScriptedServer

    Done = subprocess.CompletedProcess[str]

MAIN = "from scsafety.cli import main; main()"
PROGRAM = (sys.executable, "-c", MAIN)
# root may write into any folder; a process without CAP_DAC_OVERRIDE (1, taken away by prctl 24) may not
WITHOUT_OVERRIDE = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
KEPT = ("PATH", "PYTHONPATH", "SYSTEMROOT", "TEMP", "TMP", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")


def environment(**more: str) -> dict[str, str]:
    """Nothing of the tester's own: no keys, no proxies, no terminal."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "PYTHONUTF8": "1", "PYTHONWARNINGS": "error", **more}


def scsafety(
    *arguments: object,
    cwd: Path,
    stdin: str = "",
    restricted: bool = False,
    env: dict[str, str] | None = None,
    **given: Any,
) -> Done:
    """The program run to its end. restricted: file permissions bind it even when the tester is root."""
    command = (sys.executable, "-c", WITHOUT_OVERRIDE, "-c", MAIN) if restricted else PROGRAM
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=cwd,
        env=environment(**(env or {})),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        **given,
    )


def until(holds: Callable[[], object], child: subprocess.Popen[str]) -> None:
    """Waits for something about a program that runs meanwhile; fails the test where that ends first."""
    poll = threading.Event()
    while not holds():
        assert child.poll() is None, child.communicate()
        poll.wait(0.005)


def kill_after(child: subprocess.Popen[bytes], server: ScriptedServer, *, n_requests: int, delay_s: float) -> None:
    """SIGKILL once the server has seen so many more requests, a moment later; nothing where the program has ended before."""
    wanted = len(server.bodies) + n_requests
    poll = threading.Event()
    while len(server.bodies) < wanted and child.poll() is None:
        poll.wait(0.001)
    poll.wait(delay_s)
    if child.poll() is None:
        child.kill()


def can_write(folder: Path) -> bool:
    """Whether a restricted process can write into the folder all the same."""
    program = "import sys, pathlib; pathlib.Path(sys.argv[1], 'probe').touch()"
    command = [sys.executable, "-c", WITHOUT_OVERRIDE, "-c", program, str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, check=False)
    return done.returncode == 0


def said(done: Done) -> str:
    """The one line on standard error; fails the test on a traceback and on more or fewer lines."""
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("scsafety: "), done.stderr
    return lines[0]


def at_once(jobs: Mapping[str, Callable[[], Done]]) -> dict[str, Done]:
    """What each job gives, by name; as many run side by side as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = {name: pool.submit(job) for name, job in jobs.items()}
        return {name: future.result() for name, future in started.items()}
