"""`scsafety doctor`: is everything here that a run needs, and do target and judge answer?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scsafety.errors import GateError


def doctor(
    model: Annotated[str | None, typer.Option(metavar="M", help="Ask this target a few harmless questions.")] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="The target's address.")] = None,
    judge: Annotated[str | None, typer.Option(metavar="J", help="Let this judge judge one harmless answer.")] = None,
    judge_base_url: Annotated[str | None, typer.Option(metavar="URL", help="The judge's address.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Prove that nothing calls out.")] = False,
    out: Annotated[Path, typer.Option(help="Folder that will hold the runs.")] = Path("runs"),
) -> None:
    """Check what a run needs: versions, bank, disk, the embedded model; with --model and --judge the endpoints too.

    Of an endpoint: key, proxy and certificates, name, port and TLS, then three calls: does it answer in both rounds, is a
    harmless question blocked, which parameters does it refuse? Exit code 3 when a check fails.
    """
    from scsafety import api

    levels: list[str] = []
    for finding in api.checkup(
        model, base_url=base_url, judge=judge, judge_base_url=judge_base_url, offline=offline, out=out
    ):
        levels.append(finding.level)
        text = "".join(c if c.isprintable() else " " for c in finding.text)
        typer.echo(f"{finding.level:<4}  {finding.name}: {text}")
    if failed := levels.count("FAIL"):
        raise GateError(f"{failed} of {len(levels)} checks failed; the lines above say what to mend")
