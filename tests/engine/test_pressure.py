"""Concurrency that follows what the endpoint bears: it falls with refusals and rises again with answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from scsafety import api
from scsafety.engine.settings import Policy
from scsafety.targets import chat
from scsafety.targets.chat import Gate, Limits
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Small(ScriptedServer):
    """Bears `room` requests at once and refuses the others, without saying for how long."""

    def __init__(self, room: int) -> None:
        super().__init__(latency_s=0.03)
        self.room, self.refused, self.at_once = room, 0, 0

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        if self.at_once >= self.room:
            self.refused += 1
            return web.json_response({"error": {"message": "too many at once", "code": "rate_limit"}}, status=429)
        self.at_once += 1
        try:
            return await super()._respond(request)
        finally:
            self.at_once -= 1


def test_a_small_endpoint_is_found_out_and_every_pair_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "NARROW_EVERY_S", 0.1)
    bank = write_bank(tmp_path / "bank.jsonl", [pair(k) for k in range(1, 121)])
    watch = api.Watch()
    with Small(room=5) as server:
        result = api.run(
            "openai-compatible/x",
            base_url=server.base_url,
            judge="offline-fast",
            bank=[bank],
            out=tmp_path,
            policy=Policy(concurrency=48, max_attempts=8),
            watch=watch,
        )

    assert result.exit_code == 0
    assert result.summary.overall.n == 240
    assert server.refused < 240  # at a constant 48 in flight nearly nine of ten tries are refused


def test_the_width_falls_by_a_factor_and_rises_by_one_a_round() -> None:
    async def work() -> list[int]:
        gate = Gate(Limits(concurrency=10))
        seen = [gate.width]
        gate.narrow()
        seen.append(gate.width)
        gate.narrow()  # at once again: the same burst
        seen.append(gate.width)
        for _ in range(8):
            gate.widen()
        seen.append(gate.width)
        for _ in range(100):
            gate.widen()
        return [*seen, gate.width]

    assert asyncio.run(work()) == [10, 7, 7, 8, 10]


def test_no_more_than_the_width_are_in_flight_and_all_get_their_turn() -> None:
    async def work() -> tuple[int, int]:
        gate = Gate(Limits(concurrency=4))
        now = most = done = 0

        async def one(k: int) -> None:
            nonlocal now, most, done
            async with gate.passed(1):
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.001 * (k % 3))
                now -= 1
                done += 1

        await asyncio.gather(*(one(k) for k in range(200)))
        return most, done

    assert asyncio.run(work()) == (4, 200)


def test_a_cancelled_waiter_gives_its_turn_away() -> None:
    async def work() -> bool:
        gate = Gate(Limits(concurrency=1))
        await gate.enter(1)
        first = asyncio.create_task(gate.enter(1))
        second = asyncio.create_task(gate.enter(1))
        await asyncio.sleep(0)
        first.cancel()
        gate.leave()
        await asyncio.wait_for(second, 1)
        return second.done()

    assert asyncio.run(work())
