"""A key that an endpoint throws back at us goes no further: not to the terminal, not to any file of the run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.keyring_in_memory import HELD
from tests.program import environment, scsafety
from tests.scripted_server import ScriptedServer, completion
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from tests.program import Done

KEY = "planted+Key/0123456789:quiet-ABCDEF=="  # of no vendor's form, so that only knowing it helps; `id:secret`
PARTS = (KEY, *KEY.split(":"))
LEAKS = ("status 500", "status 400", "plain words", "html", "block", "block with a partial answer", "cut")


class EchoingServer(ScriptedServer):
    """Says the request's key in every answer that is no answer."""

    def __init__(self, leaks: dict[str, str]) -> None:
        super().__init__()
        self.leaks = leaks

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        question = (await request.json())["messages"][-1]["content"]
        leak = self.leaks.get(question)
        if leak is None:
            return await super()._respond(request)
        self.bodies.append({})
        return self._leak(leak, request.headers["Authorization"])

    def _leak(self, leak: str, header: str) -> web.StreamResponse:
        from aiohttp import web

        key = header.removeprefix("Bearer ")
        echo = {"X-Request-Id": key, "Retry-After": "0"}
        if leak.startswith("status "):
            error = {"message": f"bad call with {header}", "param": key, "code": f"bad_{key}", "request": header}
            return web.json_response({"error": error}, status=int(leak.split()[1]), headers=echo)
        if leak == "plain words":
            return web.Response(text=f"upstream refused {key} of {header}", status=502, headers=echo)
        if leak == "html":
            return web.Response(text=f"<html><title>{key}</title>{header}</html>", status=502, headers=echo)
        if leak == "block":
            error = {"message": f"Content Exists Risk {key}", "type": "invalid_request_error", "headers": header}
            return web.json_response({"error": error}, status=400)
        if leak == "block with a partial answer":
            body = {**completion(f"好的，{header}", "content_filter"), "headers": {"authorization": header}}
            return web.json_response(body)
        if leak == "name":
            body = completion("好的", "content_filter", reasoning_content=f"他的密钥是 {key}")
            return web.json_response({**body, "id": key, "model": key, "system_fingerprint": key})
        assert leak == "cut"
        return web.json_response(completion(f"{key} {header}", "error"), headers=echo)


def in_environment(_: Path) -> dict[str, str]:
    return {"SCSAFETY_API_KEY": KEY}


def in_file(folder: Path) -> dict[str, str]:
    (folder / ".env").write_text(f"SCSAFETY_API_KEY='{KEY}'\n", encoding="utf-8")
    return {}


def in_keyring(_: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    backend = {"PYTHON_KEYRING_BACKEND": "tests.keyring_in_memory.InMemory", "PYTHONPATH": path}
    return {**backend, HELD: f"SCSAFETY_API_KEY={KEY}"}


@pytest.fixture(scope="module", params=[in_environment, in_file, in_keyring], ids=lambda plant: plant.__name__)
def leaked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Done]]:
    """The folder of a run on a server that echoes, and all that the commands said; the key planted in each way."""
    folder = tmp_path_factory.mktemp("secrets")
    bank = write_bank(folder / "bank.jsonl", [*(pair(n) for n in range(1, len(LEAKS) + 2)), twin(1)])
    leaks = {pair(n).question: leak for n, leak in enumerate(LEAKS, start=1)}
    leaks |= {pair(len(LEAKS) + 1).follow_up: "block", twin(1).question: "block with a partial answer"}
    env = request.param(folder)
    said: dict[str, Done] = {}
    server = EchoingServer(leaks)
    with server:
        target = ["--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast"]
        log = ["--log-json", "events.jsonl"]
        said["run"] = scsafety("run", *target, "--bank", bank, "--name", "leaky", *log, cwd=folder, env=env)
        asked = len(server.bodies)
        said["try"] = scsafety("bank", "try", bank, *target, "--id", pair(5).id, cwd=folder, env=env)
        server.leaks = {**leaks, pair(1).question: "status 401", pair(2).question: "status 401"}
        said["resume, key refused"] = scsafety("resume", "leaky", *log, cwd=folder, env=env)
        judge = ["--judge", "openai-compatible/j", "--judge-base-url", server.base_url]
        said["judge"] = scsafety("judge", "leaky", *judge, *log, cwd=folder, env=env)
        said["doctor"] = scsafety("doctor", *target[:4], *judge, cwd=folder, env=env)
        assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in server.headers)
    assert asked > 2 * len(LEAKS)
    said["report"] = scsafety("report", "leaky", "--out", "site", cwd=folder, env=env)
    said["export jsonl"] = scsafety("export", "leaky", cwd=folder, env=env)
    said["models"] = scsafety("models", "list", cwd=folder, env=env)
    if request.param is in_environment:  # these ask nobody
        said["show"] = scsafety("runs", "show", "leaky", cwd=folder, env=env)
        said["list"] = scsafety("runs", "list", cwd=folder, env=env)
        said["export csv"] = scsafety("export", "leaky", "--format", "csv", cwd=folder, env=env)
    return folder, said


