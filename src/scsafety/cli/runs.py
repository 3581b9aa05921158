"""`scsafety runs list|show|delete`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from scsafety.cli.console import table_console
from scsafety.errors import ConfigError, ScsafetyError

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
        over = summary.overall
        table.add_row(
            Text(one_line(db.parent.name)),
            Text(one_line(summary.target)),
            "-" if over.score is None else f"{over.score:.2f}",
            "-" if over.ci95 is None else f"{over.ci95[0]:.1f} ~ {over.ci95[1]:.1f}",
            str(over.n),
            "yes" if summary.complete else "no",
            Text(one_line(summary.judge.id)),
        )
    if table.row_count:
        table_console().print(table)
    else:
        typer.echo(f"no runs in {out}; `scsafety run --quick` makes one")


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
