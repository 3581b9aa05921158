"""`scsafety doctor`: one line a check, and exit code 3 when one fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from tests.program import scsafety
from tests.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path


def test_it_says_what_is_here_and_that_nothing_called_out(tmp_path: Path) -> None:
    done = scsafety("doctor", "--offline", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 5
    assert "no connection or name look-up left this machine" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_asks_the_endpoint_once_and_names_the_parameters_that_were_dropped(tmp_path: Path) -> None:
    class Picky(ScriptedServer):
        async def _respond(self, request: web.Request) -> web.StreamResponse:
            if "seed" in await request.json():
                error = {"message": "Unsupported parameter", "param": "seed", "code": "unsupported_parameter"}
                return web.json_response({"error": error}, status=400)
            return await super()._respond(request)

    with Picky() as server:
        done = scsafety("doctor", "--model", "openai-compatible/x", "--base-url", server.base_url, cwd=tmp_path)

        assert len(server.bodies) == 1
    assert done.returncode == 0, done.stdout
    assert "parameters dropped: seed" in done.stdout
    assert "model scripted-1" in done.stdout
    assert "red-team questions can cost an account" in done.stdout


def test_a_filter_that_blocks_a_harmless_question_fails_the_check(tmp_path: Path) -> None:
    with ScriptedServer(always="dashscope_block") as server:
        done = scsafety("doctor", "--model", "openai-compatible/x", "--base-url", server.base_url, cwd=tmp_path)

    assert done.returncode == 3
    assert "do not score now" in done.stdout


def test_a_refused_key_fails_the_check_and_says_which_variable(tmp_path: Path) -> None:
    with ScriptedServer(always="401") as server:
        address = ("--model", "openai-compatible/x", "--base-url", server.base_url)
        done = scsafety("doctor", *address, cwd=tmp_path, env={"SCSAFETY_API_KEY": "sk-wrong-0000"})

    assert done.returncode == 3
    assert "FAIL" in done.stdout
    assert "SCSAFETY_API_KEY" in done.stdout
    assert "sk-wrong" not in done.stdout + done.stderr
