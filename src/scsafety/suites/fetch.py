"""A suite's data from where its publishers keep it, onto the user's machine and nowhere else."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from scsafety.errors import ConfigError, MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scsafety.suites.base import Home, Suite

STALL_S = 60.0
CHUNK_BYTES = 2**16


def fetch_suite(
    suite: Suite, folder: Path, *, on_bytes: Callable[[str, int], None] = lambda _file, _n: None
) -> Iterator[tuple[Path, str]]:
    """Each file as it arrives, with its SHA-256; a file that is there already is not fetched again.

    on_bytes: told of the bytes of a file so far. Nothing half-written is left under a file's own name.
    Raises ConfigError where the suite's publishers keep it in no place that a program can fetch from, MachineError else.
    """
    if not suite.about.homes:
        raise ConfigError(f"{suite.name} cannot be fetched by a program; get it by hand: {suite.about.where}")
    for home in suite.about.homes:
        path = folder / home.file
        if not path.is_file():
            _fetch(home, path, lambda n, home=home: on_bytes(home.file, n))  # type: ignore[misc]
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if home.sha256 is not None and found != home.sha256:
            raise MachineError(
                f"{path}: sha256 {found}, but {home.sha256} was published; delete the file and fetch it anew"
            )
        yield path, found


def _fetch(home: Home, path: Path, on_bytes: Callable[[int], None]) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(home.url, timeout=STALL_S) as reply, part.open("wb") as file:  # noqa: S310 (https)
            had = 0
            while chunk := reply.read(CHUNK_BYTES):
                had += file.write(chunk)
                on_bytes(had)
            expected = reply.headers.get("Content-Length")
        if expected is not None and int(expected) != had:
            raise MachineError(
                f"{home.url}: the connection broke off after {had:,} of {int(expected):,} bytes; try again"
            )
        part.replace(path)
    except urllib.error.HTTPError as error:
        raise MachineError(
            f"{home.url}: answered {error.code} {error.reason}; get the file by hand and use --data"
        ) from error
    except (OSError, ValueError) as error:
        raise MachineError(f"{home.url}: {error}; check the network, or get the file by hand and use --data") from error
    finally:
        part.unlink(missing_ok=True)
