"""A raw socket server on loopback that misbehaves below HTTP: it resets, stalls, lies about lengths, cuts answers off.

`ScriptedServer` fails the way vendors fail; this one fails the way networks, proxies and broken servers do.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

from tests.scripted_server import completion

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from types import TracebackType

    Behaviour = Callable[[socket.socket], None]

SAID = "建议先和对方沟通，必要时咨询律师。"
BODY = json.dumps(completion(SAID), ensure_ascii=False).encode()


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A response; `length` is what its Content-Length claims."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + (b"0\r\n\r\n" if end else b"")


def sends(data: bytes) -> Behaviour:
    """Sends what it is given and keeps the connection open, as HTTP/1.1 does."""
    return lambda connection: connection.sendall(data)


def hangs_up(after: bytes = b"") -> Behaviour:
    """Sends a part and closes in good order."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(after)
        connection.shutdown(socket.SHUT_RDWR)

    return behave


def resets(after: bytes = b"") -> Behaviour:
    """Sends a part and then a TCP reset."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(after)
        threading.Event().wait(0.05)  # a reset overtakes what is still on its way
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    return behave


def stalls(after: bytes = b"") -> Behaviour:
    """Sends a part and then nothing more, until the other side gives up."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(after)
        connection.recv(1)

    return behave


def trickles(data: bytes, every_s: float) -> Behaviour:
    """One byte after the other."""

    def behave(connection: socket.socket) -> None:
        for byte in data:
            connection.sendall(bytes([byte]))
            threading.Event().wait(every_s)

    return behave


ANSWERS: Behaviour = sends(http(BODY))


class MisbehavingServer:
    """A context manager. Each request meets the next behaviour; the last one is for all that come after."""

    def __init__(self, *behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self._behaviours, self._tls = list(behaviours), tls
        self.n_requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for open_one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                open_one.shutdown(socket.SHUT_RDWR)
            open_one.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the other side, or the test, is gone
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            while _read_request(connection):
                with self._lock:
                    self.n_requests += 1
                    behave = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
                behave(connection)


def _read_request(connection: socket.socket) -> bool:
    """Whether a whole request came."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return False
        data += part
        if data.startswith(b"\x16"):  # a TLS handshake: what an HTTP server makes of it
            connection.sendall(http(b"", "Connection: close", status="400 Bad Request"))
            return False
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
    )
    while len(body) < length:
        part = connection.recv(65_536)
        if not part:
            return False
        body += part
    return True


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """The address of a port that takes no further connection: a try to connect gets no reply at all."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(8):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        waiting.append(client)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        for one in (*waiting, listener):
            one.close()
