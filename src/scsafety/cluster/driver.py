"""Spreads the shards of a run over the workers of a Ray cluster and takes what they bring into the run's store.

The store stays here, under its one writer; a worker gets an excerpt and gives it back filled. A worker that is lost costs
what it had in hand: those pairs are asked again by another one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
from collections import Counter, deque
from contextlib import contextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from scsafety.cluster.shares import LANES, Allowance, Purse, shards_of, shares_of
from scsafety.cluster.worker import COUNTS, Job, Outcome, Ready, ShardWorker, Trouble
from scsafety.engine.engine import count_stored, unfinished_items, unwrapped
from scsafety.engine.interrupt import interruptible
from scsafety.engine.opening import check_target, open_target, runs_models_here
from scsafety.engine.sitting import (
    check_same_judge,
    control,
    introduce,
    judge_of,
    left_to_ask,
    nothing_left,
    record_refused,
    strategy_for,
)
from scsafety.errors import ConfigError, MachineError
from scsafety.targets.base import Note
from scsafety.targets.providers import asks_control_question

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scsafety.engine.settings import Policy, RunSettings
    from scsafety.engine.sitting import Watch
    from scsafety.records import Call, JudgeCard
    from scsafety.store import Store

COUNT_EVERY_S = 0.5
CONNECT_S = 10.0
LOSSES = 3  # of one shard: then it is more likely the shard's doing than the nodes'
STOPPING_S = 15.0  # that workers are given to bring back what they have


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run is spread to."""

    address: str | None = None  # of a Ray cluster that runs; None: one on this machine, for as long as the run takes
    workers: int | None = None  # processes; None: one a processor, one a node where each runs a model

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--ray-workers {self.workers}: give 1 or more")


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported; nothing of a run goes anywhere
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--executor ray needs Ray: pip install 'scsafety[ray]'") from error
    return ray


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connected to the cluster; where this process already is, it stays so. Before an event loop runs: Ray takes signals over.

    Raises ConfigError and MachineError.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    if cluster.address and (where := _unreachable(cluster.address)):
        raise ConfigError(
            f"--ray-address {cluster.address}: nobody answers at {where}; `ray status` shows a cluster's address"
        )
    try:
        ray.init(
            address=cluster.address or "local",
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if cluster.address else {"include_dashboard": False}),
        )
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"--ray-address {cluster.address}: no Ray cluster answers there ({_line(error)})") from error
    except RuntimeError as error:  # Ray's own, as for another version of it
        raise MachineError(f"Ray does not start: {_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _unreachable(address: str) -> str | None:
    """Host and port where nobody listens; Ray itself would try for a minute."""
    url = urlsplit(address if "://" in address else f"//{address}")
    try:
        if url.hostname is None or url.port is None:
            return None  # `auto` and the like
        socket.create_connection((url.hostname, url.port), timeout=CONNECT_S).close()
    except (OSError, ValueError):
        return url.netloc
    return None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


async def hold_on_cluster(store: Store, settings: RunSettings, policy: Policy, watch: Watch, cluster: Cluster) -> None:
    """As `hold_sitting`: ask what is unanswered and judge what is unjudged, by many workers."""
    primary = store.primary_judge()
    if primary is not None and nothing_left(store, settings, primary):
        return
    judge, url = judge_of(store, settings, primary)
    job = Job(
        run=store.path.parent.name, settings=settings, policy=policy, judge=judge, judge_base_url=url,
        events=watch.progress.on_event is not None,
    )  # fmt: skip
    made: list[Call] = []
    endpoint = check_target(settings.model, settings.base_url)
    if endpoint is not None and asks_control_question(endpoint) and left_to_ask(store, settings):
        opening = open_target(
            settings.model, settings.base_url, policy, concurrency=1, on_retry=watch.progress.noted, thinking=settings.thinking
        )  # fmt: skip
        async with opening as target:
            made.append(await control(store, target, settings.sampling))
    await _Spread(store, job, policy, watch, cluster, made=made).run(primary=False)


async def judge_on_cluster(
    store: Store,
    settings: RunSettings,
    judge: str,
    judge_base_url: str | None,
    policy: Policy,
    watch: Watch,
    cluster: Cluster,
    *,
    primary: bool,
) -> JudgeCard:
    """As `judge_anew`: another judge's verdicts on the stored answers, by many workers."""
    job = Job(
        run=store.path.parent.name, settings=settings, policy=policy, judge=judge, judge_base_url=judge_base_url,
        judge_alone=True, events=watch.progress.on_event is not None,
    )  # fmt: skip
    return await _Spread(store, job, policy, watch, cluster).run(primary=primary)


class _Slot:
    """A place for a worker with its share of the limits: whoever works here, no more than that is asked at once."""

    def __init__(self, number: int, job: Job) -> None:
        self.number, self.job = number, job
        self.worker: Any = None  # None: none yet, or it was lost
        self.opening = asyncio.Lock()


class _Spread:
    """One sitting over many workers."""

    def __init__(
        self, store: Store, job: Job, policy: Policy, watch: Watch, cluster: Cluster, *, made: Sequence[Call] = ()
    ) -> None:
        self._ray = _ray()
        self._store, self._job, self._progress = store, job, watch.progress
        self._shares = shares_of(policy, cluster.workers or _usual_workers(self._ray, job), judge_alone=job.judge_alone)
        self._slots = [_Slot(k, msgspec.structs.replace(job, policy=share)) for k, share in enumerate(self._shares)]
        self._purse = Purse(policy.max_calls, policy.max_cost, n_lanes=len(self._shares) * LANES)
        self._purse.spend(sum(call.attempts for call in made))
        self._changed, self._closing = asyncio.Condition(), asyncio.Event()
        self._waiting: deque[tuple[str, ...]] = deque()
        self._in_hand: dict[int, tuple[Any, Allowance]] = {}  # by a shard's number: what will come, what it may use
        self._numbers = count(1)
        self._losses: Counter[str] = Counter()  # by the first item of a shard
        self._base, self._done = Counter[str](), Counter[str]()  # counts before this sitting; of shards that came back
        self._card: JudgeCard | None = None
        self._refused: list[str] = []

    async def run(self, *, primary: bool) -> JudgeCard:
        """Returns the judge. primary: it becomes the run's. Raises what a sitting raises; all that came back is in the store."""
        try:
            async with interruptible(self, self._progress), unwrapped():
                card = await self._first_worker()
                before = self._store.primary_judge()
                if not self._job.judge_alone:
                    check_same_judge(self._store, before, card)
                introduce(self._store, card, self._job.judge_base_url, primary=primary)
                self._store.flush()
                self._count_before(card.key)
                self._waiting += shards_of(self._left(card.key), self._shares, judge_alone=self._job.judge_alone)
                async with asyncio.TaskGroup() as group:
                    beside = [group.create_task(self._count_on()), group.create_task(self._stop_on_close())]
                    async with asyncio.TaskGroup() as lanes:
                        for slot in self._slots * LANES:
                            lanes.create_task(self._lane(slot))
                    for task in beside:
                        task.cancel()
        finally:
            await self._end()
        self._progress.stopped = self._purse.spent
        return card

    def close(self, why: str) -> None:
        """Nothing more may start; what is in flight goes on."""
        self._purse.close(why)
        self._closing.set()

    async def _first_worker(self) -> JudgeCard:
        """Whose judge the others' must be; what keeps it from opening would keep all."""
        await self._worker(self._slots[0])
        if self._card is None:
            raise RuntimeError("a worker opened without a judge")
        return self._card

    def _count_before(self, judge_key: str) -> None:
        """What earlier sittings left, and what there is to do in all."""
        if self._job.judge_alone:
            self._base["turns_expected"] = len(self._store.unjudged(judge_key))
            return
        settings, progress = self._job.settings, self._progress
        count_stored(self._store, settings, strategy_for(settings), judge_key, progress)
        self._base.update({name: getattr(progress, name) for name in COUNTS})

    def _left(self, judge_key: str) -> list[str]:
        """Items with something to do, in the order of the run."""
        if self._job.judge_alone:
            return list(dict.fromkeys(key.item_id for key, _ in self._store.unjudged(judge_key)))
        settings = self._job.settings
        return unfinished_items(self._store, settings, strategy_for(settings), judge_key)

    # Workers

    async def _worker(self, slot: _Slot) -> Any:
        """The worker of a slot, ready; a new one where there is none. Raises ConfigError and MachineError."""
        async with slot.opening:
            if slot.worker is None:
                slot.worker = await self._new_worker(slot)
        return slot.worker

    async def _new_worker(self, slot: _Slot) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for trial in range(LOSSES):
            nodes = _places(self._ray.nodes())
            node = nodes[(slot.number + trial) % len(nodes)]  # one that is listed may be gone: then the next
            # no processor is reserved: a worker mostly waits for its endpoint, and on a busy cluster it would never begin
            actor = self._ray.remote(
                num_cpus=0, max_restarts=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            )(ShardWorker)
            worker = actor.remote(slot.job)
            try:
                ready: Ready | Trouble = await worker.open.remote()
            except self._ray.exceptions.RayTaskError:
                raise
            except self._ray.exceptions.RayError as error:
                self._ray.kill(worker)
                if trial == LOSSES - 1:
                    raise MachineError(f"no worker could be started on the cluster: {_line(error)}") from error
                continue
            if isinstance(ready, Trouble):
                raise ready.error()
            self._check(ready)
            return worker
        raise RuntimeError("unreachable")

    def _check(self, ready: Ready) -> None:
        """Raises ConfigError where a node would judge or ask in another way than the rest."""
        if ready.version != version("scsafety"):
            raise ConfigError(
                f"the node {ready.node} has scsafety {ready.version}, here is {version('scsafety')}; install the same everywhere"
            )
        self._card = self._card or ready.judge
        if ready.judge.key != self._card.key:
            raise ConfigError(
                f"the judge on the node {ready.node} is {ready.judge.key}, elsewhere it is {self._card.key}; give all nodes the "
                "same packages and files"
            )

    # Shards

    async def _lane(self, slot: _Slot) -> None:
        while (taken := await self._take()) is not None:
            await self._hold(slot, *taken)

    async def _take(self) -> tuple[tuple[str, ...], Allowance] | None:
        """The next shard and what it may use; None where nothing is to come."""
        async with self._changed:
            while (self._waiting or self._in_hand) and not self._purse.run_out():
                if self._waiting and (allowance := self._purse.part()) is not None:
                    return self._waiting.popleft(), allowance
                await self._changed.wait()
        return None

    async def _hold(self, slot: _Slot, shard: tuple[str, ...], allowance: Allowance) -> None:
        number = next(self._numbers)
        self._in_hand[number] = (None, allowance)
        worker = None
        try:
            worker = await self._worker(slot)
            coming = worker.hold.remote(number, self._excerpt(shard), allowance)
            self._in_hand[number] = (coming, allowance)
            outcome: Outcome = await coming
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            self._lose(slot, worker, number, shard, error)
        else:
            self._take_in(number, outcome)
            if outcome.trouble is not None:
                raise outcome.trouble.error()
            if outcome.unfinished:
                self._put_back(shard)
        async with self._changed:
            self._changed.notify_all()

    def _excerpt(self, shard: Sequence[str]) -> bytes:
        with tempfile.TemporaryDirectory(prefix="scsafety-") as folder:
            path = Path(folder) / "run.db"
            self._store.excerpt(path, shard)
            return path.read_bytes()

    def _take_in(self, number: int, outcome: Outcome) -> None:
        """What a worker brought back becomes the run's."""
        _, allowance = self._in_hand.pop(number)
        self._purse.settle(allowance, outcome.calls, outcome.cost)
        with tempfile.TemporaryDirectory(prefix="scsafety-") as folder:
            path = Path(folder) / "run.db"
            path.write_bytes(outcome.store)
            self._store.absorb(path)
        self._done.update(outcome.counts)
        self._refused += [name for name in outcome.refused_parameters if name not in self._refused]
        self._progress.retries += outcome.retries
        if self._progress.on_event is not None:
            for event in outcome.events:
                self._progress.on_event(event)

    def _put_back(self, shard: Sequence[str]) -> None:
        """What is left of a shard whose allowance ran out."""
        if self._card is not None and not self._purse.closed:
            left = set(self._left(self._card.key))
            if rest := tuple(item_id for item_id in shard if item_id in left):
                self._waiting.append(rest)

    def _lose(self, slot: _Slot, worker: Any, number: int, shard: tuple[str, ...], error: Exception) -> None:
        """A worker is gone, and with it what it had in hand. Raises MachineError where the shard seems to be the reason."""
        _, allowance = self._in_hand.pop(number)
        self._purse.settle(allowance, None, None)
        if slot.worker is worker is not None:
            slot.worker = None
            self._ray.kill(worker)  # where it only seems to be gone: two in one place would ask twice as much
        self._losses[shard[0]] += 1
        if self._losses[shard[0]] == LOSSES:
            raise MachineError(
                f"{LOSSES} workers were lost while they held {shard[0]} and {len(shard) - 1} more ({_line(error)}); look into "
                f"the nodes' memory and logs, then `scsafety resume {self._job.run}` goes on"
            )
        self._waiting.appendleft(shard)
        self._progress.noted(Note("ray", f"a worker was lost; its {len(shard)} items are asked again by another one"))

    # Progress and the end

    async def _stop_on_close(self) -> None:
        await self._closing.wait()
        await self._tell("stop")

    async def _count_on(self) -> None:
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            live = Counter[str]()
            for found in await self._tell("counts"):
                if isinstance(found, BaseException):
                    continue
                in_hand, note = found
                for number, counts in in_hand.items():
                    if number in self._in_hand:
                        live.update(counts)
                if note and not self._purse.closed:
                    self._progress.note = note
            self._show(live)

    def _show(self, live: Counter[str]) -> None:
        for name in COUNTS:
            setattr(self._progress, name, self._base[name] + self._done[name] + live[name])

    async def _tell(self, method: str, **given: Any) -> list[Any]:
        """What each worker says; an exception where it says nothing in time."""
        workers = [slot.worker for slot in self._slots if slot.worker is not None]
        saying = (asyncio.wait_for(_said(getattr(one, method).remote(**given)), STOPPING_S) for one in workers)
        return await asyncio.gather(*saying, return_exceptions=True)

    async def _end(self) -> None:
        """Has what is in hand brought back, in flight or not, and closes the workers."""
        if self._in_hand:
            await self._tell("stop", now=True)
        for number, (coming, _) in list(self._in_hand.items()):
            if coming is not None:
                try:
                    self._take_in(number, await asyncio.wait_for(_said(coming), STOPPING_S))
                except (self._ray.exceptions.RayError, TimeoutError):
                    continue  # it stays to be asked
        await self._tell("close")
        for slot in self._slots:
            if slot.worker is not None:
                self._ray.kill(slot.worker)
        self._show(Counter())
        record_refused(self._store, self._refused)
        self._store.flush()


async def _said(coming: Any) -> Any:
    return await coming


def _usual_workers(ray: Any, job: Job) -> int:
    places = _places(ray.nodes())
    alone = runs_models_here(*(() if job.judge_alone else job.settings.asked), judge=job.judge)
    return len(set(places) if alone else places)


def _places(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A node's id for each of its processors, the nodes by turns; nodes without any only where all are without."""
    alive = [(node["NodeID"], int(node["Resources"].get("CPU", 0))) for node in nodes if node["Alive"]]
    turns = [((k + 0.5) / n, node) for node, n in alive for k in range(n)]
    return [node for _, node in sorted(turns)] or [node for node, _ in alive]
