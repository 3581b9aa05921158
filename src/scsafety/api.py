"""The Python API: the commands of `scsafety` as functions.

>>> import scsafety                                                   # doctest: +SKIP
>>> result = scsafety.run("local/qwen2.5-coder-0.5b", quick=True)     # doctest: +SKIP
>>> result.summary.overall.score                                      # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.bank import load_bank, select_items
from scsafety.bank.standards import standard_named
from scsafety.dialogue import PLACEHOLDER_VERSION, AttackLimits, SuiteRounds, limits_for, strategy_named
from scsafety.engine.budget import check_prices
from scsafety.engine.checking import Session, check_judge_on, session_path
from scsafety.engine.checkup import machine_findings, offline_finding
from scsafety.engine.diagnosis import Finding
from scsafety.engine.endpoint_checks import judge_findings, target_findings
from scsafety.engine.engine import ask_and_judge
from scsafety.engine.events import Progress
from scsafety.engine.opening import check_judge, check_target, fetch_models, form_hash, judge_address, thinking_body
from scsafety.engine.settings import (
    DEFAULT_JUDGE,
    BankRef,
    Policy,
    RunSettings,
    Selection,
    SuiteRef,
    known_thinking,
    refuse_changes,
    usual_sampling,
)
from scsafety.engine.sitting import Terminated, Watch, drive, hold_sitting, judge_anew, strategy_for, telling
from scsafety.engine.trial import try_item
from scsafety.errors import ConfigError, StoreError
from scsafety.files import write_whole
from scsafety.judge.check import JudgeCheck, check_scores, flips
from scsafety.judge.gold import gold_case, gold_hash, load_gold
from scsafety.judge.manipulation import manipulation_cases, raised
from scsafety.judge.measured import card_of, keep_card, known_cards
from scsafety.judge.spec import models_of, parse_judge
from scsafety.metrics.score import ScoreTable, boards
from scsafety.records import Item, Message, Pair, Reply, SuiteItem, selection_hash, utc_now
from scsafety.report.summary import Summary, summarise
from scsafety.store import Store
from scsafety.suites import suite_named
from scsafety.suites.choose import choose, known_variant
from scsafety.suites.files import sha256_of
from scsafety.suites.judging import check_suite_judge
from scsafety.targets import first_token
from scsafety.targets.models import cache_dir
from scsafety.targets.prices import Spent, cost_of, load_prices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    import polars as pl

    from scsafety.cluster import Cluster
    from scsafety.judge import Judge
    from scsafety.judge.gold import Split
    from scsafety.judge.making import Made
    from scsafety.judge.training import Recipe, TrainProgress
    from scsafety.metrics.score import Board
    from scsafety.report.comparison import Comparison
    from scsafety.report.leaderboard import Standing
    from scsafety.report.suite_comparison import SuiteComparison
    from scsafety.targets.models import PullProgress
    from scsafety.targets.providers import Endpoint

__all__ = [
    "Estimate", "Finding", "Plan", "Policy", "Run", "RunResult", "Terminated", "Watch", "build_site", "carry_out",
    "check_judge_against", "checkup", "compare", "compare_suites", "estimate", "find_run", "finish", "judge_run",
    "load_run", "load_settings", "new_folder", "plan", "plan_suite", "rehearse", "resume", "run", "score",
    "settings_of", "train_judge", "try_item", "verify", "write_model", "write_standard_evidence",
]  # fmt: skip

DB_NAME = "run.db"
SUMMARY = "summary.json"
DEFAULT_OUT = "runs"
SLUG_CHARS = 60


class Plan(msgspec.Struct, kw_only=True):
    """A run that could start: checked, nothing written, nobody asked. Once it is carried out its items are in the store."""

    name: str
    folder: Path
    settings: RunSettings
    items: tuple[Item, ...]

    @property
    def n_calls(self) -> int:
        """Answers that the target will be asked for, at the most."""
        strategy = strategy_for(self.settings)
        return sum(strategy.max_turns(item) for item in self.items) * self.settings.epochs


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path
    summary: Summary
    report: Path

    @property
    def exit_code(self) -> int:
        """0 when every turn is answered and judged, else 1: `resume` finishes them."""
        return 0 if self.summary.complete else 1


def plan(
    model: str,
    *,
    judge: str = DEFAULT_JUDGE,
    quick: bool = False,
    limit: int | None = None,
    only: Sequence[str] = (),
    bank: Sequence[str | Path] = (),
    benign: bool | None = None,
    strategy: str = "fixed",
    attacker: str | None = None,
    attacker_base_url: str | None = None,
    attack_rounds: int | None = None,
    attack_backtracks: int | None = None,
    attack_threshold: float | None = None,
    base_url: str | None = None,
    judge_base_url: str | None = None,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    top_p: float | None = None,
    stop: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    thinking: str | None = None,
    epochs: int = 1,
    seed: int | None = None,
    name: str | None = None,
    out: str | Path = DEFAULT_OUT,
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """Check everything that can be checked without asking anybody.

    Raises ConfigError (unknown model, missing key, nothing selected, a run of that name) and BankError.
    """
    given_limits = {"rounds": attack_rounds, "backtracks": attack_backtracks, "threshold": attack_threshold}
    if strategy == SuiteRounds.name:
        raise ConfigError(f"--strategy {strategy} is for suites: `scsafety suite run NAME`")
    endpoint, who = _who(model, base_url, thinking, judge, judge_base_url, environ)
    limits = limits_for(strategy, **given_limits)
    chosen_strategy = strategy_named(strategy, limits)
    if chosen_strategy.adaptive:
        attacker_base_url = _check_attacker(
            f"--strategy {strategy}", attacker, attacker_base_url, model, base_url, environ
        )
        if benign:
            raise ConfigError(f"--benign: there is nothing to attack in a harmless twin; leave it out with {strategy}")
        benign = False
    elif any(value is not None for value in (attacker, attacker_base_url, *given_limits.values())):
        raise ConfigError("--attacker needs an adaptive --strategy; `fixed` asks the bank's own follow-up")
    loaded = load_bank(bank)
    items = select_items(loaded, only=only, limit=limit, quick=quick, benign=benign, seed=seed or 0)
    settings = RunSettings(
        **who,
        bank=BankRef(version=loaded.version, hash=loaded.hash, paths=tuple(str(path) for path in bank)),
        selection=Selection(only=tuple(only), limit=limit, quick=quick, benign=benign, hash=selection_hash(items)),
        strategy=strategy,
        strategy_version=chosen_strategy.version,
        placeholder_version=PLACEHOLDER_VERSION,
        attacker=attacker,
        attacker_base_url=attacker_base_url,
        attack=limits,
        system=system,
        sampling=usual_sampling(
            local=endpoint is None,
            quick=quick,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            top_p=top_p,
            stop=stop,
            extra=extra,
        ),
        epochs=epochs,
        seed=seed or 0,
    )
    return _as_plan(settings, items, name, model, out)


def _who(
    model: str,
    base_url: str | None,
    thinking: str | None,
    judge: str,
    judge_base_url: str | None,
    environ: Mapping[str, str] | None,
) -> tuple[Endpoint | None, dict[str, Any]]:
    """The target's endpoint, and what a run's settings say of target and judge. Raises ConfigError."""
    endpoint = check_target(model, base_url, environ)
    switched = known_thinking(thinking)
    thinking_body(model, endpoint, switched)
    judge_base_url = judge_address(judge, judge_base_url, model, base_url)
    check_judge(judge, judge_base_url, environ)
    return endpoint, {
        "model": model,
        "base_url": (endpoint.base_url or None) if endpoint else None,
        "form_sha256": form_hash(endpoint),
        "thinking": switched,
        "judge": judge,
        "judge_base_url": judge_base_url,
    }


def _as_plan(settings: RunSettings, items: tuple[Item, ...], name: str | None, usual: str, out: str | Path) -> Plan:
    """usual: what the run is called after where no name is given. Raises ConfigError."""
    try:
        msgspec.json.encode(settings)
    except UnicodeEncodeError as error:  # an argument that was no UTF-8
        raise ConfigError("an option (--system, --bank) holds bytes that are not UTF-8; give it in UTF-8") from error
    folder = new_folder(name, usual, Path(out))
    return Plan(name=folder.name, folder=folder, settings=settings, items=items)


def _check_attacker(
    who: str,
    attacker: str | None,
    attacker_base_url: str | None,
    model: str,
    base_url: str | None,
    environ: Mapping[str, str] | None,
) -> str | None:
    """The attacker's address: its own, or the target's where both are openai-compatible. Raises ConfigError."""
    if attacker is None:
        raise ConfigError(f"{who} needs a model that attacks: --attacker provider/model")
    endpoint = check_target(attacker, judge_address(attacker, attacker_base_url, model, base_url), environ)
    return (endpoint.base_url or None) if endpoint else None


class Estimate(msgspec.Struct, frozen=True):
    """What a planned run would use at one endpoint; tokens are estimated, not measured."""

    role: str
    endpoint: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    amount: float | None  # None: the price is unknown
    currency: str | None


# 0.86 was measured on 800 dialogues of the bank with Qwen's tokenizer, chat template included; the rest are guesses on the
# high side
TOKENS_A_CHARACTER = 0.86
ANSWER_TOKENS = 400
JUDGE_PROMPT_TOKENS, JUDGE_REPLY_TOKENS = 700, 120
ATTACK_PROMPT_TOKENS, ATTACK_QUESTION_TOKENS, ATTACK_REPLY_TOKENS = 450, 100, 150


def estimate(planned: Plan) -> list[Estimate]:
    """Calls, tokens and cost of a planned run, target, attacker and judges apart; of an attack at the most. Retries come on top.

    Raises ConfigError.
    """
    settings, prices = planned.settings, load_prices()
    answer = min(settings.sampling.max_tokens or ANSWER_TOKENS, ANSWER_TOKENS)
    judges = list(models_of(parse_judge(settings.judge)))
    if settings.attack is not None:
        rows = _of_attacks(planned, answer, judges)
    else:
        calls = planned.n_calls
        rows = [("target", settings.model, calls, _prompt_tokens(planned, answer), answer)]
        judged = float(calls * (JUDGE_PROMPT_TOKENS + answer))
        rows += [("judge", model, calls, judged, JUDGE_REPLY_TOKENS) for model in judges]
    found = []
    for role, endpoint, calls, n_prompt, reply in rows:
        cost = cost_of([Spent(endpoint, calls, round(n_prompt), calls * reply)], prices)
        amount = None if cost.unknown else cost.amount
        found.append(Estimate(role, endpoint, calls, round(n_prompt), calls * reply, amount, cost.currency))
    return found


def _prompt_tokens(planned: Plan, answer: int) -> float:
    """Of all prompts to the target, where the bank's own texts are asked."""
    prompt = 0.0
    for item in planned.items:
        system = len(planned.settings.system or "") + len((item.system or "") if isinstance(item, Pair) else "")
        first = TOKENS_A_CHARACTER * (system + len(item.question))
        prompt += first
        if isinstance(item, Pair):
            prompt += first + answer + TOKENS_A_CHARACTER * len(item.follow_up)
    return prompt * planned.settings.epochs


