"""`scsafety runs list|show|delete`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsafety.cli.console import table_console
from scsafety.errors import ConfigError, ScsafetyError

if TYPE_CHECKING:
    from scsafety.report.summary import Summary

app = typer.Typer(help="List, show and delete runs.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Folder that holds the runs.")]


@app.command("list", epilog="Example: scsafety runs list")
def list_runs(out: Out = Path("runs")) -> None:
    """One line a run: name, model, score, completeness."""
    from rich.table import Table
    from rich.text import Text

    from scsafety import api
    from scsafety.report.visible import one_line

    table = Table("run", "model", "score", "95%", "answers", "complete", "judge")
    for db in sorted(out.glob(f"*/{api.DB_NAME}")):
        try:
            summary = api.load_run(db.parent).summary
        except ScsafetyError as error:
            table.add_row(Text(one_line(db.parent.name)), Text(one_line(str(error))))
            continue
        score, ci95, n = _leading(summary)
        table.add_row(
            Text(one_line(db.parent.name)),
            Text(one_line(summary.target)),
            Text(one_line(score)),
            "-" if ci95 is None else f"{ci95[0]:.1f} ~ {ci95[1]:.1f}",
            str(n),
            "yes" if summary.complete else "no",
            Text(one_line(summary.judge.id)),
        )
    if table.row_count:
        table_console().print(table)
    else:
        typer.echo(f"no runs in {out}; `scsafety run --quick` makes one")


def _leading(summary: Summary) -> tuple[str, tuple[float, float] | None, int]:
    """The score, its interval and on how many answers it rests; of a suite its first figure, with its name."""
    if summary.suite is None:
        over = summary.overall
        return "-" if over.score is None else f"{over.score:.2f}", over.ci95, over.n
    suite = summary.suite
    first = next(iter(suite.metrics), None)
    value = "-" if first is None or first["value"] is None else f"{first['value']:.2f}{'%' if first['percent'] else ''}"
    name = " ".join(part for part in (suite.name, suite.variant, first["name"] if first else "") if part)
    return f"{name} {value}", first["ci95"] if first else None, suite.turns - suite.unanswered


@app.command(epilog="Example: scsafety runs show my-run")
def show(run: Annotated[str, typer.Argument(metavar="RUN")], out: Out = Path("runs")) -> None:
    """Print a run's table again."""
    from scsafety import api
    from scsafety.report.terminal import render_summary

    table_console().print(render_summary(api.load_run(run, out).summary))


@app.command(epilog="Example: scsafety runs delete my-run --yes")
def delete(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    out: Out = Path("runs"),
) -> None:
    """Delete a run with all its transcripts."""
    from scsafety import api
    from scsafety.store import refuse_while_written

    folder = api.find_run(run, out)
    strange = {path.name for path in folder.iterdir()} - {"summary.json", "report"}
    if any(not name.startswith(api.DB_NAME) for name in strange):
        raise ConfigError(f"{folder} holds more than a run ({', '.join(sorted(strange))}); delete it by hand")
    if not yes and not typer.confirm(f"Delete {folder} and every answer in it?"):
        raise typer.Exit(1)
    refuse_while_written(folder / api.DB_NAME)
    shutil.rmtree(folder)
    typer.echo(f"deleted {folder}")
