"""The harmless control question before a run: asked once where the endpoint is elsewhere; if it is blocked, nothing more is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scsafety import api
from scsafety.engine.settings import Policy
from scsafety.errors import TargetStop
from scsafety.targets.outage import CONTROL_QUESTION
from scsafety.targets.providers import asks_control_question, providers, resolve
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from pathlib import Path

ELSEWHERE = "http://model.example/v1"  # reached through a proxy, which the scripted server plays


def run(folder: Path, base_url: str, **more: Any) -> api.RunResult:
    bank = write_bank(folder / "bank.jsonl", [pair(1), pair(2)])
    return api.run(
        "openai-compatible/x",
        base_url=base_url,
        judge="offline-fast",
        bank=[bank],
        out=folder,
        name="r",
        policy=Policy(max_attempts=2, **more),
    )


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has a server answer for the address that is not on this machine."""

    def play(server: ScriptedServer) -> str:
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
        return ELSEWHERE

    return play


def asked(server: ScriptedServer) -> list[str]:
    return [body["messages"][-1]["content"] for body in server.bodies]


def test_it_is_asked_once_and_first_and_is_a_call_and_no_turn(tmp_path: Path, elsewhere: Any) -> None:
    with ScriptedServer() as server:
        result = run(tmp_path, elsewhere(server))

        questions = asked(server)
    assert questions[0] == CONTROL_QUESTION
    assert questions.count(CONTROL_QUESTION) == 1
    assert result.exit_code == 0
    assert (result.summary.answered, result.summary.usage["target"].calls) == (4, 5)
    with api.load_run("r", tmp_path).open() as store:
        assert store.query("SELECT count(*) FROM turn") == [(4,)]
        assert store.query("SELECT outcome FROM call WHERE dialogue_id IS NULL") == [("answered",)]
    assert api.verify("r", tmp_path) == []


def test_nothing_is_asked_after_it_was_blocked_and_resume_goes_on_when_the_filter_is_mended(
    tmp_path: Path, elsewhere: Any
) -> None:
    with ScriptedServer(faults={CONTROL_QUESTION: ["dashscope_block"]}) as server:
        with pytest.raises(
            TargetStop, match=r"harmless control question was blocked \(input\).*scsafety resume r"
        ) as stop:
            run(tmp_path, elsewhere(server))
        assert asked(server) == [CONTROL_QUESTION]

        result = api.resume("r", out=tmp_path)

    assert stop.value.exit_code == 4
    assert result.exit_code == 0
    with api.load_run("r", tmp_path).open() as store:
        outcomes = store.query("SELECT outcome FROM call WHERE dialogue_id IS NULL ORDER BY created_at")
    assert outcomes == [("blocked_input",), ("answered",)]


def test_another_failure_of_it_costs_no_item(tmp_path: Path, elsewhere: Any) -> None:
    with ScriptedServer(faults={CONTROL_QUESTION: ["500"] * 9}) as server:
        result = run(tmp_path, elsewhere(server))

    assert result.exit_code == 0
    assert result.summary.usage["target"].attempts == 4 + 2


def test_a_refused_key_stops_the_run_at_it(tmp_path: Path, elsewhere: Any) -> None:
    with ScriptedServer(always="401") as server, pytest.raises(TargetStop, match="refuses the key"):
        run(tmp_path, elsewhere(server))

    assert asked(server) == [CONTROL_QUESTION]


def test_it_counts_against_the_cap_on_calls(tmp_path: Path, elsewhere: Any) -> None:
    with ScriptedServer() as server:
        run(tmp_path, elsewhere(server), max_calls=3, concurrency=1)

        assert len(server.bodies) == 3


def test_a_sitting_with_nothing_left_to_ask_does_without(tmp_path: Path, elsewhere: Any) -> None:
    with ScriptedServer() as server:
        run(tmp_path, elsewhere(server))
        before = len(server.bodies)

        api.resume("r", out=tmp_path)

        assert len(server.bodies) == before


def test_an_endpoint_on_this_machine_is_asked_no_control_question(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        run(tmp_path, server.base_url)

        assert CONTROL_QUESTION not in asked(server)


@pytest.mark.parametrize(
    ("base_url", "row", "expected"),
    [
        ("http://127.0.0.1:8000/v1", None, False),
        ("http://gpu.example:8000/v1", None, True),
        ("http://127.0.0.1:8000/v1", True, True),
        ("https://model.example/v1", False, False),
    ],
)
def test_the_providers_row_has_the_last_word(base_url: str, row: bool | None, expected: bool) -> None:
    endpoint = resolve("openai-compatible/x", base_url=base_url, environ={})
    provider = msgspec.structs.replace(endpoint.provider, control_question=row)

    assert asks_control_question(msgspec.structs.replace(endpoint, provider=provider)) is expected


def test_every_vendor_of_the_table_is_asked_and_no_server_at_home() -> None:
    for provider in providers():
        if provider.base_url is not None:
            endpoint = resolve(f"{provider.id}/x", environ=dict.fromkeys(provider.key_vars, "sk-x"))
            assert asks_control_question(endpoint) is not provider.local
