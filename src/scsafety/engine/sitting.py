"""One sitting: open target and judge, let the engine work, end in good order whatever happens."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import platform
import signal
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from scsafety.dialogue import SuiteRounds, strategy_named
from scsafety.engine.control import ask_control
from scsafety.engine.engine import ask_and_judge, is_finished, judge_only
from scsafety.engine.events import Progress, SittingEnded, SittingStarted
from scsafety.engine.opening import check_target, flagged_text_of, form_hash, open_judge, open_suite_judge, open_target
from scsafety.errors import ConfigError, ScsafetyError, TargetStop
from scsafety.judge.base import case_of
from scsafety.suites import suite_named
from scsafety.targets.first_token import FirstToken
from scsafety.targets.providers import asks_control_question

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from scsafety.dialogue import Strategy
    from scsafety.engine.budget import Budget
    from scsafety.engine.settings import Policy, RunSettings
    from scsafety.judge import Judge
    from scsafety.records import Call, JudgeCard, Sampling
    from scsafety.store import Store
    from scsafety.targets.base import Note
    from scsafety.targets.chat import ChatTarget
    from scsafety.targets.models import PullProgress
    from scsafety.targets.plugin import LimitedTarget
    from scsafety.targets.providers import Endpoint

Result = TypeVar("Result")

UVLOOP_FROM = 200  # calls in flight
COLLECT_AFTER = (20_000, 20, 50)  # objects, and rounds of the generation below


class Terminated(ScsafetyError):
    """SIGTERM; everything that was answered is kept."""

    exit_code = 143


class Watch(msgspec.Struct):
    """Who looks on: counts that the engine brings up to date, and a hook for downloads."""

    progress: Progress = msgspec.field(default_factory=Progress)
    on_pull: Callable[[PullProgress], None] | None = None


class Opened(NamedTuple):
    """Who takes part in a sitting, ready to be asked."""

    endpoint: Endpoint | None  # the target's; None: embedded
    target: ChatTarget | LimitedTarget
    judge: Judge
    attacker: ChatTarget | LimitedTarget | None


@asynccontextmanager
async def opened(
    settings: RunSettings, judge_id: str, judge_url: str | None, policy: Policy, *, on_retry: Callable[[Note], None]
) -> AsyncIterator[Opened]:
    """Raises ConfigError and MachineError."""
    endpoint = check_target(settings.model, settings.base_url)
    if form_hash(endpoint) != settings.form_sha256:
        raise ConfigError(
            f"{settings.model} has changed since this run began, and answers of two kinds would be mixed; put it back as it was, "
            "or start a new run"
        )
    async with AsyncExitStack() as stack:
        judge = await stack.enter_async_context(judge_for(settings, judge_id, judge_url, policy, on_retry=on_retry))
        target = await stack.enter_async_context(
            open_target(
                settings.model,
                settings.base_url,
                policy,
                concurrency=policy.concurrency,
                on_retry=on_retry,
                thinking=settings.thinking,
            )
        )
        attacker = (
            await stack.enter_async_context(attacker_for(settings, policy, on_retry=on_retry))
            if settings.attacker
            else None
        )
        yield Opened(endpoint, target, judge, attacker)


async def hold_sitting(store: Store, settings: RunSettings, policy: Policy, watch: Watch) -> None:
    """Ask what is unanswered and judge what is unjudged, with the run's primary judge.

    Nothing is opened where nothing is left to do. Raises ConfigError where the judge is no longer the one that began.
    """
    primary = store.primary_judge()
    if primary is not None and nothing_left(store, settings, primary):
        return
    judge_id, judge_url = judge_of(store, settings, primary)
    async with opened(settings, judge_id, judge_url, policy, on_retry=watch.progress.noted) as at_hand:
        check_same_judge(store, primary, at_hand.judge.card)
        made: list[Call] = []
        try:
            if (
                at_hand.endpoint is not None
                and asks_control_question(at_hand.endpoint)
                and left_to_ask(store, settings)
            ):
                made.append(await control(store, at_hand.target, settings.sampling))
            await ask_with(at_hand, store, settings, policy, watch.progress, made=made)
        finally:
            record_refused(store, at_hand.target.refused_parameters)


async def ask_with(
    at_hand: Opened,
    store: Store,
    settings: RunSettings,
    policy: Policy,
    progress: Progress,
    *,
    made: Sequence[Call] = (),
    budget: Budget | None = None,
) -> None:
    """`ask_and_judge` with those who are at hand."""
    await ask_and_judge(
        store,
        settings,
        policy,
        target=FirstToken(at_hand.target) if _measured(settings) else at_hand.target,
        strategy=strategy_for(settings),
        judge=at_hand.judge,
        progress=progress,
        flagged_text=flagged_text_of(at_hand.endpoint),
        made=made,
        attacker=at_hand.attacker,
        budget=budget,
    )


def nothing_left(store: Store, settings: RunSettings, primary: JudgeCard) -> bool:
    return is_finished(store, settings, strategy_for(settings), primary.key)


def judge_of(store: Store, settings: RunSettings, primary: JudgeCard | None) -> tuple[str, str | None]:
    """The judge that goes on with a run, as it is written and its address."""
    if primary is None:
        return settings.judge, settings.judge_base_url
    return primary.judge_id, judge_url_of(store, settings, primary)


def judge_url_of(store: Store, settings: RunSettings, card: JudgeCard) -> str | None:
    """The address that a judge was named with, with `judge` or with the run."""
    return store.meta(_url_key(card.key)) or settings.address_of(card.judge_id)


def check_same_judge(store: Store, primary: JudgeCard | None, card: JudgeCard) -> None:
    """Raises ConfigError where the judge is no longer the one that began."""
    if primary is not None and card.key != primary.key:
        raise ConfigError(
            f"the judge has changed since this run began ({primary.key} -> {card.key}); judge all answers anew with "
            f"`scsafety judge {store.path.parent.name} --judge {primary.judge_id} --primary`, then resume"
        )


def _measured(settings: RunSettings) -> bool:
    ref = settings.suite
    return ref is not None and ref.variant in suite_named(ref.name).first_token


def left_to_ask(store: Store, settings: RunSettings) -> bool:
    return len(store.finished()) < len(store.content_hashes()) * settings.epochs


async def control(store: Store, target: ChatTarget | LimitedTarget, sampling: Sampling) -> Call:
    """Raises TargetStop where even a harmless question is blocked; where it fails in another way the items are tried."""
    reply, call = await ask_control(store, target, sampling)
    if reply is not None and reply.blocked:
        raise TargetStop(
            f"{target.label}: a harmless control question was blocked ({reply.blocked}), so the vendor's filter looks out of "
            f"order and no item was asked; `scsafety resume {store.path.parent.name}` goes on later",
            kind="blocked",
        )
    return call


def attacker_for(
    settings: RunSettings, policy: Policy, *, on_retry: Callable[[Note], None]
) -> AbstractAsyncContextManager[ChatTarget | LimitedTarget]:
    """The attacker of an adaptive run, to be opened; the policy's rates are the target's."""
    model = settings.attacker or ""
    return open_target(
        model,
        settings.attacker_base_url,
        msgspec.structs.replace(policy, rpm=None, tpm=None),
        concurrency=policy.concurrency,
        on_retry=on_retry,
    )


def strategy_for(settings: RunSettings) -> Strategy:
    """The strategy of a run; a suite's own makes the suite's second requests. Raises ConfigError."""
    suite = suite_named(settings.suite.name) if settings.suite is not None else None
    if suite is None or not suite.again or settings.strategy != SuiteRounds.name:
        return strategy_named(settings.strategy, settings.attack)
    return SuiteRounds(lambda item, turn: suite.second_request(case_of(item, turn)))


def judge_for(
    settings: RunSettings, judge_id: str, judge_url: str | None, policy: Policy, *, on_retry: Callable[[Note], None]
) -> AbstractAsyncContextManager[Judge]:
    """The judge of a run, to be opened: of its suite where it has one."""
    if settings.suite is None:
        return open_judge(judge_id, judge_url, policy, on_retry=on_retry)
    return open_suite_judge(judge_id, judge_url, policy, suite_named(settings.suite.name), on_retry=on_retry)


async def judge_anew(
    store: Store,
    settings: RunSettings,
    judge_id: str,
    judge_url: str | None,
    policy: Policy,
    watch: Watch,
    *,
    primary: bool,
) -> JudgeCard:
    """Let another judge give its verdicts on the stored answers; returns who it was. primary: it becomes the summary's."""
    async with judge_for(settings, judge_id, judge_url, policy, on_retry=watch.progress.noted) as judge:
        introduce(store, judge.card, judge_url, primary=primary)
        await judge_only(store, policy, judge=judge, progress=watch.progress)
        return judge.card


