"""The transport against a real server on loopback."""

from __future__ import annotations

import asyncio
import gzip
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from scsafety.errors import CallFailed, TargetStop
from scsafety.records import Message, Sampling
from scsafety.targets.chat import MAX_BODY_BYTES, ChatTarget, Limits
from scsafety.targets.providers import Endpoint, resolve
from tests.scripted_server import ScriptedServer, completion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "sk-planted-0123456789"
PLAIN = Sampling()
QUESTION = (Message("user", "你好"),)


@asynccontextmanager
async def target_of(
    server: ScriptedServer, model: str = "openai-compatible/x", **limits: Any
) -> AsyncIterator[ChatTarget]:
    environ = {"SCSAFETY_API_KEY": KEY, "OPENAI_API_KEY": KEY, "SPARK_API_KEY": KEY, "AZURE_OPENAI_API_KEY": KEY}
    endpoint = resolve(model, base_url=server.base_url, environ=environ)
    async with aiohttp.ClientSession() as session:
        yield ChatTarget(endpoint, session, Limits(**limits), rng=random.Random(1))


def ask(server: ScriptedServer, sampling: Sampling = PLAIN, model: str = "openai-compatible/x", **limits: Any) -> Any:
    async def work() -> Any:
        async with target_of(server, model, **limits) as target:
            return await target.ask(QUESTION, sampling), target.refused_parameters

    return asyncio.run(work())


def test_only_what_the_user_asked_for_is_sent() -> None:
    with ScriptedServer() as server:
        ask(server)

        assert server.bodies == [{"model": "x", "messages": [{"role": "user", "content": "你好"}], "stream": False}]
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_key_goes_where_the_vendor_wants_it() -> None:
    with ScriptedServer() as server:
        endpoint = resolve("azure/gpt", base_url=server.base_url, environ={"AZURE_OPENAI_API_KEY": KEY})
        at_root = msgspec.structs.replace(endpoint, base_url=server.base_url)

        asyncio.run(_ask_endpoint(at_root))

        assert server.headers[0]["api-key"] == KEY
        assert "Authorization" not in server.headers[0]


def test_a_reasoning_model_gets_its_own_token_field_and_no_temperature() -> None:
    with ScriptedServer() as server:
        ask(server, Sampling(temperature=0.0, max_tokens=9), "openai/o3-mini")

        assert server.bodies[0]["max_completion_tokens"] == 9
        assert not {"max_tokens", "temperature"} & server.bodies[0].keys()


def test_a_vendor_without_temperature_zero_gets_the_least_it_takes() -> None:
    with ScriptedServer() as server:
        ask(server, Sampling(temperature=0.0), "spark/4.0Ultra")

        assert server.bodies[0]["temperature"] == 0.01


def test_max_tokens_refused_at_run_time_is_sent_under_its_other_name() -> None:
    class Newer(ScriptedServer):
        async def _respond(self, request: web.Request) -> web.StreamResponse:
            if "max_tokens" in await request.json():
                error = {
                    "message": "Unsupported parameter: 'max_tokens'",
                    "code": "unsupported_parameter",
                    "param": "max_tokens",
                }
                return web.json_response({"error": error}, status=400)
            return await super()._respond(request)

    with Newer() as server:
        reply, refused = ask(server, Sampling(max_tokens=7))

        assert server.bodies[0]["max_completion_tokens"] == 7
        assert refused == ["max_tokens"]
        assert reply.attempts == 2


def test_retry_after_holds_up_every_call_to_the_endpoint() -> None:
    with ScriptedServer(faults={"先": ["429"]}) as server:

        async def work() -> float:
            async with target_of(server) as target:
                first = asyncio.create_task(target.ask((Message("user", "先"),), Sampling()))
                while not server.bodies:  # noqa: ASYNC110 (the server is on another thread)
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.05)
                began = time.monotonic()
                await target.ask((Message("user", "后"),), Sampling())
                waited = time.monotonic() - began
                await first
                return waited

        assert asyncio.run(work()) > 0.1  # of the 0.2 s that the server asked for


def test_a_call_that_never_succeeds_fails_after_its_tries_and_says_why() -> None:
    with ScriptedServer(always="500") as server, pytest.raises(CallFailed, match=r"transient: .*boom") as caught:
        ask(server, max_attempts=3)

    assert caught.value.attempts == len(server.bodies) == 3


def test_a_bad_request_is_not_tried_again() -> None:
    class Strict(ScriptedServer):
        async def _respond(self, request: web.Request) -> web.StreamResponse:
            self.bodies.append(await request.json())
            return web.json_response({"error": {"message": f"too long, {KEY}"}}, status=400)

    with Strict() as server, pytest.raises(CallFailed, match=r"bad_request: too long, \*\*\*") as caught:
        ask(server)

    assert len(server.bodies) == 1
    assert KEY not in str(caught.value)


def test_an_endpoint_where_nobody_ever_was_stops_the_run_and_names_the_reason() -> None:
    with ScriptedServer() as server:
        pass  # its port is free again

    with pytest.raises(TargetStop, match=r"nobody is there: check --base-url .*ClientConnectorError"):
        ask(server, max_attempts=2)


@pytest.mark.parametrize(("fault", "words"), [("401", "SCSAFETY_API_KEY"), ("402", "top it up")])
def test_what_no_retry_can_mend_stops_at_once(fault: str, words: str) -> None:
    with ScriptedServer(always=fault) as server, pytest.raises(TargetStop, match=words):
        ask(server)

    assert len(server.bodies) == 1


def test_a_gzip_bomb_is_not_unpacked_beyond_the_bound() -> None:
    bomb = gzip.compress(b" " * (MAX_BODY_BYTES * 4))

    class Bomber(ScriptedServer):
        async def _respond(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002
            return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    with Bomber() as server, pytest.raises(CallFailed, match="larger than 8 MiB"):
        ask(server, max_attempts=1)


def test_requests_a_minute_are_spaced_out() -> None:
    with ScriptedServer() as server:

        async def work() -> float:
            async with target_of(server, rpm=600) as target:
                began = time.monotonic()
                await asyncio.gather(*(target.ask(QUESTION, Sampling()) for _ in range(5)))
                return time.monotonic() - began

        assert asyncio.run(work()) > 0.35  # 600 a minute are 0.1 s apart


def test_what_the_endpoint_said_of_itself_is_kept() -> None:
    with ScriptedServer(lambda _: completion("答")) as server:
        reply, _ = ask(server)

    assert (reply.content, reply.model, reply.request_id, reply.fingerprint) == ("答", "scripted-1", "req-1", "fp_1")
    assert (reply.prompt_tokens, reply.completion_tokens, reply.finish_reason) == (10, 5, "stop")


async def _ask_endpoint(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session:
        await ChatTarget(endpoint, session, Limits()).ask(QUESTION, Sampling())
