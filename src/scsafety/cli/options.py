"""Options that several commands share, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def wanted_models(model: Sequence[str] | None, name: str | None, base_url: str | None) -> list[str]:
    """Each once, the embedded one where none is given. Raises ConfigError for what several cannot share."""
    wanted = list(dict.fromkeys(model or [EMBEDDED]))
    if name is not None and len(wanted) > 1:
        raise ConfigError("--name names one run; leave it out when several models are given")
    if base_url is not None and len({one.partition("/")[0] for one in wanted}) > 1:
        raise ConfigError("--base-url is one address; run models of different providers one after the other")
    return wanted


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


def repeated(judge: str, epochs: int) -> str:
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
