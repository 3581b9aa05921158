"""SC-Safety inside Inspect AI, and runs as its logs: the extra `scsafety[inspect]`, imported where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from scsafety.api import Run, RunResult


def export_run(run: Run, path: Path) -> None:
    """A run as an Inspect log, `.eval`, that `inspect view` opens: `scsafety export RUN --format inspect`.

    Raises ConfigError without inspect-ai, MachineError and StoreError.
    """
    _needed("--format inspect")
    from scsafety.inspect.writing import write_log

    write_log(run, path)


def import_log(path: Path, *, name: str | None = None, out: Path) -> RunResult:
    """A run of an Inspect log that `export_run` or one of our tasks wrote: `scsafety import FILE`.

    Raises ConfigError without inspect-ai and for any other log, MachineError and StoreError.
    """
    _needed("import")
    from scsafety.inspect.reading import read_log

    return read_log(path, name=name, out=out)


def _needed(what: str) -> None:
    try:
        import inspect_ai  # noqa: F401 (looked for)
    except ImportError as error:
        raise ConfigError(f"{what} needs inspect-ai: pip install 'scsafety[inspect]'") from error