def introduce(store: Store, card: JudgeCard, url: str | None, *, primary: bool) -> None:
    """Make a judge known to a run; the first one is primary in any case."""
    store.add_judge(card, primary=primary or store.primary_judge() is None)
    if url is not None:
        store.set_meta(_url_key(card.key), url)


def _url_key(judge_key: str) -> str:
    return f"judge_base_url {judge_key}"


def record_refused(store: Store, parameters: Sequence[str]) -> None:
    """What the target refused to be sent, as a fact of the run."""
    if parameters:
        store.set_meta("refused_parameters", msgspec.json.encode(parameters).decode())


@contextmanager
def telling(
    store: Store, settings: RunSettings, policy: Policy, watch: Watch, *, judge: str | None = None
) -> Iterator[None]:
    """Tells of the sitting that the block holds: that it starts, and why it ended.

    judge: a judge that is let loose on the stored answers; None where the target is asked.
    """
    progress = watch.progress
    tell = progress.on_event
    if tell is None:
        yield
        return
    tell(
        SittingStarted(
            run=store.path.parent.name,
            target=settings.model if judge is None else None,
            judge=judge or settings.judge,
            settings=hashlib.sha256(msgspec.json.encode(settings)).hexdigest()[:12],
            versions={"scsafety": version("scsafety"), "python": platform.python_version()},
            policy=msgspec.structs.asdict(policy),
        )
    )
    why, message = "error", ""
    try:
        yield
        why, message = ("cap", progress.stopped) if progress.stopped else ("done", "")
    except Terminated:
        why = "terminated"
        raise
    except KeyboardInterrupt:
        why = "interrupted"
        raise
    except BaseException as error:
        message = str(error) if isinstance(error, ScsafetyError) else type(error).__name__
        raise
    finally:
        counts = ("turns_done", "turns_failed", "verdicts_done", "unjudged", "retries")
        tell(SittingEnded(why=why, message=message, **{name: getattr(progress, name) for name in counts}))


