"""What commands share: the console for tables (room enough where the output is a file), a warning about keys."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

FILE_WIDTH = 150


def table_console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else FILE_WIDTH)


def warn_of_exposed_key() -> None:
    """One line on standard error where `.env` holds a provider's key and others can read it."""
    import typer

    from scsafety.targets.keys import exposed
    from scsafety.targets.providers import key_variables

    if (line := exposed(key_variables())) is not None:
        typer.echo(f"scsafety: {line}", err=True)
