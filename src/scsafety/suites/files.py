"""Reading other people's files: JSON, JSON Lines and CSV, with errors that name file, record and field."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

from scsafety.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


MEND = "--data names your copy of the suite's data; `scsafety suite info NAME` says where to get it"
AGAIN = "fetch the file anew"


class SuiteDataError(RecordError):
    """A file of a suite's data that cannot be used."""


def only(data: Path, *patterns: str) -> Path:
    """The one file meant by `data`: itself, or the single file in the folder that fits the first pattern that any fits.

    Raises SuiteDataError.
    """
    if data.is_file():
        return data
    if not data.is_dir():
        raise SuiteDataError(data, "no such file or folder", MEND)
    for pattern in patterns:
        found = sorted(data.rglob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found[:4])
            raise SuiteDataError(data, f"several files fit {pattern} ({names})", "name one of them with --data")
    raise SuiteDataError(data, f"no file {' or '.join(patterns)} in it", MEND)


def text_of(path: Path) -> str:
    """UTF-8 with or without a byte-order mark. Raises SuiteDataError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SuiteDataError(path, str(error.strerror), MEND) from error
    except UnicodeDecodeError as error:
        raise SuiteDataError(path, f"byte {error.start} is not UTF-8", "save the file as UTF-8") from error


def json_of(path: Path) -> Any:
    """The file's JSON value. Raises SuiteDataError."""
    try:
        return json.loads(text_of(path))
    except ValueError as error:
        raise SuiteDataError(path, f"not JSON ({error})", AGAIN) from error


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not blank. Raises SuiteDataError."""
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise SuiteDataError(path, f"not a JSON object ({error})", AGAIN, line=number) from error
        if not isinstance(value, dict):
            raise SuiteDataError(path, "not a JSON object", AGAIN, line=number)
        yield number, value


def csv_rows(path: Path, *columns: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(row number, row) of a CSV file that has these columns. Raises SuiteDataError."""
    reader = csv.DictReader(io.StringIO(text_of(path), newline=""))
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise SuiteDataError(
            path, f"the columns are {', '.join(reader.fieldnames or ['none'])}", AGAIN, line=1, field=missing[0]
        )
    for number, row in enumerate(reader, start=1):
        yield number, {name: value or "" for name, value in row.items() if name is not None}


def text_in(record: Mapping[str, Any], name: str, path: Path, line: int | None = None) -> str:
    """A text that must be there, stripped. Raises SuiteDataError."""
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise SuiteDataError(
            path, "no text there", "the published format has one; fetch the file anew", line=line, field=name
        )
    return value.strip()


def sha256_of(path: Path) -> str:
    """Of a file, or of a folder's files by name and content, hex."""
    found = hashlib.sha256()
    for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if one.is_file():
            found.update(f"{one.relative_to(path)}\n".encode() if path.is_dir() else b"")
            found.update(one.read_bytes())
    return found.hexdigest()
