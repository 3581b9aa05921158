"""`scsafety suite list|info|fetch|run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsafety.cli.console import table_console
from scsafety.cli.options import (
    Concurrency,
    Executor,
    JudgeConcurrency,
    MaxCalls,
    MaxCost,
    Out,
    RayAddress,
    RayWorkers,
    Rpm,
    Timeout,
    Tpm,
    cluster_of,
    fields,
    names,
    policy_for,
    text_or_file,
    wanted_models,
)
from scsafety.cli.watched import carry_out_plans
from scsafety.errors import ScsafetyError

if TYPE_CHECKING:
    from scsafety.suites import Suite

app = typer.Typer(help="Other benchmarks on the same engine.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="As `scsafety suite list` has it.")]


@app.command("list", epilog="Example: scsafety suite list")
def list_suites() -> None:
    """The suites that are here, with the licence of their data."""
    from rich.table import Table

    from scsafety.report.visible import one_line
    from scsafety.suites import suite_named, suite_names

    table = Table("name", "title", "paper", "language", "licence of the data", "judge")
    broken: list[ScsafetyError] = []
    for name in suite_names():
        try:
            suite = suite_named(name)
        except ScsafetyError as error:  # another package's
            broken.append(error)
            continue
        about = suite.about
        table.add_row(name, about.title, about.paper, about.language, about.licence, _judge(suite))
    table_console().print(table)
    for one in broken:
        typer.echo(f"scsafety: {one_line(str(one))}", err=True)
    if broken:
        raise typer.Exit(broken[0].exit_code)


@app.command(epilog="Example: scsafety suite info chinese-safetyqa")
def info(name: Name) -> None:
    """Protocol, licence and where to get the data of a suite."""
    from scsafety.suites import suite_named

    suite = suite_named(name)
    about = suite.about
    lines = {
        "title": f"{about.title} ({about.paper})",
        "language": about.language,
        "protocol": about.protocol,
        "variants": ", ".join(suite.variants) or "-",
        "labels": ", ".join(suite.labels),
        "judge": _judge(suite),
        "attacker": f"a model for {', '.join(suite.attacks)}" if suite.attacks else "-",
        "licence": about.licence,
        "data": about.where,
    }
    for key, value in lines.items():
        typer.echo(f"{key:9} {value}")
    for warning in about.warnings:
        typer.echo(f"note      {warning}")


@app.command(epilog="Example: scsafety suite fetch chinese-safetyqa --out data/chinese-safetyqa")
def fetch(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="Folder for the files.  [default: data/NAME]")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="The licence is known and agreed to.")] = False,
) -> None:
    """Fetch a suite's data from where its publishers keep it; nothing of it comes with scsafety."""
    from scsafety.suites import suite_named
    from scsafety.suites.fetch import fetch_suite

    suite = suite_named(name)
    typer.echo(f"{suite.about.title}: licence of the data: {suite.about.licence}")
    for warning in suite.about.warnings:
        typer.echo(f"note: {warning}")
    if not yes:
        typer.confirm("Fetch it to this machine?", abort=True)
    for path, sha256 in fetch_suite(suite, out or Path("data") / name):
        typer.echo(f"{path}  sha256 {sha256}")


@app.command(epilog="Example: scsafety suite run aratrust --data aratrust_test.jsonl --model deepseek/deepseek-chat")
def run(
    name: Name,
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Your copy of its data.  [default: data/NAME]")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(metavar="M", help="As in `scsafety run`.")] = None,
    variant: Annotated[str | None, typer.Option(metavar="V", help="Way of asking; `suite info` lists them.")] = None,
    judge: Annotated[str | None, typer.Option(metavar="J", help="For suites whose answers are judged.")] = None,
    attacker: Annotated[
        str | None, typer.Option(metavar="M", help="The model that attacks, for suites that need one.")
    ] = None,
    attacker_base_url: Annotated[str | None, typer.Option(metavar="URL", help="The attacker's address.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="N records a category, seeded.")] = None,
    only: Annotated[str | None, typer.Option(metavar="CATEGORY,...", help="Only these categories.")] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="The target's OpenAI-compatible address.")] = None,
    judge_base_url: Annotated[str | None, typer.Option(metavar="URL", help="The judge's address.")] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT|@FILE", help="System prompt for every dialogue.")] = None,
    temperature: Annotated[float | None, typer.Option(metavar="T", help="Sent only when given.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Longest answer.  [default: the suite's protocol]")
    ] = None,
    extra: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="Further body fields.")] = None,
    thinking: Annotated[str | None, typer.Option(metavar="on|off", help="Switch the model's thinking.")] = None,
    epochs: Annotated[int, typer.Option(metavar="K", help="How often each item is asked.")] = 1,
    seed: Annotated[
        int | None, typer.Option(metavar="S", help="Of choice and shuffling, and sent to the target.")
    ] = None,
    concurrency: Concurrency = None,
    judge_concurrency: JudgeConcurrency = 8,
    rpm: Rpm = None,
    tpm: Tpm = None,
    max_calls: MaxCalls = None,
    max_cost: MaxCost = None,
    timeout: Timeout = None,
    executor: Executor = "local",
    ray_address: RayAddress = None,
    ray_workers: RayWorkers = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, and ask nothing.")] = False,
    run_name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the run's folder.")] = None,
    out: Out = Path("runs"),
) -> None:
    """Run a suite on a model; the run is one like any other: resume, judge, verify, export."""
    from scsafety import api

    cluster = cluster_of(executor, ray_address, ray_workers)
    plans = [
        api.plan_suite(
            one, name, data or Path("data") / name, variant=variant, judge=judge, attacker=attacker,
            attacker_base_url=attacker_base_url, limit=limit, only=names(only), base_url=base_url,
            judge_base_url=judge_base_url, system=text_or_file("--system", system),
            temperature=temperature, max_tokens=max_tokens, extra=fields(extra), thinking=thinking, epochs=epochs, seed=seed,
            name=run_name, out=out,
        )
        for one in wanted_models(model, run_name, base_url)
    ]  # fmt: skip
    carry_out_plans(
        plans,
        lambda target: policy_for(
            target, concurrency, judge_concurrency, rpm=rpm, tpm=tpm, timeout_s=timeout, max_calls=max_calls, max_cost=max_cost
        ),
        dry_run=dry_run, cluster=cluster,
    )  # fmt: skip


def _judge(suite: Suite) -> str:
    judged = [variant for variant in suite.variants or ("",) if suite.needs_judge(variant)]
    if not judged:
        return "none needed" if suite.without_judge is None else "a model, if you like"
    return "a model" if len(judged) == len(suite.variants or ("",)) else f"a model for {', '.join(judged)}"
