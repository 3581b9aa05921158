"""`run`, `resume` and `judge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scsafety.cli.options import (
    JUDGE_HELP,
    Concurrency,
    Executor,
    JudgeConcurrency,
    JudgeEpochs,
    LogJson,
    MaxCalls,
    MaxCost,
    Model,
    Otel,
    Out,
    Patience,
    RayAddress,
    RayWorkers,
    Rpm,
    RunArgument,
    Timeout,
    Tpm,
    cluster_of,
    fields,
    names,
    policy_for,
    repeated,
    text_or_file,
    wanted_models,
)
from scsafety.cli.watched import carry_out_plans, watched

if TYPE_CHECKING:
    from scsafety.api import RunResult, Watch


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: scsafety run --model deepseek/deepseek-chat --judge offline --limit 3")(run)
    app.command(epilog="Example: scsafety resume my-run --concurrency 2")(resume)
    app.command(epilog="Example: scsafety judge my-run another --judge deepseek/deepseek-chat --primary")(judge)


def run(
    model: Model = None,
    judge: Annotated[str, typer.Option(metavar="J", help=JUDGE_HELP)] = "offline",
    quick: Annotated[
        bool, typer.Option("--quick", help="48 pairs and 24 harmless twins, answers of at most 128 tokens.")
    ] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", help="N pairs a sub-dimension, seeded.")] = None,
    only: Annotated[str | None, typer.Option(metavar="ID,...", help="Dimensions, sub-dimensions or item ids.")] = None,
    bank: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Your own bank instead of the built-in one.")
    ] = None,
    benign: Annotated[
        bool | None, typer.Option("--benign/--no-benign", help="Harmless twins; on, but off with --limit or --only.")
    ] = None,
    strategy: Annotated[
        str, typer.Option(metavar="S", help="fixed, or crescendo or ali-agent with --attacker.")
    ] = "fixed",
    attacker: Annotated[str | None, typer.Option(metavar="M", help="The model behind an adaptive strategy.")] = None,
    attacker_base_url: Annotated[str | None, typer.Option(metavar="URL", help="The attacker's address.")] = None,
    attack_rounds: Annotated[
        int | None, typer.Option(metavar="N", help="Rounds of an attack, at most.  [default: 10]")
    ] = None,
    attack_backtracks: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Refusals taken back, or scenarios rewritten, at most.  [default: 10, ali-agent 1]"
        ),
    ] = None,
    attack_threshold: Annotated[
        float | None, typer.Option(metavar="X", help="From here on, 0 to 1, an attack has succeeded.  [default: 0.8]")
    ] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="The target's OpenAI-compatible address.")] = None,
    judge_base_url: Annotated[str | None, typer.Option(metavar="URL", help="The judge's address.")] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT|@FILE", help="System prompt for every dialogue.")] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", help="Sent only when given; 0 for the embedded model.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(metavar="N", help="Longest answer, in tokens.")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", metavar="P", help="Sent only when given.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Stop text; may be given more than once.")
    ] = None,
    extra: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE", help="Further body fields, like '{\"enable_thinking\": false}'.")
    ] = None,
    thinking: Annotated[
        str | None,
        typer.Option(metavar="on|off", help="Switch the model's thinking; as the endpoint has it otherwise."),
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="K", help="How often each item is asked.")] = 1,
    seed: Annotated[
        int | None, typer.Option(metavar="S", help="Of the selection, and sent to the target when given.")
    ] = None,
    concurrency: Concurrency = None,
    judge_concurrency: JudgeConcurrency = 8,
    judge_epochs: JudgeEpochs = 1,
    rpm: Rpm = None,
    tpm: Tpm = None,
    max_calls: MaxCalls = None,
    max_cost: MaxCost = None,
    timeout: Timeout = None,
    patience: Patience = 1_800,
    executor: Executor = "local",
    ray_address: RayAddress = None,
    ray_workers: RayWorkers = None,
    log_json: LogJson = None,
    otel: Otel = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, and ask nothing.")] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the run's folder.")] = None,
    out: Out = Path("runs"),
) -> None:
    """Examine a model: ask in two rounds, judge, score, report.

    Without --model the embedded Qwen2.5-Coder-0.5B is examined; it is fetched once.
    """
    from scsafety import api

    wanted, cluster = wanted_models(model, name, base_url), cluster_of(executor, ray_address, ray_workers)
    judge = repeated(judge, judge_epochs)
    given: dict[str, Any] = {
        "judge": judge, "quick": quick, "limit": limit, "only": names(only), "bank": bank or [], "benign": benign,
        "strategy": strategy, "attacker": attacker, "attacker_base_url": attacker_base_url, "attack_rounds": attack_rounds,
        "attack_backtracks": attack_backtracks, "attack_threshold": attack_threshold,
        "base_url": base_url, "judge_base_url": judge_base_url,
        "system": text_or_file("--system", system), "temperature": temperature, "max_tokens": max_tokens, "top_p": top_p,
        "stop": stop or (), "extra": fields(extra), "thinking": thinking, "epochs": epochs, "seed": seed,
        "out": out,
    }  # fmt: skip
    plans = [api.plan(one, name=name, **given) for one in wanted]  # all are checked before any is asked
    carry_out_plans(
        plans,
        lambda model: policy_for(
            model, concurrency, judge_concurrency, rpm=rpm, tpm=tpm, timeout_s=timeout, patience_s=patience,
            max_calls=max_calls, max_cost=max_cost,
        ),
        dry_run=dry_run, log_json=log_json, otel=otel, cluster=cluster,
    )  # fmt: skip


def resume(
    run: RunArgument,
    concurrency: Concurrency = None,
    judge_concurrency: JudgeConcurrency = 8,
    rpm: Rpm = None,
    tpm: Tpm = None,
    max_calls: MaxCalls = None,
    max_cost: MaxCost = None,
    timeout: Timeout = None,
    patience: Patience = 1_800,
    executor: Executor = "local",
    ray_address: RayAddress = None,
    ray_workers: RayWorkers = None,
    log_json: LogJson = None,
    otel: Otel = False,
    model: Annotated[str | None, typer.Option(hidden=True)] = None,
    base_url: Annotated[str | None, typer.Option(hidden=True)] = None,
    bank: Annotated[list[Path] | None, typer.Option(hidden=True)] = None,
    strategy: Annotated[str | None, typer.Option(hidden=True)] = None,
    attacker: Annotated[str | None, typer.Option(hidden=True)] = None,
    attacker_base_url: Annotated[str | None, typer.Option(hidden=True)] = None,
    attack_rounds: Annotated[int | None, typer.Option(hidden=True)] = None,
    attack_backtracks: Annotated[int | None, typer.Option(hidden=True)] = None,
    attack_threshold: Annotated[float | None, typer.Option(hidden=True)] = None,
    system: Annotated[str | None, typer.Option(hidden=True)] = None,
    temperature: Annotated[float | None, typer.Option(hidden=True)] = None,
    max_tokens: Annotated[int | None, typer.Option(hidden=True)] = None,
    thinking: Annotated[str | None, typer.Option(hidden=True)] = None,
    epochs: Annotated[int | None, typer.Option(hidden=True)] = None,
    seed: Annotated[int | None, typer.Option(hidden=True)] = None,
    limit: Annotated[int | None, typer.Option(hidden=True)] = None,
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
    out: Out = Path("runs"),
) -> None:
    """Go on with a run: ask what is unanswered, judge what is unjudged. What is stored is final.

    Concurrency, rates, time-outs and keys may change; model, bank, strategy, sampling and selection may not.
    """
    from scsafety import api

    stored, cluster = api.load_settings(run, out), cluster_of(executor, ray_address, ray_workers)
    given: dict[str, Any] = {
        "model": model, "base_url": base_url, "bank": bank, "strategy": strategy, "attacker": attacker,
        "attacker_base_url": attacker_base_url, "attack_rounds": attack_rounds, "attack_backtracks": attack_backtracks,
        "attack_threshold": attack_threshold, "system": text_or_file("--system", system),
        "temperature": temperature, "max_tokens": max_tokens, "epochs": epochs,
        "thinking": thinking, "seed": seed, "limit": limit, "only": names(only) or None,
    }  # fmt: skip
    policy = policy_for(
        stored.model, concurrency, judge_concurrency, rpm=rpm, tpm=tpm, timeout_s=timeout, patience_s=patience,
        max_calls=max_calls, max_cost=max_cost,
    )  # fmt: skip

    def work(watch: Watch) -> RunResult:
        return api.resume(run, policy=policy, watch=watch, cluster=cluster, out=out, **given)

    raise typer.Exit(watched(work, run, log_json, otel=otel))


def judge(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or names of runs.")],
    judge: Annotated[str, typer.Option(metavar="J", help=JUDGE_HELP)],
    primary: Annotated[bool, typer.Option("--primary", help="Make it the judge of the summary.")] = False,
    judge_base_url: Annotated[str | None, typer.Option(metavar="URL", help="The judge's address.")] = None,
    judge_concurrency: JudgeConcurrency = 8,
    judge_epochs: JudgeEpochs = 1,
    max_calls: MaxCalls = None,
    max_cost: MaxCost = None,
    timeout: Timeout = None,
    executor: Executor = "local",
    ray_address: RayAddress = None,
    ray_workers: RayWorkers = None,
    log_json: LogJson = None,
    otel: Otel = False,
    out: Out = Path("runs"),
) -> None:
    """Judge the stored answers of runs with another judge; the target is never asked again."""
    from scsafety import api
    from scsafety.engine.settings import Policy

    judge, cluster = repeated(judge, judge_epochs), cluster_of(executor, ray_address, ray_workers)
    policy = Policy(judge_concurrency=judge_concurrency, timeout_s=timeout, max_calls=max_calls, max_cost=max_cost)
    worst = 0
    for run in dict.fromkeys(runs):

        def work(watch: Watch, run: str = run) -> RunResult:
            return api.judge_run(
                run, judge, primary=primary, judge_base_url=judge_base_url, policy=policy, watch=watch, cluster=cluster, out=out
            )  # fmt: skip

        worst = max(worst, watched(work, run, log_json, otel=otel))
    raise typer.Exit(worst)