def drive(work: Coroutine[Any, Any, Result], store: Store, *, in_flight: int = 0) -> Result:
    """Run to the end; Ctrl-C and SIGTERM end it early with everything answered committed.

    in_flight: calls that may be made at once.
    """

    async def main() -> Result:
        with _terminable(asyncio.current_task()):
            return await work

    try:
        with _seldom_collecting(), asyncio.Runner(loop_factory=_loop_factory(in_flight)) as runner:
            return runner.run(main())
    finally:
        store.flush()


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Looks for cycles seldom, and not among what was there before: thousands of calls a second make next to none, and the
    search took a quarter of their CPU.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _loop_factory(in_flight: int) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, wherever it runs, for very many calls at once. It takes answers in batches, and with fewer calls they wait longer
    for their turn than it saves.
    """
    if in_flight < UVLOOP_FROM:
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@contextmanager
def _terminable(task: asyncio.Task[Any] | None) -> Iterator[None]:
    """Turns SIGTERM into `Terminated`, where the system and the thread allow it."""
    loop, caught = asyncio.get_running_loop(), []

    def stop() -> None:
        caught.append(True)
        if task is not None:
            task.cancel()

    try:
        loop.add_signal_handler(signal.SIGTERM, stop)
    except (NotImplementedError, RuntimeError, ValueError):
        yield
        return
    try:
        yield
    except asyncio.CancelledError:
        if caught:
            raise Terminated("terminated; everything that was answered is kept") from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
