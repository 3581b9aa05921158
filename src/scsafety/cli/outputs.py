"""`report`, `export` and `import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsafety.cli.options import Out
from scsafety.cli.watched import show
from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

REDACT_HELP = "Leave out risky texts (scored 0, unjudged, severity 3), to pass it on."


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: scsafety report my-run --out site")(report)
    app.command(epilog="Example: scsafety export my-run --format csv > answers.csv")(export)
    app.command("import", epilog="Example: scsafety import logs/2026-11-22_sc-safety.eval --name my-run")(import_)


def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or names of runs.")],
    out: Annotated[Path, typer.Option(help="Folder to write the pages to.")] = Path("site"),
    runs_folder: Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")] = Path("runs"),
    standard: Annotated[
        str | None, typer.Option(metavar="S", help="Add evidence for another standard's assessment: gbt45654.")
    ] = None,
    format: Annotated[  # noqa: A002 (the flag's name)
        list[str] | None,
        typer.Option(metavar="F", help="Of the evidence: html, docx or xlsx; may be repeated.  [default: html]"),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the samples that --standard draws.")] = 0,
    redact: Annotated[bool, typer.Option("--redact", help=REDACT_HELP)] = False,
    charts: Annotated[
        bool, typer.Option("--charts", help="Add OUT/charts: SVG, PNG and CSV of each chart; needs scsafety[charts].")
    ] = False,
    models: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML: vendor, licence, origin and size of models, see docs/site.md."),
    ] = None,
    ghost: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Show a row published in 2024 below the tables, apart.")
    ] = None,
) -> None:
    """Write a site: OUT/index.html, a leaderboard, and of each run OUT/<run>/index.html, beside it transcripts.html.

    With --standard the evidence stands beside each report.
    """
    from scsafety import api
    from scsafety.cli.progress import counting
    from scsafety.report.evidence_files import refuse_unknown
    from scsafety.report.visible import one_line

    if redact and standard is not None:
        raise ConfigError(
            "--standard writes answers in full; leave --redact out, or write the evidence to another --out"
        )
    if format and standard is None:
        raise ConfigError("--format is of the evidence: give --standard too, like --standard gbt45654")
    formats = format or ["html"]
    refuse_unknown(formats)
    suites = {}
    for name in dict.fromkeys(runs):
        if (suite := api.load_settings(name, runs_folder).suite) is not None:
            suites[name] = suite.name
            if standard is not None:
                raise ConfigError(f"--standard: {name} is a run of the suite {suite.name}; leave it out")
    with counting("runs") as on_model:
        paths = api.build_site(
            runs,
            out,
            runs_folder,
            leave_out=redact,
            charts=charts,
            models=models,
            ghosts=ghost or (),
            on_model=on_model,
        )
    if standard is not None:
        for name in dict.fromkeys(runs):
            loaded = api.load_run(name, runs_folder)
            folder = out / loaded.folder.absolute().name
            paths += api.write_standard_evidence(loaded, standard, folder, seed=seed, formats=formats)
    for name, suite_name in suites.items():
        typer.echo(
            one_line(f"{name} is a run of the suite {suite_name}: it has its page and no place in the leaderboard")
        )
    for path in paths:
        typer.echo(f"wrote {path}")


def export(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Folders or names of runs; several with --scores.")
    ],
    format: Annotated[  # noqa: A002 (the flag's name)
        str | None,
        typer.Option(
            metavar="F", help="Turns as jsonl, csv, parquet, inspect, or hf (the datasets layout).  [default: jsonl]"
        ),
    ] = None,
    scores: Annotated[
        str | None, typer.Option(metavar="F", help="Scores instead of turns: markdown, csv, latex or json.")
    ] = None,
    badge: Annotated[Path | None, typer.Option(metavar="PATH", help="Write the score as an SVG badge.")] = None,
    charts: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write SVG, PNG and CSV of each chart of all RUNs; needs scsafety[charts]."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="File of parquet or inspect, folder of hf.  [default: RUN.parquet, RUN.eval, RUN-dataset]",
        ),
    ] = None,
    redact: Annotated[bool, typer.Option("--redact", help=REDACT_HELP)] = False,
    out: Out = Path("runs"),
) -> None:
    """Write every turn with its verdict: jsonl and csv to standard output, parquet to a file, hf to a folder. Or the scores.

    --format inspect writes the whole run as a log of Inspect AI (needs scsafety[inspect]); `scsafety import` reads it back.
    --scores prints one table of all RUNs, each figure with its interval, and what it rests on.
    """
    from scsafety import api

    if scores is not None or badge is not None or charts is not None:
        if format is not None or to is not None:
            raise ConfigError(
                "--format and --to are for turns; give --scores, --badge and --charts in a call of their own"
            )
        _export_scores(runs, scores, badge, charts, out)
        return
    if len(runs) > 1:
        raise ConfigError("turns are exported run by run; give one RUN, or --scores for a table of several")
    from scsafety.report.export import FORMATS, write_parquet

    format = format or "jsonl"  # noqa: A001
    if format == "parquet":
        loaded = api.load_run(runs[0], out)
        path = to or Path(f"{loaded.folder.name}.parquet")
        with loaded.open() as store:
            write_parquet(store, path, leave_out=redact)
        typer.echo(f"wrote {path}")
        return
    if format == "hf":
        from scsafety.report.dataset import export_run

        loaded = api.load_run(runs[0], out)
        with loaded.open() as store:
            for path in export_run(
                store, loaded.summary, to or Path(f"{loaded.folder.name}-dataset"), leave_out=redact
            ):
                typer.echo(f"wrote {path}")
        return
    if format == "inspect":
        _export_inspect(runs[0], to, out, redact=redact)
        return
    if format not in FORMATS:
        raise ConfigError(f"--format {format!r} is unknown; give {', '.join(FORMATS)}, parquet, inspect or hf")
    with api.load_run(runs[0], out).open() as store:
        for line in FORMATS[format](store, leave_out=redact):
            typer.echo(line)


def _export_inspect(run: str, to: Path | None, out: Path, *, redact: bool) -> None:
    from scsafety import api
    from scsafety.inspect import export_run

    if redact:
        raise ConfigError("--redact: an Inspect log holds the whole run; leave it out, or export jsonl")
    loaded = api.load_run(run, out)
    path = to or Path(f"{loaded.folder.name}.eval")
    export_run(loaded, path)
    typer.echo(f"wrote {path}")


def _export_scores(runs: Sequence[str], scores: str | None, badge: Path | None, charts: Path | None, out: Path) -> None:
    from scsafety import api
    from scsafety.files import write_whole
    from scsafety.report.badge import badge as badge_of
    from scsafety.report.scores import FORMATS

    if scores is not None and scores not in FORMATS:
        raise ConfigError(f"--scores {scores!r} is unknown; give {', '.join(FORMATS)}")
    if badge is not None and len(runs) > 1:
        raise ConfigError("--badge is of one run; give one RUN")
    loaded = [api.load_run(name, out) for name in dict.fromkeys(runs)]
    for run in loaded:
        if run.summary.suite is not None:
            raise ConfigError(
                f"{run.folder.name} is a run of the suite {run.summary.suite.name}: its figures are in summary.json under "
                f"`suite`, or `scsafety runs show {run.folder.name}`; --scores, --badge and --charts are of SC-Safety's score"
            )
    summaries = [run.summary for run in loaded]
    if scores is not None:
        for line in FORMATS[scores](summaries):
            typer.echo(line)
    if badge is not None:
        write_whole(badge, badge_of(summaries[0]).encode())
        typer.echo(f"wrote {badge}", err=True)
    if charts is not None:
        from scsafety.report.figures import write_charts

        for path in write_charts({run.folder.name: run.summary for run in loaded}, charts):
            typer.echo(f"wrote {path}", err=True)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A log of Inspect AI, .eval.")],
    name: Annotated[
        str | None, typer.Option(help="The run's name.  [default: the file's, or after model and time]")
    ] = None,
    out: Out = Path("runs"),
) -> None:
    """Make a run of an Inspect log: of scsafety/sc_safety, scsafety/sc_safety_benign, or of `export --format inspect`."""
    from scsafety.inspect import import_log

    result = import_log(file, name=name, out=out)
    raise typer.Exit(show(result, result.folder.name))
