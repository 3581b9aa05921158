"""What the endpoints of the benchmarks share: as much HTTP/1.1 as the clients here speak, in a process of its own.

A request comes after the other on a connection that stays open. `serve` prints its address and ends when its standard input
closes; `Endpoint` starts such a program and stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import urllib.request
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any, Self, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


ROOT = Path(__file__).parents[1]


class Connection(asyncio.Protocol):
    """Reads requests; what becomes of them is said by `take`."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is none by its class

    def data_received(self, data: bytes) -> None:
        held = self._held
        held += data
        while (end := held.find(b"\r\n\r\n")) >= 0:
            head = bytes(held[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(held) < end + 4 + length:
                return
            body = bytes(held[end + 4 : end + 4 + length])
            del held[: end + 4 + length]
            self.take(head, body)

    def take(self, head: bytes, body: bytes) -> None:
        raise NotImplementedError

    def send(self, text: str, status: str = "200 OK", *headers: str) -> None:
        if not self.transport.is_closing():
            self.transport.write(response(text, status, *headers))


def response(text: str, status: str = "200 OK", *headers: str) -> bytes:
    body = text.encode()
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def serve(connection: Callable[[], Connection]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    done = asyncio.Event()

    def watch() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=watch, daemon=True).start()
    await done.wait()
    server.close()


def run(connection: Callable[[], Connection]) -> None:
    """On the fastest event loop that is here."""
    loop_factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(connection))


class Endpoint:
    """A module that calls `run`, for as long as the block lasts. Raises OSError where it cannot start."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]

    def __enter__(self) -> Self:
        self._process = Popen(self._command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True)  # noqa: S603 (a file of this folder)
        assert self._process.stdout is not None  # noqa: S101 (a pipe was asked for)
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()
        self._process.wait(10)

    def reset(self) -> None:
        """Forget everything that was counted."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/reset", method="POST"), timeout=30).close()  # noqa: S310

    def counts(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/stats", timeout=30) as reply:  # noqa: S310 (loopback)
            counted: dict[str, Any] = json.load(reply)
        return counted
