"""The console for tables: the terminal's own width, and room enough where the output is a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

FILE_WIDTH = 150


def table_console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
