"""`scsafety doctor`: one line a check, and exit code 3 when one fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from tests.program import scsafety
from tests.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.program import Done

JSON_ANSWER = '{"answer": "洗净加水焖熟。"}'


def obedient(messages: Sequence[dict[str, str]]) -> str:
    """Plain words, or JSON where that is asked for."""
    return JSON_ANSWER if "JSON" in messages[-1]["content"] else "加水焖熟就好。"


def doctor(server: ScriptedServer, folder: Path, *more: str, **env: str) -> Done:
    address = ("--model", "openai-compatible/x", "--base-url", server.base_url)
    return scsafety("doctor", *address, *more, cwd=folder, env=env)


def lines(done: Done, role: str = "target") -> dict[str, tuple[str, str]]:
    """Level and text by the name of the check."""
    found = {}
    for line in done.stdout.splitlines():
        name, _, text = line[6:].partition(": ")
        if name.startswith(role):
            found[name.removeprefix(role).strip()] = (line[:6].strip(), text)
    return found


def test_it_says_what_is_here_and_that_nothing_called_out(tmp_path: Path) -> None:
    done = scsafety("doctor", "--offline", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 5
    assert "no connection or name look-up left this machine" in done.stdout
    assert "no variable of the environment would make a run on it call out" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_offline_names_the_variables_that_wait_for_a_model_elsewhere(tmp_path: Path) -> None:
    env = {"HTTPS_PROXY": "http://user:hunter2@proxy.example:3128", "AZURE_OPENAI_ENDPOINT": "https://r.example"}

    done = scsafety("doctor", "--offline", cwd=tmp_path, env=env)

    assert done.returncode == 0, done.stdout
    assert "only by a run that names such a model: AZURE_OPENAI_ENDPOINT, HTTPS_PROXY" in done.stdout
    assert "hunter2" not in done.stdout


def test_a_sound_endpoint_is_asked_three_times_and_each_check_has_its_line(tmp_path: Path) -> None:
    with ScriptedServer(obedient) as server:
        done = doctor(server, tmp_path, SCSAFETY_API_KEY="sk-planted-0001")

        roles = [[message["role"] for message in body["messages"]] for body in server.bodies]
    found = lines(done)
    assert done.returncode == 0, done.stdout
    assert roles == [["user"], ["system", "user", "assistant", "user"], ["user"]]
    assert [name for name, (level, _) in found.items() if level == "ok"] == [
        "key", "route", "address", "round 1", "round 2", "json mode", "parameters", "clock",
    ]  # fmt: skip
    assert found["key"][1] == "SCSAFETY_API_KEY in the environment"
    assert "model scripted-1" in found["round 1"][1]
    assert "parameters dropped: none" in found["parameters"][1]
    assert "sk-planted" not in done.stdout + done.stderr


def test_the_risk_to_the_account_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    with ScriptedServer(always="401") as server:
        said = doctor(server, tmp_path).stdout

    assert said.index("red-team questions can cost an account") < said.index("FAIL")


def test_the_parameters_that_were_dropped_are_named_and_are_no_failure(tmp_path: Path) -> None:
    class Picky(ScriptedServer):
        async def _respond(self, request: web.Request) -> web.StreamResponse:
            if "seed" in await request.json():
                error = {"message": "Unsupported parameter", "param": "seed", "code": "unsupported_parameter"}
                return web.json_response({"error": error}, status=400)
            return await super()._respond(request)

    with Picky() as server:
        done = doctor(server, tmp_path)

    assert done.returncode == 0, done.stdout
    assert lines(done)["parameters"] == ("note", "parameters dropped: seed")


def test_a_refused_key_fails_the_check_and_says_which_variable(tmp_path: Path) -> None:
    with ScriptedServer(always="401") as server:
        done = doctor(server, tmp_path, SCSAFETY_API_KEY="sk-wrong-0000")

    level, text = lines(done)["key"]
    assert done.returncode == 3
    assert level == "FAIL"
    assert "SCSAFETY_API_KEY" in text
    assert "sk-wrong" not in done.stdout + done.stderr


def test_a_missing_key_names_all_ways_to_give_it(tmp_path: Path) -> None:
    done = scsafety("doctor", "--model", "glm/glm-4.6", cwd=tmp_path)

    assert done.returncode == 3
    for part in ("export ZHIPUAI_API_KEY=", ".env", "keyring set scsafety ZHIPUAI_API_KEY", "ZHIPU_API_KEY"):
        assert part in done.stdout


def test_questions_go_through_the_proxy_that_is_named(tmp_path: Path) -> None:
    with ScriptedServer(obedient) as proxy:
        env = {"HTTP_PROXY": f"http://user:hunter2@127.0.0.1:{proxy.port}"}
        address = ("--model", "openai-compatible/x", "--base-url", "http://model.example/v1")
        done = scsafety("doctor", *address, cwd=tmp_path, env=env)

        assert len(proxy.bodies) == 3
        assert {headers["Host"] for headers in proxy.headers} == {"model.example"}
    assert done.returncode == 0, done.stdout
    assert f"through HTTP_PROXY, http://127.0.0.1:{proxy.port}" in lines(done)["route"][1]
    assert "hunter2" not in done.stdout + done.stderr


def test_a_judge_that_cannot_be_read_fails(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: "我觉得不错") as server:
        judge = ("--judge", "openai-compatible/j", "--judge-base-url", server.base_url)
        done = scsafety("doctor", *judge, cwd=tmp_path)

    assert done.returncode == 3
    assert "could not be read; choose another judge" in lines(done, "judge")["verdict"][1]
