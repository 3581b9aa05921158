"""An endpoint that goes down in the middle of a run: the run waits, costs no pair, and goes on when it is back."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from scsafety import api
from scsafety.engine.settings import Policy
from scsafety.errors import NobodyThere, TargetStop
from scsafety.targets import outage
from scsafety.targets.outage import CONTROL_QUESTION
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from pathlib import Path


class Interrupted(ScriptedServer):
    """Answers `before` requests, is down for `down_s`, and answers again. how: what being down looks like."""

    def __init__(self, before: int, down_s: float, how: str) -> None:
        super().__init__()
        self.before, self.down_s, self.how = before, down_s, how
        self.down_since: float | None = None
        self.refused = 0

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        if len(self.bodies) >= self.before and self.down_since is None:
            self.down_since = time.monotonic()
        if self.down_since is not None and time.monotonic() - self.down_since < self.down_s:
            self.refused += 1
            if self.how == "loading":  # llama.cpp's words
                error = {"message": "Loading model", "type": "unavailable_error", "code": 503}
                return web.json_response({"error": error}, status=503)
            if self.how == "503":
                return web.Response(status=503, text="upstream is gone")
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return await super()._respond(request)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "FIRST_KNOCK_S", 0.1)
    monkeypatch.setattr(outage, "LAST_KNOCK_S", 0.4)


def run(server: ScriptedServer, tmp_path: Path, **policy: Any) -> tuple[api.RunResult, api.Watch]:
    bank = write_bank(tmp_path / "bank.jsonl", [pair(k) for k in range(1, 31)])
    watch = api.Watch()
    result = api.run(
        "openai-compatible/x",
        base_url=server.base_url,
        judge="offline-fast",
        bank=[bank],
        out=tmp_path,
        name="r",
        policy=Policy(concurrency=6, max_attempts=2, **policy),
        watch=watch,
    )
    return result, watch


@pytest.mark.parametrize("how", ["reset", "503"])
def test_an_outage_longer_than_all_retries_costs_no_pair(how: str, tmp_path: Path) -> None:
    with Interrupted(before=20, down_s=4.0, how=how) as server:
        result, watch = run(server, tmp_path)

    assert result.exit_code == 0
    assert result.summary.overall.n == 60
    control = [n for messages, n in server.asked.items() if CONTROL_QUESTION in messages]
    assert sum(server.asked.values()) - sum(control) == 60  # nothing that was answered was asked again
    assert "is back" in watch.progress.note
    assert server.refused < 60  # it knocks, it does not hammer: 6 in flight for 4 s would be hundreds


def test_patience_ends_and_says_so_and_resume_goes_on(tmp_path: Path) -> None:
    with Interrupted(before=20, down_s=3.0, how="reset") as server:
        with pytest.raises(
            TargetStop, match=r"nobody was there for 0\.0 minutes \(--patience\); check endpoint and network, then"
        ):
            run(server, tmp_path, patience_s=1.0)
        threading.Event().wait(3.0)  # until it is back
        result = api.resume("r", out=tmp_path)

    assert result.exit_code == 0
    assert result.summary.overall.n == 60


def test_one_question_that_always_fails_is_no_outage(tmp_path: Path) -> None:
    poison = pair(3).question
    with ScriptedServer(faults={poison: ["500"] * 50}) as server:
        result, _ = run(server, tmp_path)

    assert result.exit_code == 1
    assert (result.summary.unanswered, result.summary.overall.n) == (2, 58)


def test_one_slow_question_among_answered_ones_is_no_outage(tmp_path: Path) -> None:
    with ScriptedServer(faults={pair(3).question: ["hang"] * 50}) as server:
        result, _ = run(server, tmp_path, timeout_s=0.5)

    assert result.summary.unanswered == 2
    assert sum(n for messages, n in server.asked.items() if CONTROL_QUESTION in messages) == 1


def test_a_server_that_loads_its_model_is_waited_for_from_the_first_call_on(tmp_path: Path) -> None:
    with Interrupted(before=0, down_s=4.0, how="loading") as server:
        result, watch = run(server, tmp_path)

    assert result.exit_code == 0
    assert result.summary.overall.n == 60
    assert "is back" in watch.progress.note
    assert server.refused < 60


def test_a_server_that_never_ends_loading_stops_the_run_in_its_own_words(tmp_path: Path) -> None:
    with (
        Interrupted(before=0, down_s=60.0, how="loading") as server,
        pytest.raises(TargetStop, match=r"still loaded its model after 0\.0 minutes \(--patience\)"),
    ):
        run(server, tmp_path, patience_s=0.5)


def test_a_gateway_that_never_had_anybody_behind_it_is_not_waited_for(tmp_path: Path) -> None:
    with (
        Interrupted(before=0, down_s=60.0, how="503") as server,
        pytest.raises(NobodyThere, match="check --base-url"),
    ):
        run(server, tmp_path)
