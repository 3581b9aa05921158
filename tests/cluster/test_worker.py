"""A worker as it stands on a node, without a cluster around it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from scsafety import api
from scsafety.cluster.shares import Allowance
from scsafety.cluster.worker import Job, Outcome, Ready, ShardWorker, Trouble
from scsafety.engine.events import TurnEnded
from scsafety.engine.settings import Policy
from scsafety.errors import ConfigError, StoreError, TargetStop
from scsafety.store import Store
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from pathlib import Path

N_PAIRS = 6


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    return write_bank(tmp_path / "bank.jsonl", [*(pair(k) for k in range(1, N_PAIRS + 1)), twin()])


def shard_of(bank: Path, server: ScriptedServer, folder: Path) -> tuple[Job, bytes]:
    """A job, and a run that has only been planned, as a shard."""
    planned = api.plan(
        "openai-compatible/t", base_url=server.base_url, judge="offline-fast", bank=[bank], benign=True, out=folder
    )
    with Store.create(folder / "whole.db", {"settings": "{}"}, planned.items) as store:
        store.excerpt(folder / "part.db", store.item_ids())
    policy = Policy(concurrency=2, judge_concurrency=2)
    job = Job(run="r", settings=planned.settings, policy=policy, judge="offline-fast", judge_base_url=None, events=True)
    return job, (folder / "part.db").read_bytes()


async def opened(job: Job) -> ShardWorker:
    worker = ShardWorker(job)
    ready = await worker.open()
    assert isinstance(ready, Ready)
    assert ready.judge.judge_id == "offline-fast"
    return worker


async def held_once(job: Job, shard: bytes) -> Outcome:
    worker = await opened(job)
    outcome = await worker.hold(1, shard, Allowance())
    await worker.close()
    return outcome


def counted(outcome: Outcome, folder: Path) -> tuple[int, int]:
    """Answers and verdicts in what came back."""
    (folder / "back.db").write_bytes(outcome.store)
    with Store.open(folder / "back.db") as store:
        tally = store.tally(store.judges()[0][0].key)
        return tally.answered, tally.judged


def test_a_shard_comes_back_answered_and_judged_with_its_counts_and_events(bank: Path, tmp_path: Path) -> None:
    with ScriptedServer(latency_s=0.02) as server:
        outcome = asyncio.run(held_once(*shard_of(bank, server, tmp_path)))

    n = 2 * N_PAIRS + 1
    assert counted(outcome, tmp_path) == (n, n)
    assert (outcome.counts["turns_done"], outcome.counts["verdicts_done"], outcome.counts["turns_failed"]) == (n, n, 0)
    assert (outcome.calls, outcome.unfinished, outcome.trouble, outcome.retries) == (n, False, None, 0)
    assert sum(isinstance(event, TurnEnded) for event in outcome.events) == n
    assert server.most_in_flight == 2


def test_a_shard_stops_where_its_allowance_ends_and_goes_on_from_there(bank: Path, tmp_path: Path) -> None:
    async def work(job: Job, shard: bytes) -> list[Outcome]:
        worker = await opened(job)
        outcomes = [await worker.hold(1, shard, Allowance(calls=5))]
        outcomes.append(await worker.hold(2, outcomes[0].store, Allowance()))
        await worker.close()
        return outcomes

    with ScriptedServer() as server:
        first, second = asyncio.run(work(*shard_of(bank, server, tmp_path)))

    assert (first.calls, first.unfinished, first.counts["turns_done"]) == (5, True, 5)
    assert (second.unfinished, second.counts["turns_done"]) == (False, 2 * N_PAIRS + 1 - 5)
    assert max(server.asked.values()) == 1


def test_a_worker_that_is_told_to_stop_brings_back_what_is_answered(bank: Path, tmp_path: Path) -> None:
    async def work(job: Job, shard: bytes, server: ScriptedServer) -> tuple[Outcome, int]:
        worker = await opened(job)
        holding = asyncio.create_task(worker.hold(1, shard, Allowance()))
        while len(server.bodies) < 4:  # noqa: ASYNC110 (the server is on a thread of its own)
            await asyncio.sleep(0.005)
        in_hand, _ = await worker.counts()
        await worker.stop(now=True)
        outcome = await holding
        await worker.close()
        return outcome, in_hand[1]["turns_done"]

    with ScriptedServer(latency_s=0.1) as server:
        job, shard = shard_of(bank, server, tmp_path)
        outcome, seen = asyncio.run(work(job, shard, server))

    answered, judged = counted(outcome, tmp_path)
    assert judged <= answered  # a verdict may have been on its way
    assert seen <= outcome.counts["turns_done"] == answered < 2 * N_PAIRS
    assert outcome.unfinished
    assert outcome.trouble is None


def test_a_refused_key_comes_back_as_the_error_that_it_is(bank: Path, tmp_path: Path) -> None:
    with ScriptedServer(always="401") as server:
        outcome = asyncio.run(held_once(*shard_of(bank, server, tmp_path)))

    assert outcome.trouble is not None
    error = outcome.trouble.error()
    assert isinstance(error, TargetStop)
    assert error.kind == "refused_key"
    assert "on the node" in str(error)


def test_what_keeps_a_node_from_opening_is_said_with_its_name(bank: Path, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        job, _ = shard_of(bank, server, tmp_path)
    broken = Job(run="r", settings=job.settings, policy=job.policy, judge="deepseek/x", judge_base_url=None)

    found = asyncio.run(ShardWorker(broken).open())

    assert isinstance(found, Trouble)
    assert isinstance(found.error(), ConfigError)
    assert "DEEPSEEK_API_KEY" in found.message
    assert "on the node" in found.message


def test_errors_of_every_kind_cross_the_wire() -> None:
    found = [Trouble.of(error).error() for error in (StoreError("s"), TargetStop("t", kind="quota"))]

    assert [type(error) for error in found] == [StoreError, TargetStop]
    assert [getattr(error, "kind", "") for error in found] == ["", "quota"]
