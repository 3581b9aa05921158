"""Files at the edge: JSON Lines in, with errors that name the line; whole files out, or none."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.errors import MachineError, RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE_BYTES = 65_536


def read_objects(path: Path, fault: type[RecordError]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of every line of a JSON Lines file; empty lines are passed over.

    Raises `fault` for a file that cannot be read and for the first line that is no JSON object in UTF-8.
    """
    try:
        with path.open("rb") as file:
            for n, line in enumerate(file, start=1):
                if n == 1 and line.startswith(b"\xef\xbb\xbf"):
                    raise fault(path, "starts with a byte-order mark", "save it as UTF-8 without BOM", line=1)
                if line.strip():
                    yield n, _read_object(path, n, line.removesuffix(b"\n"), fault)
    except OSError as error:
        raise fault(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error


def _read_object(path: Path, line: int, data: bytes, fault: type[RecordError]) -> dict[str, Any]:
    if len(data) > MAX_LINE_BYTES:
        raise fault(
            path,
            f"the line has {len(data):,} bytes, more than {MAX_LINE_BYTES:,}",
            "put each record on a line of its own and shorten its texts",
            line=line,
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise fault(path, f"invalid UTF-8 at byte {error.start + 1}", "save it as UTF-8", line=line) from error
    try:
        record = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise fault(path, f"not JSON ({error})", "write one JSON object a line", line=line) from error
    if not isinstance(record, dict):
        raise fault(path, "not a JSON object", 'write one object a line, {"id": ...}', line=line)
    return record


def write_whole(path: Path, data: bytes) -> None:
    """All of it or nothing; missing folders are made. Raises MachineError."""
    with whole(path) as half:
        half.write_bytes(data)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Another file beside it, to be written; it takes the place of `path` where the block ends well, else it is gone.

    Missing folders are made. Raises MachineError.
    """
    half = path.with_name(f".{os.getpid()}.part.{path.name}")  # two processes that write one file do not mix
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield half
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        problem = error.strerror or str(error)
        raise MachineError(
            f"{path}: cannot be written: {problem}; choose a writable folder, or free the disk"
        ) from error
