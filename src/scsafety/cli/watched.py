"""Work that takes a while: a progress bar over it, then table, paths and exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from scsafety.cli.console import table_console, warn_of_exposed_key
from scsafety.errors import ScsafetyError, StoreError, TargetStop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scsafety.api import Plan, RunResult, Watch
    from scsafety.cluster import Cluster
    from scsafety.engine.settings import Policy


def carry_out_plans(
    plans: Sequence[Plan],
    policy_of: Callable[[str], Policy],
    *,
    dry_run: bool,
    log_json: Path | None = None,
    otel: bool = False,
    cluster: Cluster | None = None,
) -> None:
    """One after the other, each watched; the exit code is the worst. policy_of: by the target's name."""
    from scsafety import api

    if dry_run:
        for planned in plans:
            _say_plan(planned)
        return
    worst = 0
    for planned in plans:
        policy = policy_of(planned.settings.model)

        def work(watch: Watch, planned: Plan = planned, policy: Policy = policy) -> RunResult:
            return api.carry_out(planned, policy=policy, watch=watch, cluster=cluster)

        try:
            worst = max(worst, watched(work, planned.name, log_json, otel=otel))
        except (TargetStop, StoreError) as error:
            if len(plans) == 1:
                raise
            typer.echo(f"scsafety: {planned.name}: {error}", err=True)
            worst = max(worst, error.exit_code)
    raise typer.Exit(worst)


def _say_plan(planned: Plan) -> None:
    """What a run would ask, use and cost."""
    from scsafety import api

    settings = planned.settings
    n_twins = sum(item.kind == "benign" for item in planned.items)
    what = f"{len(planned.items) - n_twins} pairs, {n_twins} harmless twins"
    if settings.suite is not None:
        what = f"{len(planned.items)} items of {settings.suite.name} {settings.suite.variant}".rstrip()
    typer.echo(
        f"{settings.model}: {what}, {settings.epochs} epoch(s): "
        f"{'at most ' if settings.attack else ''}{planned.n_calls} target calls, judge {settings.judge}; "
        f"would be written to {planned.folder}"
    )
    for estimate in api.estimate(planned):
        price = (
            "price unknown" if estimate.amount is None else f"{estimate.amount:.2f} {estimate.currency or ''}".strip()
        )
        typer.echo(
            f"  {estimate.role} {estimate.endpoint}: {estimate.calls:,} calls, about {estimate.prompt_tokens:,} + "
            f"{estimate.completion_tokens:,} tokens, {price}"
        )


def watched(work: Callable[[Watch], RunResult], name: str, log_json: Path | None, *, otel: bool) -> int:
    """Do the work under a progress bar, then print table and paths. Returns the exit code."""
    from scsafety.api import Watch
    from scsafety.cli.progress import watching
    from scsafety.engine.listening import listening

    watch = Watch()
    warn_of_exposed_key()
    try:
        with listening(log_json, otel=otel) as on_event, watching(watch.progress) as on_pull:
            watch.on_pull, watch.progress.on_event = on_pull, on_event
            result = work(watch)
    except ScsafetyError:
        if watch.progress.turns_done:
            typer.echo(
                f"scsafety: {watch.progress.turns_done} answers are kept; `scsafety resume {name}` goes on", err=True
            )
        raise
    return show(result, name, stopped=watch.progress.stopped)


def show(result: RunResult, name: str, *, stopped: str = "") -> int:
    """Table, paths, and what is left to do. Returns the exit code."""
    from scsafety.report.terminal import render_summary

    table_console().print(render_summary(result.summary))
    typer.echo(f"summary  {result.folder / 'summary.json'}\nreport   {result.report}")
    if stopped:
        typer.echo(f"scsafety: {stopped}", err=True)
    if result.exit_code:
        typer.echo(f"scsafety: {_left(result, name)}", err=True)
    return result.exit_code


def _left(result: RunResult, name: str) -> str:
    """What is still to do, and the command that does it."""
    if (again := result.rejudged) is None:
        return f"{result.unanswered} turns unanswered, {result.unjudged} unjudged; `scsafety resume {name}` tries them again"
    from scsafety.report.lines import counted

    left = []
    if again.unjudged:
        left.append(
            f"{again.judge} left {counted(again.unjudged, 'answer')} unjudged; the same command tries them again"
        )
    if result.unanswered:
        left.append(f"{result.unanswered} turns unanswered; `scsafety resume {name}` tries them again")
    return "; ".join(left)