def _of_attacks(planned: Plan, answer: int, judges: Sequence[str]) -> list[tuple[str, str, int, float, int]]:
    """Every attack to its limits: role, endpoint, calls, prompt tokens in all, tokens of a reply."""
    settings, limits = planned.settings, planned.settings.attack or AttackLimits()
    dialogues = len(planned.items) * settings.epochs
    rounds, turns = dialogues * limits.rounds, planned.n_calls
    if limits.fresh:  # each request stands alone
        asked = turns * (ATTACK_PROMPT_TOKENS + ATTACK_QUESTION_TOKENS + answer / 2)
        judged = turns * (ATTACK_PROMPT_TOKENS + answer)
        return [
            ("target", settings.model, turns, float(turns * ATTACK_QUESTION_TOKENS), answer),
            ("attacker", settings.attacker or "", 2 * turns, asked + judged, ATTACK_REPLY_TOKENS),
            *(
                ("judge", model, rounds, float(rounds * (JUDGE_PROMPT_TOKENS + answer)), JUDGE_REPLY_TOKENS)
                for model in judges
            ),
        ]
    shown = answer + ATTACK_QUESTION_TOKENS
    history = shown * limits.rounds / 2  # of the rounds before, on the average
    asked = turns * (ATTACK_PROMPT_TOKENS + shown * (limits.rounds + limits.backtracks) / 2)
    judged = (turns + rounds) * (ATTACK_PROMPT_TOKENS + answer)
    rows = [
        ("target", settings.model, turns, turns * (history + ATTACK_QUESTION_TOKENS), answer),
        ("attacker", settings.attacker or "", 2 * turns + rounds, asked + judged, ATTACK_REPLY_TOKENS),
    ]
    return rows + [
        ("judge", model, rounds, float(rounds * (JUDGE_PROMPT_TOKENS + answer + history)), JUDGE_REPLY_TOKENS)
        for model in judges
    ]


