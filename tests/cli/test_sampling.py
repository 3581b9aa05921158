"""What the target is asked to sample with: sent as written, kept with the run, and not to be changed by resume."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.program import scsafety
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from pathlib import Path

    from tests.program import Done


def run(tmp_path: Path, server: ScriptedServer, *options: object) -> Done:
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1)])
    return scsafety(
        "run", "--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast", "--bank", bank,
        "--name", "r", *options, cwd=tmp_path,
    )  # fmt: skip


def test_every_sampling_option_is_sent_and_kept(tmp_path: Path) -> None:
    (tmp_path / "extra.json").write_text('{"enable_thinking": false, "top_k": 20}')
    options = [
        "--temperature",
        "0.3",
        "--top-p",
        "0.9",
        "--max-tokens",
        "50",
        "--seed",
        "7",
        "--stop",
        "###",
        "--stop",
        "完",
    ]
    with ScriptedServer() as server:
        done = run(tmp_path, server, *options, "--extra", "@extra.json")

    assert done.returncode == 0, done.stderr
    sent = {name: value for name, value in server.bodies[0].items() if name not in ("model", "messages", "stream")}
    assert sent == {
        "temperature": 0.3, "top_p": 0.9, "max_tokens": 50, "seed": 7, "stop": ["###", "完"], "enable_thinking": False,
        "top_k": 20,
    }  # fmt: skip
    kept = json.loads((tmp_path / "runs/r/summary.json").read_text("utf-8"))["settings"]["sampling"]
    assert kept == {
        "temperature": 0.3, "max_tokens": 50, "seed": 7, "top_p": 0.9, "stop": ["###", "完"],
        "extra": {"enable_thinking": False, "top_k": 20},
    }  # fmt: skip


def test_what_was_not_given_is_not_sent(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        run(tmp_path, server)

    assert set(server.bodies[0]) == {"model", "messages", "stream"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top-p", "0"], "give a number above 0, up to 1"),
        (["--top-p", "1.5"], "give a number above 0, up to 1"),
        (["--extra", "{"], "no JSON object"),
        (["--extra", "[1]"], "no JSON object"),
        (["--extra", "@none.json"], "--extra @none.json: cannot be read"),
        (["--extra", '{"messages": []}'], "--extra messages: scsafety sets that itself"),
    ],
)
def test_a_bad_option_is_refused_with_the_mend(tmp_path: Path, options: list[str], message: str) -> None:
    with ScriptedServer() as server:
        done = run(tmp_path, server, *options)

    assert done.returncode == 2
    assert message in done.stderr
    assert server.bodies == []
    assert not (tmp_path / "runs").exists()
