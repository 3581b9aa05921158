"""Runs carried out, gone on with and judged anew, here or on a cluster; and a rehearsal without a model."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.api.finishing import Rejudged, RunResult, finish
from scsafety.api.folders import DB_NAME, DEFAULT_OUT, find_run, settings_of
from scsafety.api.planning import Plan, plan
from scsafety.bank import load_bank
from scsafety.dialogue import PLACEHOLDER_VERSION, strategy_named
from scsafety.engine.budget import check_prices
from scsafety.engine.checkup import machine_findings, offline_finding
from scsafety.engine.endpoint_checks import judge_findings, target_findings
from scsafety.engine.engine import ask_and_judge
from scsafety.engine.events import Progress
from scsafety.engine.opening import check_judge, check_target, fetch_models, judge_address
from scsafety.engine.settings import Policy, RunSettings, refuse_changes
from scsafety.engine.sitting import Watch, drive, hold_sitting, judge_anew, telling
from scsafety.errors import ConfigError
from scsafety.judge.spec import models_of, parse_judge
from scsafety.records import Message, Reply, utc_now
from scsafety.store import Store
from scsafety.suites import suite_named
from scsafety.targets.prices import load_prices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scsafety.cluster import Cluster
    from scsafety.engine.diagnosis import Finding


def run(
    model: str,
    *,
    policy: Policy | None = None,
    watch: Watch | None = None,
    cluster: Cluster | None = None,
    **given: Any,
) -> RunResult:
    """Plan and carry out one run; see `plan` for what can be given.

    Raises the errors of `plan`, TargetStop, MachineError and StoreError; what was answered is kept.
    """
    return carry_out(plan(model, **given), policy=policy, watch=watch, cluster=cluster)


def carry_out(
    planned: Plan, *, policy: Policy | None = None, watch: Watch | None = None, cluster: Cluster | None = None
) -> RunResult:
    """Create the run of a plan, ask and judge everything, and write summary and report.

    cluster: by workers on a Ray cluster; None: by this process.
    """
    settings = planned.settings
    _check_caps(policy, *settings.asked, judge=settings.judge)
    meta = {
        "settings": msgspec.json.encode(settings).decode(),
        "name": planned.name,
        "created_at": utc_now(),
    }
    watch, policy = watch or Watch(), policy or Policy()
    if cluster is None:
        fetch_models(*settings.asked, judge=settings.judge, on_pull=watch.on_pull)
    with _at_hand(cluster), Store.create(planned.folder / DB_NAME, meta, planned.items) as store:
        planned.items = ()  # from here on they are the store's; of a large bank they would be most of the memory
        _hold(store, settings, policy, watch, cluster)
        return finish(store, planned.folder)


def _at_hand(cluster: Cluster | None) -> AbstractContextManager[None]:
    """The cluster, where one is wanted."""
    if cluster is None:
        return nullcontext()
    from scsafety.cluster import connected

    return connected(cluster)


def _hold(store: Store, settings: RunSettings, policy: Policy, watch: Watch, cluster: Cluster | None) -> None:
    """One sitting, here or on a cluster."""
    with telling(store, settings, policy, watch):
        if cluster is None:
            drive(hold_sitting(store, settings, policy, watch), store, in_flight=policy.in_flight)
        else:
            from scsafety.cluster import hold_on_cluster

            drive(hold_on_cluster(store, settings, policy, watch, cluster), store)


def resume(
    run: str | Path,
    *,
    policy: Policy | None = None,
    watch: Watch | None = None,
    cluster: Cluster | None = None,
    out: str | Path = DEFAULT_OUT,
    **given: Any,
) -> RunResult:
    """Ask what is unanswered and judge what is unjudged; what is stored is final.

    cluster: as in `carry_out`. given: settings that the caller believes to be the run's; ConfigError where one differs (model,
    base_url, strategy, attacker, system, temperature, max_tokens, seed, epochs, thinking, only, limit, bank).
    """
    folder = find_run(run, out)
    with _at_hand(cluster), Store.open(folder / DB_NAME, write=True) as store:
        settings = settings_of(store)
        bank = given.pop("bank", None)
        if bank:
            given["bank_hash"] = load_bank(bank).hash
        if given.get("base_url") and (endpoint := check_target(settings.model, given["base_url"])):
            given["base_url"] = endpoint.base_url
        if given.get("attacker_base_url") and settings.attacker:
            endpoint = check_target(settings.attacker, given["attacker_base_url"])
            given["attacker_base_url"] = endpoint.base_url if endpoint else None
        refuse_changes(settings, given)
        strategy = strategy_named(settings.strategy, settings.attack)
        if (strategy.version, PLACEHOLDER_VERSION) != (settings.strategy_version, settings.placeholder_version):
            raise ConfigError(
                f"this scsafety would ask differently from the one that began {folder.name} (strategy {settings.strategy} "
                f"v{settings.strategy_version} -> v{strategy.version}); finish it with that version, or start a new run"
            )
        ref = settings.suite
        if ref is not None and (version := suite_named(ref.name).version) != ref.version:
            raise ConfigError(
                f"this scsafety would ask or read differently from the one that began {folder.name} (suite {ref.name} "
                f"v{ref.version} -> v{version}); finish it with that version, or start a new run"
            )
        _check_caps(policy, *settings.asked, judge=settings.judge)
        watch, policy = watch or Watch(), policy or Policy()
        if cluster is None:
            fetch_models(*settings.asked, judge=settings.judge, on_pull=watch.on_pull)
        _hold(store, settings, policy, watch, cluster)
        return finish(store, folder)


def judge_run(
    run: str | Path,
    judge: str,
    *,
    primary: bool = False,
    judge_base_url: str | None = None,
    policy: Policy | None = None,
    watch: Watch | None = None,
    cluster: Cluster | None = None,
    out: str | Path = DEFAULT_OUT,
) -> RunResult:
    """Judge a run's stored answers with another judge; the target is not asked. primary: the summary becomes its.

    The result's `rejudged` says what this judge left unjudged, whoever the summary's judge is.
    cluster: as in `carry_out`.
    """
    folder = find_run(run, out)
    check_judge(judge, judge_base_url)
    _check_caps(policy, judge=judge)
    with _at_hand(cluster), Store.open(folder / DB_NAME, write=True) as store:
        watch, policy, settings = watch or Watch(), policy or Policy(), settings_of(store)
        if cluster is None:
            fetch_models(judge=judge, on_pull=watch.on_pull)
        with telling(store, settings, policy, watch, judge=judge):
            if cluster is None:
                judging = judge_anew(store, settings, judge, judge_base_url, policy, watch, primary=primary)
                card = drive(judging, store, in_flight=policy.in_flight)
            else:
                from scsafety.cluster import judge_on_cluster

                judging = judge_on_cluster(
                    store, settings, judge, judge_base_url, policy, watch, cluster, primary=primary
                )
                card = drive(judging, store)
        rejudged = Rejudged(judge=card.judge_id, unjudged=len(store.unjudged(card.key)))
        return msgspec.structs.replace(finish(store, folder), rejudged=rejudged)


def checkup(
    model: str | None = None,
    *,
    base_url: str | None = None,
    judge: str | None = None,
    judge_base_url: str | None = None,
    offline: bool = False,
    out: str | Path = DEFAULT_OUT,
) -> Iterator[Finding]:
    """What a run needs, looked at one after the other: this machine, then the target and the judge, where they are named."""
    yield from machine_findings(Path(out))
    if offline:
        yield offline_finding(rehearse)
    if model is not None:
        yield from target_findings(model, base_url)
    if judge is not None:
        yield from judge_findings(judge, judge_address(judge, judge_base_url, model or "", base_url))


def rehearse(out: Path) -> int:
    """A run of one pair a sub-dimension on a stand-in without a model; returns the number of turns. For `doctor`."""
    from scsafety.judge.offline_fast import OfflineFastJudge

    class StandIn:
        label = "stand-in"

        async def ask(self, messages: Sequence[Message], *_: object, **__: object) -> Reply:
            return Reply(content=f"建议先和对方沟通，注意其中的风险。（{len(messages)}）", finish_reason="stop")

    planned = plan(
        "openai-compatible/stand-in", base_url="http://127.0.0.1/v1", judge="offline-fast", limit=1, out=out, environ={}
    )
    meta = {"settings": msgspec.json.encode(planned.settings).decode()}
    progress = Progress()
    with Store.create(planned.folder / DB_NAME, meta, planned.items) as store:
        asking = ask_and_judge(
            store,
            planned.settings,
            Policy(),
            target=StandIn(),
            strategy=strategy_named(planned.settings.strategy),
            judge=OfflineFastJudge(),
            progress=progress,
        )
        drive(asking, store)
        finish(store, planned.folder)
    return progress.turns_done


def _check_caps(policy: Policy | None, *models: str, judge: str) -> None:
    """A cap on cost needs every price. Raises ConfigError."""
    if policy is not None and policy.max_cost is not None:
        check_prices(policy.max_cost, [*models, *models_of(parse_judge(judge))], load_prices())