def test_the_run_met_every_leak(leaked: tuple[Path, dict[str, Done]]) -> None:
    """Or the silence of the others would say little."""
    folder, said = leaked

    rows = [json.loads(line) for line in said["export jsonl"].stdout.splitlines()]

    assert {name: done.returncode for name, done in said.items() if done.returncode} == {
        "run": 1, "resume, key refused": 4, "judge": 1, "doctor": 3,
    }  # fmt: skip
    assert sum(row["blocked"] is not None for row in rows) == 4
    assert sum(row["error"] is not None for row in rows) == 5
    assert "***" in (folder / "runs/leaky/run.db").read_bytes().decode(errors="replace")
    assert "check SCSAFETY_API_KEY" in said["resume, key refused"].stderr


def test_the_key_is_in_nothing_that_a_command_says(leaked: tuple[Path, dict[str, Done]]) -> None:
    _, said = leaked

    found = [(name, part) for name, done in said.items() for part in PARTS if part in done.stdout + done.stderr]

    assert found == []


def test_the_key_is_in_no_byte_of_any_file(leaked: tuple[Path, dict[str, Done]]) -> None:
    folder, _ = leaked

    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".env"]
    found = [
        (path.name, part) for path in files for part in PARTS if re.search(re.escape(part).encode(), path.read_bytes())
    ]

    assert {path.name for path in files} >= {"run.db", "summary.json", "index.html", "events.jsonl"}
    assert found == []


def test_a_key_in_place_of_a_models_name_or_in_its_thinking_is_masked_too(tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1)])

    with EchoingServer({pair(1).question: "name"}) as server:
        target = ["--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast"]
        done = scsafety("run", *target, "--bank", bank, "--name", "leaky", cwd=tmp_path, env={"SCSAFETY_API_KEY": KEY})
    done.check_returncode()  # no AssertionError: a broken run is not what is expected to fail here

    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("plant", [in_environment, in_file, in_keyring])
def test_the_key_is_in_no_traceback_even_with_locals(plant: Callable[[Path], dict[str, str]], tmp_path: Path) -> None:
    """A run that crashes by a mistake of ours, its frames written out with all that they hold."""
    crash = """
import sys, traceback
from scsafety import api
from scsafety.targets.chat import ChatTarget

def fail(self, *_, **__):
    endpoint = self.endpoint
    raise RuntimeError(f"no way to {endpoint}")

ChatTarget.ask = fail
try:
    api.run("openai-compatible/x", base_url="http://127.0.0.1:9/v1", judge="offline-fast", only=["environment-001"])
except RuntimeError as error:
    sys.stdout.write("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
"""
    env = environment(**plant(tmp_path))

    done = subprocess.run(
        [sys.executable, "-c", crash], cwd=tmp_path, env=env, capture_output=True, encoding="utf-8", check=True
    )

    assert "no way to" in done.stdout
    assert "***" in done.stdout
    assert [part for part in PARTS if part in done.stdout] == []
