"""`verify`: does a run say what its store holds?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: scsafety verify my-run")(verify)


def verify(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or its name.")],
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Recompute everything that can be: the file, frozen questions, conversations, verdicts, every number of the summary.

    Exit 3 where something does not hold. It finds damage and editing by hand; it is no seal.
    """
    from scsafety import api
    from scsafety.errors import GateError

    found = api.verify(run, out)
    for line in found:
        typer.echo("".join(c if c.isprintable() else " " for c in line))
    if found:
        raise GateError(f"{len(found)} things in {run} do not hold")
    typer.echo(f"{run}: everything holds")
