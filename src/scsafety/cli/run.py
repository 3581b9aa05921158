"""`run`, `resume`, `judge`, `report`, `export` and `import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scsafety.cli.console import table_console, warn_of_exposed_key
from scsafety.errors import ConfigError, ScsafetyError, StoreError, TargetStop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scsafety.api import Plan, RunResult, Watch
    from scsafety.cluster import Cluster
    from scsafety.engine.settings import Policy

EMBEDDED = "local/qwen2.5-coder-0.5b"

Out = Annotated[Path, typer.Option(help="Folder that holds the runs.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or its name.")]
Concurrency = Annotated[int | None, typer.Option(help="Target calls in flight.  [default: 8, or the provider's]")]
JUDGE_HELP = (
    "offline, offline-large, offline-fast, offline:DIR, provider/model, guard:NAME, panel:A,B,C, cascade:A,B or chain:A,B; "
    "J+thinking judges the thinking too."
)
REDACT_HELP = "Leave out risky texts (scored 0, unjudged, severity 3), to pass it on."
JudgeEpochs = Annotated[int, typer.Option(metavar="K", help="Ask the judge K times and take the median.")]
JudgeConcurrency = Annotated[int, typer.Option(help="Judge calls in flight.")]
Rpm = Annotated[float | None, typer.Option(help="Target requests a minute, at most.")]
Tpm = Annotated[float | None, typer.Option(help="Target tokens a minute, at most (estimated before each call).")]
MaxCalls = Annotated[int | None, typer.Option(metavar="N", help="Stop after N requests; resume goes on.")]
MaxCost = Annotated[
    float | None, typer.Option(metavar="X", help="Stop when X is spent, by prices.toml; resume goes on.")
]
Patience = Annotated[
    float, typer.Option(metavar="S", help="Seconds that an endpoint may be down before the run stops.")
]
Timeout = Annotated[float | None, typer.Option(help="Seconds without a byte before a call is tried again.")]
LogJson = Annotated[
    Path | None,
    typer.Option("--log-json", metavar="PATH", help="Append every event to PATH, JSON Lines without texts."),
]
Otel = Annotated[
    bool,
    typer.Option("--otel", help="OpenTelemetry spans, exported as the OTEL_* variables say; needs scsafety[otel]."),
]
Executor = Annotated[
    str, typer.Option(metavar="E", help="local, or ray: spread over a Ray cluster; needs scsafety[ray].")
]
RayAddress = Annotated[
    str | None,
    typer.Option(metavar="A", help="Of a cluster that runs, or auto.  [default: one on this machine, for this run]"),
]
RayWorkers = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Processes on the cluster.  [default: a processor each; a node each with local models]"
    ),
]
Model = Annotated[
    list[str] | None,
    typer.Option(
        metavar="M",
        help="provider/model, local/NAME, gguf:PATH, openai-compatible/NAME or http:FILE.toml; may be given more than once.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: scsafety run --model deepseek/deepseek-chat --judge offline --limit 3")(run)
    app.command(epilog="Example: scsafety resume my-run --concurrency 2")(resume)
    app.command(epilog="Example: scsafety judge my-run another --judge deepseek/deepseek-chat --primary")(judge)
    app.command(epilog="Example: scsafety report my-run --out site")(report)
    app.command(epilog="Example: scsafety export my-run --format csv > answers.csv")(export)
    app.command("import", epilog="Example: scsafety import logs/2026-11-22_sc-safety.eval --name my-run")(import_)


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
    judge = _repeated(judge, judge_epochs)
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


def cluster_of(executor: str, address: str | None, workers: int | None) -> Cluster | None:
    """None: this process does the work. Raises ConfigError."""
    if executor not in ("local", "ray"):
        raise ConfigError(f"--executor {executor}: give local or ray")
    if executor == "local":
        if address is not None or workers is not None:
            raise ConfigError(f"{'--ray-workers' if address is None else '--ray-address'} goes with --executor ray")
        return None
    from scsafety.cluster import Cluster

    return Cluster(address=address, workers=workers)


def wanted_models(model: Sequence[str] | None, name: str | None, base_url: str | None) -> list[str]:
    """Each once, the embedded one where none is given. Raises ConfigError for what several cannot share."""
    wanted = list(dict.fromkeys(model or [EMBEDDED]))
    if name is not None and len(wanted) > 1:
        raise ConfigError("--name names one run; leave it out when several models are given")
    if base_url is not None and len({one.partition("/")[0] for one in wanted}) > 1:
        raise ConfigError("--base-url is one address; run models of different providers one after the other")
    return wanted


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
            worst = max(worst, _watched(work, planned.name, log_json, otel=otel))
        except (TargetStop, StoreError) as error:
            if len(plans) == 1:
                raise
            typer.echo(f"scsafety: {planned.name}: {error}", err=True)
            worst = max(worst, error.exit_code)
    raise typer.Exit(worst)


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

    raise typer.Exit(_watched(work, run, log_json, otel=otel))


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

    judge, cluster = _repeated(judge, judge_epochs), cluster_of(executor, ray_address, ray_workers)
    policy = Policy(judge_concurrency=judge_concurrency, timeout_s=timeout, max_calls=max_calls, max_cost=max_cost)
    worst = 0
    for run in dict.fromkeys(runs):

        def work(watch: Watch, run: str = run) -> RunResult:
            return api.judge_run(
                run, judge, primary=primary, judge_base_url=judge_base_url, policy=policy, watch=watch, cluster=cluster, out=out
            )  # fmt: skip

        worst = max(worst, _watched(work, run, log_json, otel=otel))
    raise typer.Exit(worst)


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
    raise typer.Exit(_show(result, result.folder.name))


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


def _watched(work: Callable[[Watch], RunResult], name: str, log_json: Path | None, *, otel: bool) -> int:
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
    return _show(result, name, stopped=watch.progress.stopped)


def _show(result: RunResult, name: str, *, stopped: str = "") -> int:
    """Table, paths, and what is left to do. Returns the exit code."""
    from scsafety.report.terminal import render_summary

    table_console().print(render_summary(result.summary))
    typer.echo(f"summary  {result.folder / 'summary.json'}\nreport   {result.report}")
    if stopped:
        typer.echo(f"scsafety: {stopped}", err=True)
    if result.exit_code:
        over = result.summary.suite or result.summary.over_refusal
        unanswered = result.summary.unanswered + (over.unanswered if over else 0)
        unjudged = result.summary.unjudged + (over.unjudged if over else 0)
        typer.echo(
            f"scsafety: {unanswered} turns unanswered, {unjudged} unjudged; `scsafety resume {name}` tries them again",
            err=True,
        )
    return result.exit_code


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


def policy_for(model: str, concurrency: int | None, judge_concurrency: int, **limits: Any) -> Policy:
    from scsafety.engine.settings import DEFAULT_CONCURRENCY, Policy
    from scsafety.targets.providers import find_provider

    provider = find_provider(model.partition("/")[0])
    usual = provider.concurrency if provider and provider.concurrency else DEFAULT_CONCURRENCY
    return Policy(
        concurrency=concurrency if concurrency is not None else usual,
        judge_concurrency=judge_concurrency,
        **limits,
    )


def _repeated(judge: str, epochs: int) -> str:
    if epochs < 1:
        raise ConfigError(f"--judge-epochs {epochs}: give 1 or more")
    return judge if epochs == 1 else f"{judge}*{epochs}"


def names(text: str | None) -> Sequence[str]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def fields(text: str | None) -> dict[str, Any] | None:
    """--extra: a JSON object."""
    import msgspec

    written = text_or_file("--extra", text)
    if written is None:
        return None
    try:
        return msgspec.json.decode(written, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ConfigError(f"--extra {text}: no JSON object ({error}); write it like '{{\"top_k\": 20}}'") from error


def text_or_file(option: str, text: str | None) -> str | None:
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option} {text}: cannot be read ({error}); give @FILE in UTF-8") from error
