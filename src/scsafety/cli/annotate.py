"""`annotate`: label a run's answers in the browser, or in a spreadsheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scsafety.cli.console import table_console
from scsafety.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: scsafety annotate my-run --annotator li --annotator wang --sample 120")(annotate)


def annotate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or its name.")],
    annotator: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Who labels; may be given more than once.  [default: me]")
    ] = None,
    sample: Annotated[int, typer.Option(metavar="N", help="Pairs to label.")] = 120,
    plan: Annotated[
        str,
        typer.Option(metavar="P", help="random (stratified; may correct the score), uncertain or disagreement."),
    ] = "random",
    second: Annotated[float, typer.Option(metavar="SHARE", help="Share of the pairs that two people label.")] = 0.2,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the sample.")] = 0,
    sheet: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Instead of the page write DIR/NAME.csv for each annotator.")
    ] = None,
    merge: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Read a filled sheet back; may be repeated.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; the default is this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Label answers 0, 1 or 2 in the browser, blind to every judge; Ctrl-C ends it and nothing is lost.

    Each annotator opens a link of his own. Labels are verdicts of the run; the report then shows the score as people correct it.
    Without a browser: --sheet writes spreadsheets, --merge reads them back.
    """
    from scsafety.judge.people import PLANS
    from scsafety.report.terminal import render_summary
    from scsafety.web.annotate import label_run
    from scsafety.web.sheet import merge_sheets, write_sheets

    if plan not in PLANS:
        raise ConfigError(f"--plan {plan!r} is unknown; give {', '.join(PLANS)}")
    if sample < 1 or not 0 <= second <= 1:
        raise ConfigError("--sample is 1 or more, --second a share from 0 to 1")
    if merge:
        if sheet or annotator:
            raise ConfigError("--merge stands alone: a sheet knows its annotator")
        new, result = merge_sheets(run, merge, out=out)
        table_console().print(render_summary(result.summary))
        typer.echo(f"{new} new labels")
        return
    names = list(dict.fromkeys(annotator or ["me"]))
    if second and len(names) == 1:
        second = 0.0  # nobody there for the second label

    if sheet:
        for path in write_sheets(run, names, sheet, sample=sample, plan=plan, second_share=second, seed=seed, out=out):
            typer.echo(path)
        typer.echo(f"fill in the column `score` with 0, 1 or 2, then: scsafety annotate {run} --merge FILE", err=True)
        return

    def up(links: dict[str, str]) -> None:
        for name, link in links.items():
            typer.echo(f"{name}: {link}")
        if host not in LOOPBACK:
            typer.echo(f"scsafety: listening on {host}: everyone who has a link can read these answers", err=True)
        typer.echo("Ctrl-C ends the session; labels are saved as they are given", err=True)

    result = label_run(
        run,
        names,
        sample=sample,
        plan=plan,
        second_share=second,
        seed=seed,
        host=host,
        port=port,
        on_up=up,
        out=out,
    )
    table_console().print(render_summary(result.summary))