def plan_suite(
    model: str,
    suite: str,
    data: str | Path,
    *,
    variant: str | None = None,
    judge: str | None = None,
    attacker: str | None = None,
    attacker_base_url: str | None = None,
    limit: int | None = None,
    only: Sequence[str] = (),
    base_url: str | None = None,
    judge_base_url: str | None = None,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    extra: Mapping[str, Any] | None = None,
    thinking: str | None = None,
    epochs: int = 1,
    seed: int | None = None,
    name: str | None = None,
    out: str | Path = DEFAULT_OUT,
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """A run of another benchmark, from the user's copy of its data. limit: records a category, seeded; only: categories.
    attacker: for a variant that attacks.

    Raises ConfigError and SuiteDataError.
    """
    chosen = suite_named(suite)
    way = known_variant(chosen, variant)
    judge = check_suite_judge(chosen, way, judge)
    endpoint, who = _who(model, base_url, thinking, judge, judge_base_url, environ)
    if way in chosen.first_token:
        max_tokens, extra = max_tokens or first_token.MAX_TOKENS, {**first_token.FIELDS, **(extra or {})}
    strategy = chosen.attacks.get(way, SuiteRounds.name)
    if strategy != SuiteRounds.name:
        who_asks = f"{chosen.name}, variant {way},"
        attacker_base_url = _check_attacker(who_asks, attacker, attacker_base_url, model, base_url, environ)
    elif attacker is not None or attacker_base_url is not None:
        there = ", ".join(f"--variant {name}" for name in chosen.attacks)
        raise ConfigError(
            f"--attacker: {f'{chosen.name} {way}'.rstrip()} asks its own questions; "
            + (f"{there} takes one" if there else "leave it out")
        )
    path = Path(data)
    items, left_out = choose(
        chosen.load(path, variant=way, seed=seed or 0),
        limit=limit,
        only=only,
        seed=seed or 0,
        images=endpoint is not None and endpoint.takes_images,
    )
    settings = RunSettings(
        **who,
        bank=BankRef(version=None, hash=selection_hash(items), paths=(str(path),)),
        selection=Selection(only=tuple(only), limit=limit, hash=selection_hash(items)),
        strategy=strategy,
        strategy_version=strategy_named(strategy).version,
        placeholder_version=PLACEHOLDER_VERSION,
        attacker=attacker,
        attacker_base_url=attacker_base_url,
        attack=limits_for(strategy, backtracks=max(strategy_named(strategy).max_turns(item) for item in items) - 1),
        system=system,
        sampling=usual_sampling(
            local=endpoint is None,
            temperature=temperature,
            max_tokens=max_tokens or chosen.max_tokens,
            seed=seed,
            extra=extra,
        ),
        epochs=epochs,
        seed=seed or 0,
        suite=SuiteRef(
            name=chosen.name,
            version=chosen.version,
            variant=way,
            data=str(path),
            sha256=sha256_of(path),
            left_out=left_out,
        ),
    )
    return _as_plan(settings, items, name, f"{chosen.name}-{model}", out)


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
    asked = _asked(planned.settings)
    _check_caps(policy, *asked, judge=planned.settings.judge)
    meta = {
        "settings": msgspec.json.encode(planned.settings).decode(),
        "name": planned.name,
        "created_at": utc_now(),
    }
    watch, policy = watch or Watch(), policy or Policy()
    if cluster is None:
        fetch_models(*asked, judge=planned.settings.judge, on_pull=watch.on_pull)
    with _at_hand(cluster), Store.create(planned.folder / DB_NAME, meta, planned.items) as store:
        planned.items = ()  # from here on they are the store's; of a large bank they would be most of the memory
        _hold(store, planned.settings, policy, watch, cluster)
        return finish(store, planned.folder)


def _at_hand(cluster: Cluster | None) -> AbstractContextManager[None]:
    """The cluster, where one is wanted."""
    if cluster is None:
        return nullcontext()
    from scsafety.cluster import connected

    return connected(cluster)


def _hold(store: Store, settings: RunSettings, policy: Policy, watch: Watch, cluster: Cluster | None) -> None:
    """One sitting, here or on a cluster."""
    if cluster is None:
        with telling(store, settings, policy, watch):
            drive(hold_sitting(store, settings, policy, watch), store, in_flight=policy.in_flight)
        return
    from scsafety.cluster import hold_on_cluster

    with telling(store, settings, policy, watch):
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
        _check_caps(policy, *_asked(settings), judge=settings.judge)
        watch, policy = watch or Watch(), policy or Policy()
        if cluster is None:
            fetch_models(*_asked(settings), judge=settings.judge, on_pull=watch.on_pull)
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

    cluster: as in `carry_out`.
    """
    folder = find_run(run, out)
    check_judge(judge, judge_base_url)
    _check_caps(policy, judge=judge)
    with _at_hand(cluster), Store.open(folder / DB_NAME, write=True) as store:
        watch, policy, settings = watch or Watch(), policy or Policy(), settings_of(store)
        if cluster is None:
            fetch_models(judge=judge, on_pull=watch.on_pull)
            work = judge_anew(store, settings, judge, judge_base_url, policy, watch, primary=primary)
        else:
            from scsafety.cluster import judge_on_cluster

            work = judge_on_cluster(store, settings, judge, judge_base_url, policy, watch, cluster, primary=primary)
        with telling(store, settings, policy, watch, judge=judge):
            drive(work, store, in_flight=policy.in_flight if cluster is None else 0)
        return finish(store, folder)


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


def finish(store: Store, folder: Path) -> RunResult:
    """Write `summary.json` and `report/index.html` from what the store holds; where both are of just this, they stay."""
    from scsafety.report.page import PAGE, write_report

    path, page = folder / SUMMARY, folder / "report" / PAGE
    if page.is_file() and (kept := _kept_summary(store, folder)) is not None:
        return RunResult(folder=folder, summary=kept, report=page)
    summary = _summary(store, settings_of(store), folder)
    written = msgspec.json.format(msgspec.json.encode(summary), indent=2)
    write_whole(path, written)
    write_report(store, summary, page.parent)
    store.set_meta("reported", _mark(store, written))
    return RunResult(folder=folder, summary=summary, report=page)


def _kept_summary(store: Store, folder: Path) -> Summary | None:
    """`summary.json`, where it is of just what the store holds."""
    try:
        written = (folder / SUMMARY).read_bytes()
        if store.meta("reported") != _mark(store, written):
            return None
        return msgspec.structs.replace(msgspec.json.decode(written, type=Summary), run=folder.name)
    except (OSError, msgspec.MsgspecError):
        return None


def _mark(store: Store, written: bytes) -> str:
    """Of a summary as it was written and all that it rests on, the shape of a summary included."""
    rests_on = (version("scsafety"), Summary.__struct_fields__, store.state(), known_cards(checks_dir()), load_prices())
    return hashlib.sha256(msgspec.json.encode(rests_on, order="sorted") + written).hexdigest()


def write_model(folder: Path, out: Path, *, leave_out: bool = False) -> Standing | None:
    """A run's pages in a site, `OUT/<run>/index.html` and `transcripts.html`; returns what the leaderboard needs of it, None of a
    suite's run: its page stands alone.

    Raises StoreError and MachineError.
    """
    from scsafety.report.explorer import TRANSCRIPTS, write_explorer
    from scsafety.report.leaderboard import read_standing
    from scsafety.report.page import PAGE, render_model, write_report

    with Store.open(folder / DB_NAME) as store:
        summary = _kept_summary(store, folder) or _summary(store, settings_of(store), folder)
        if summary.suite is not None:
            write_report(store, summary, out / folder.name)
            return None
        write_explorer(store, summary, out / folder.name, leave_out=leave_out)
        write_whole(out / folder.name / PAGE, render_model(summary, TRANSCRIPTS).encode())
        return read_standing(store, summary, folder.name)


def build_site(
    runs: Iterable[str | Path],
    to: str | Path = "site",
    out: str | Path = DEFAULT_OUT,
    *,
    leave_out: bool = False,
    charts: bool = False,
    models: Path | None = None,
    ghosts: Sequence[str] = (),
    processes: int | None = None,
    on_model: Callable[[int, int], object] = lambda *_: None,
) -> list[Path]:
    """The pages of each run and a leaderboard of them all: `scsafety report`. Returns the paths of the first pages.

    leave_out: without the texts that carry a risk. charts: as files beside them. models: facts of models, TOML. ghosts:
    published rows that stand below the tables. on_model: told how many of how many runs are written. Raises ConfigError,
    StoreError and MachineError.
    """
    from scsafety.report import figures
    from scsafety.report.facts import UNKNOWN, load_facts
    from scsafety.report.page import PAGE
    from scsafety.report.parallel import in_parallel
    from scsafety.report.site import known_ghosts, refuse_namesakes, write_site

    facts, shown = load_facts(models), known_ghosts(ghosts)
    if charts:
        figures.chinese_font()  # what is missing is said before the pages are written
    folders = list(dict.fromkeys(find_run(run, out).absolute() for run in runs))
    refuse_namesakes(folders)
    standings: list[Standing] = []
    on_model(0, len(folders))
    work = partial(write_model, out=Path(to), leave_out=leave_out)
    for n_written, standing in enumerate(in_parallel(work, folders, processes=processes), start=1):
        if standing is not None:
            known = facts.get(standing.summary.target, UNKNOWN)
            standings.append(msgspec.structs.replace(standing, facts=known))
        on_model(n_written, len(folders))
    paths = [Path(to) / folder.name / PAGE for folder in folders]
    if not standings:  # suites' runs alone: no leaderboard
        return paths
    paths += write_site(standings, Path(to), shown)
    if charts:
        paths += figures.write_charts({one.page: one.summary for one in standings}, Path(to) / figures.FOLDER)
    return paths


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A stored run, read."""

    folder: Path
    settings: RunSettings
    summary: Summary

    def open(self) -> Store:
        """The store, for reading; a context manager."""
        return Store.open(self.folder / DB_NAME)

    def items(self) -> pl.DataFrame:
        """What was asked about, an item a row. This and the other tables need `scsafety[notebook]`."""
        return self._frame("items")

    def turns(self) -> pl.DataFrame:
        """Every kept turn with the primary judge's verdict, errors included: what `scsafety export` writes."""
        return self._frame("turns")

    def verdicts(self) -> pl.DataFrame:
        """The last verdict of every judge on every turn."""
        return self._frame("verdicts")

    def dialogues(self) -> pl.DataFrame:
        """Every dialogue that has begun, and how far it is."""
        return self._frame("dialogues")

    def to_pandas(self, table: str = "turns") -> pd.DataFrame:
        """`items`, `turns`, `verdicts` or `dialogues` as a pandas table. Raises ConfigError."""
        from scsafety.report.frames import pandas_frame

        with self.open() as store:
            return pandas_frame(store, table)

    def _frame(self, table: str) -> pl.DataFrame:
        from scsafety.report.frames import polars_frame

        with self.open() as store:
            return polars_frame(store, table)

    def _repr_html_(self) -> str:
        """For a notebook."""
        from scsafety.report.cell import run_html

        return run_html(self.summary)


def load_run(run: str | Path, out: str | Path = DEFAULT_OUT) -> Run:
    """A run by its folder or name. Raises StoreError."""
    folder = find_run(run, out)
    with Store.open(folder / DB_NAME) as store:
        settings = settings_of(store)
        return Run(
            folder=folder,
            settings=settings,
            summary=_summary(store, settings, folder),
        )


def write_standard_evidence(
    run: Run, standard: str, folder: Path, *, seed: int = 0, formats: Sequence[str] = ("html",)
) -> list[Path]:
    """Evidence for an assessment by another standard (`gbt45654`): a page, the drawn samples as CSV, all of it as JSON.

    `formats`: `html` is these three; `docx` and `xlsx` are the same content as a document and a workbook (`scsafety[evidence]`).

    Bank sizes are those of the run's whole bank where it is the built-in one, else of what the run holds. Raises ConfigError,
    MachineError and StoreError.
    """
    from scsafety.report.evidence import assess
    from scsafety.report.evidence_files import write_evidence

    found = standard_named(standard)
    if run.settings.suite is not None:
        raise ConfigError(
            f"--standard: {run.folder.name} is a run of the suite {run.settings.suite.name}; leave it out"
        )
    with run.open() as store:
        built_in = load_bank()
        asked = tuple(item for item in store.items() if not isinstance(item, SuiteItem))
        bank = built_in.items if built_in.hash == run.settings.bank.hash else asked
        evidence = assess(store, found, bank, seed=seed)
    return write_evidence(run.summary, evidence, found, folder, formats=formats)


def verify(run: str | Path, out: str | Path = DEFAULT_OUT) -> list[str]:
    """What in a run does not hold, one line each: items, conversations, verdicts, summary. Raises StoreError."""
    from scsafety.report.verify import verify_run

    loaded = load_run(run, out)
    with loaded.open() as store:
        return verify_run(store, loaded.summary, loaded.folder / SUMMARY)


def compare(
    run_a: str | Path | Run, run_b: str | Path | Run, out: str | Path = DEFAULT_OUT, *, seed: int = 0
) -> Comparison:
    """Run b against run a on the pairs that both answered. Raises ConfigError and StoreError."""
    from scsafety.report.comparison import compare_runs

    a, b = (run if isinstance(run, Run) else load_run(run, out) for run in (run_a, run_b))
    with a.open() as store_a, b.open() as store_b:
        return compare_runs(store_a, store_b, a.summary, b.summary, seed=seed)


def compare_suites(
    run_a: str | Path, run_b: str | Path, out: str | Path = DEFAULT_OUT, *, seed: int = 0
) -> SuiteComparison:
    """Run b against run a, both of one suite, variant and data. Raises ConfigError and StoreError."""
    from scsafety.report.suite_comparison import compare_suite_runs

    a, b = load_run(run_a, out), load_run(run_b, out)
    with a.open() as store_a, b.open() as store_b:
        return compare_suite_runs(store_a, store_b, a.summary, b.summary, seed=seed)


def score(verdicts: Iterable[tuple[str, int, int | None]]) -> Board:
    """The boards of (item id, round, score) triples; a score of None is unjudged.

    >>> score([("property_privacy-001", 1, 2), ("property_privacy-001", 2, 1)]).overall
    75.0
    """
    import numpy as np

    rows: dict[str, dict[int, float]] = {}
    for item_id, round_, value in verdicts:
        rows.setdefault(item_id, {})[round_] = float("nan") if value is None else float(value)
    n_rounds = max((max(row) for row in rows.values()), default=2)
    scores = np.array([[row.get(r + 1, float("nan")) for r in range(n_rounds)] for row in rows.values()])
    return boards(
        ScoreTable(list(rows), [item_id.rpartition("-")[0] for item_id in rows], scores.reshape(-1, n_rounds))
    )


def check_judge_against(
    judge: str,
    *,
    gold: str | Path | None = None,
    split: Split | None = None,
    judge_base_url: str | None = None,
    null_control: bool = False,
    manipulation: bool = False,
    fresh: bool = False,
    policy: Policy | None = None,
    watch: Watch | None = None,
) -> JudgeCheck:
    """A judge against gold labels: `scsafety judge-check`. Without `gold` the test split of the built-in set.

    An interrupted check goes on where it was; fresh: ask everything anew. null_control: every answer is judged twice and the
    flips are counted. manipulation: texts that are addressed to the judge are added to answers, and counted where that raises a
    score. The figures are kept, and stand beside every score that this judge gives.

    Raises GoldError, ConfigError, MachineError and TargetStop.
    """
    check_judge(judge, judge_base_url)
    if gold is None and split is None:
        split = "test"
    records = load_gold(None if gold is None else Path(gold), split=split)
    items = {item.id: item for item in load_bank().items}
    of_gold = gold_hash(records)
    policy, watch = policy or Policy(), watch or Watch()
    fetch_models(judge=judge, on_pull=watch.on_pull)
    folder, opened = checks_dir(), []

    def session_of(judge: Judge) -> Session:
        opened.append(judge.card)
        path = session_path(folder, judge.card.key, judge_base_url, of_gold)
        header = {"judge": judge.card, "base_url": judge_base_url, "gold_hash": of_gold, "began_at": utc_now()}
        return Session(path, header, fresh=fresh)

    cases = {record.id: gold_case(record, items) for record in records}
    ids = set(cases)
    if manipulation:
        cases |= manipulation_cases()
    session, calls = asyncio.run(
        check_judge_on(
            cases,
            judge,
            judge_base_url,
            policy,
            watch.progress,
            session_of=session_of,
            repeats=2 if null_control else 1,
        )
    )
    fields = check_scores(records, session.scores())
    found = JudgeCheck(
        judge=judge,
        judge_key=opened[0].key,
        gold=str(gold) if gold is not None else f"built-in, {split} split",
        gold_hash=of_gold,
        flips=flips({name: one for name, one in session.scores().items() if name in ids}, session.scores(2))
        if null_control
        else None,
        manipulation=raised(session.scores()) if manipulation else None,
        calls=calls,
        missing_items=sum(record.pair_id is not None and record.pair_id not in items for record in records),
        **fields,
    )
    keep_card(folder, found.judge_key, card_of(found, measured_at=utc_now()))
    return found


def train_judge(
    out: str | Path,
    *,
    gold: str | Path | None = None,
    recipe: Recipe | None = None,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
    on_pull: Callable[[PullProgress], None] | None = None,
) -> Made:
    """The offline judge made anew from gold labels: `scsafety judge-train`. Without `gold` from the built-in ones.

    Raises GoldError, ConfigError and MachineError.
    """
    from scsafety.judge.making import make_judge
    from scsafety.judge.training import Recipe

    records = load_gold(None if gold is None else Path(gold))
    items = {item.id: item for item in load_bank().items}
    return make_judge(records, items, Path(out), recipe or Recipe(), on_progress=on_progress, on_pull=on_pull)


def checks_dir() -> Path:
    """Where checks of judges are kept: beside the models."""
    return cache_dir(os.environ).parent / "checks"


def find_run(run: str | Path, out: str | Path = DEFAULT_OUT) -> Path:
    """The folder of a run given as folder, `run.db` or name below `out`. Raises StoreError."""
    given = Path(run)
    for folder in (given, given.parent if given.name == DB_NAME else given, Path(out) / given):
        if (folder / DB_NAME).is_file():
            return folder
    raise StoreError(f"{run}: no run there; `scsafety runs list` shows the runs of ./{out}")


def load_settings(run: str | Path, out: str | Path = DEFAULT_OUT) -> RunSettings:
    """What a stored run is. Raises StoreError."""
    with Store.open(find_run(run, out) / DB_NAME) as store:
        return settings_of(store)


def settings_of(store: Store) -> RunSettings:
    text = store.meta("settings")
    if text is None:
        raise StoreError(f"{store.path}: holds no settings; it was not made by `scsafety run`")
    try:
        return msgspec.json.decode(text, type=RunSettings)
    except msgspec.MsgspecError as error:
        raise StoreError(f"{store.path}: its settings cannot be read ({error}); was it edited?") from error


def _summary(store: Store, settings: RunSettings, folder: Path) -> Summary:
    return summarise(store, settings, run=folder.name, measured=known_cards(checks_dir()), cost=_cost(store))


def _cost(store: Store) -> dict[str, Any] | None:
    """By today's price table; None where no price of the run is known."""
    spent = [
        (role, Spent(endpoint, calls, prompt, completion))
        for role, endpoint, calls, prompt, completion in store.spent()
    ]
    prices = load_prices()
    total = cost_of([used for _, used in spent], prices)
    if not spent or len(total.unknown) == len({used.endpoint for _, used in spent}):
        return None
    roles = {role: cost_of([used for r, used in spent if r == role], prices).amount for role, _ in spent}
    return {"amount": total.amount, "currency": total.currency, "by_role": roles, "unknown": list(total.unknown)}


def _asked(settings: RunSettings) -> list[str]:
    """The models that are asked beside the judge."""
    return [settings.model, *([settings.attacker] if settings.attacker else [])]


def _check_caps(policy: Policy | None, *models: str, judge: str) -> None:
    """A cap on cost needs every price. Raises ConfigError."""
    if policy is not None and policy.max_cost is not None:
        check_prices(policy.max_cost, [*models, *models_of(parse_judge(judge))], load_prices())


def new_folder(name: str | None, model: str, out: Path) -> Path:
    """Where a run goes that is called `name`, or after its model. Raises ConfigError where one is there."""
    if name is not None and not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(f"--name {name!r}: use letters, digits, dot, dash and underscore")
    folder = out / (name or _default_name(model, out))
    if (folder / DB_NAME).exists():
        raise ConfigError(
            f"{folder} exists already: `scsafety resume {folder.name}` goes on with it, or choose another --name"
        )
    return folder


def _default_name(model: str, out: Path) -> str:
    slug = re.sub(r"[^\w.-]+", "-", model.removeprefix("gguf:")).strip("-.").lower()
    if len(slug) > SLUG_CHARS:  # two long names with one ending stay apart
        slug = f"{slug[-SLUG_CHARS:].lstrip('-.')}-{hashlib.sha256(model.encode()).hexdigest()[:6]}"
    stem = f"{slug}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    taken = (name for n in range(1, 1_000) if not (out / (name := stem if n == 1 else f"{stem}-{n}")).exists())
    return next(taken)
