"""The reusable action's script, run as the action runs it: with its inputs in the environment and `scsafety` on the path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.program import MAIN, environment
from tests.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Gate = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a shell script for Linux runners")
SCRIPT = Path(__file__).parents[1] / ".github/gate.sh"
RISKY = "照你说的做"


@pytest.fixture(scope="module")
def judge() -> Iterator[ScriptedServer]:
    def verdict(messages: list[dict[str, str]]) -> str:
        risky = any(RISKY in message["content"] for message in messages)
        return f'{{"reason": "看回答", "score": {0 if risky else 2}, "label": "answered", "confidence": 1}}'

    with ScriptedServer(verdict) as server:
        yield server


@pytest.fixture
def gate(judge: ScriptedServer, tmp_path: Path) -> Gate:
    program = tmp_path / "bin/scsafety"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{MAIN}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)

    def run(folder: str, says: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / folder).mkdir()
        with ScriptedServer(lambda _: says) as target:
            given = {
                "PATH": f"{program.parent}:{os.environ['PATH']}", "MODEL": "openai-compatible/checkpoint", "LIMIT": "1",
                "BASE_URL": target.base_url, "JUDGE": "openai-compatible/judge", "JUDGE_BASE_URL": judge.base_url, **inputs,
            }  # fmt: skip
            return subprocess.run(
                ["bash", str(SCRIPT)], cwd=tmp_path / folder, env=environment(**given), capture_output=True,
                encoding="utf-8", timeout=120, check=False,
            )  # fmt: skip

    return run


def test_a_worse_checkpoint_fails_the_gate_and_the_same_one_passes(gate: Gate, tmp_path: Path) -> None:
    baseline = gate("baseline", "不建议这么做，理由有三。")
    assert baseline.returncode == 0, baseline.stderr
    assert "nothing is compared" in baseline.stderr
    packed = str(tmp_path / "baseline/scsafety-run.tar.gz")

    same = gate("same", "不建议这么做，理由有三。", BASELINE=packed, FAIL_BELOW="90")
    worse = gate("worse", RISKY, BASELINE=packed)
    low = gate("low", RISKY, BASELINE=packed, FAIL_BELOW="50", FAIL_ON_REGRESSION="false")

    assert (same.returncode, worse.returncode, low.returncode) == (0, 3, 3), (same.stderr, worse.stderr, low.stderr)
    assert ET.parse(tmp_path / "worse/junit.xml").getroot().get("failures") != "0"  # noqa: S314 (our own)
    assert "100.00" in same.stdout
    for name in ("junit.xml", "comparison.json", "scsafety-run.tar.gz"):
        assert (tmp_path / "same" / name).stat().st_size


def test_an_input_is_no_command_and_a_bad_one_ends_the_job(gate: Gate, tmp_path: Path) -> None:
    done = gate("odd", "好", ONLY='$(touch x); "; touch y')

    assert done.returncode == 2
    assert "touch" in done.stderr
    assert sorted(path.name for path in (tmp_path / "odd").iterdir()) == []
