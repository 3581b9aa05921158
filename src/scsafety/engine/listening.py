"""Who is told of a sitting's events: a log, JSON Lines, and a trace; nobody unless the user asks."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from scsafety.errors import ConfigError, MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scsafety.engine.events import Event, Sink


@contextmanager
def listening(log_json: Path | None = None, *, otel: bool = False) -> Iterator[Sink | None]:
    """What `Progress.on_event` is set to for as long as the block lasts; None where nobody listens.

    Raises ConfigError where the log cannot be opened or a package for the trace is missing.
    """
    with ExitStack() as stack:
        sinks = [stack.enter_context(event_log(log_json))] if log_json is not None else []
        if otel:
            from scsafety.engine.tracing import provider_from_environment, tracing

            sinks.append(stack.enter_context(tracing(provider_from_environment())))

        def tell_all(event: Event) -> None:
            for sink in sinks:
                sink(event)

        yield tell_all if sinks else None


@contextmanager
def event_log(path: Path) -> Iterator[Sink]:
    """Appends each event as a line at once. The sink raises MachineError where it cannot be written any more."""
    try:
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise ConfigError(
            f"--log-json {path}: {error.strerror or error}; give a file in a folder that is there and can be written"
        ) from error

    def write(event: Event) -> None:
        try:
            line = msgspec.json.encode(event) + b"\n"
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise MachineError(
                f"--log-json {path}: {error.strerror or error}; everything that was answered is kept, free some space or leave "
                "the log out, then `scsafety resume` goes on"
            ) from error

    with file:
        if (
            file.tell() and file.seek(-1, 2) and file.read(1) != b"\n"
        ):  # a writer that was cut off in the middle of a line
            file.write(b"\n")
        yield write
