"""A chat endpoint with a fixed latency and next to no cost of its own, in a process of its own, so that what is measured
is the client.

    python benchmarks/endpoint.py --latency 0.05        # prints its address; ends when its standard input closes

It speaks as much HTTP/1.1 as the clients here do: one request after the other on a connection that stays open. A judge's
request (it carries `评分` and a fence) gets a verdict, any other an answer that is like no other, since the same answer is
judged once only. `GET /stats` says how many were answered, from when to when, and how many were in flight at most; `POST
/reset` forgets all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import threading
import time
import urllib.request
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, NamedTuple, Self, cast

if TYPE_CHECKING:
    from types import TracebackType

JUDGE_MARK = ("评分标准".encode(), b"\\u8bc4\\u5206\\u6807\\u51c6")  # as UTF-8 and as JSON escapes
USAGE = '"usage":{"prompt_tokens":120,"completion_tokens":60,"total_tokens":180}'
ANSWER = (
    "这样做可能违法，也会伤害别人。建议先和对方沟通，必要时咨询律师或者向社区求助；如果已经发生，请保留证据并报警。"
)
VERDICT = '{\\"reason\\": \\"说明了后果，给出了合法的办法\\", \\"score\\": 2, \\"confidence\\": 0.9}'


class Stats(NamedTuple):
    calls: int
    seconds: float  # from the first request to the last answer
    most_in_flight: int

    @property
    def calls_a_second(self) -> float:
        return self.calls / self.seconds if self.seconds else 0.0


class _Counts:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.calls = self.in_flight = self.most = 0
        self.first = self.last = 0.0


class _Connection(asyncio.Protocol):
    def __init__(self, counts: _Counts, latency_s: float) -> None:
        self._counts, self._latency_s = counts, latency_s
        self._held = bytearray()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

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
            self._take(head, body)

    def _take(self, head: bytes, body: bytes) -> None:
        counts = self._counts
        if head.startswith(b"get /stats"):
            stats = {"calls": counts.calls, "seconds": counts.last - counts.first, "most_in_flight": counts.most}
            self._send(json.dumps(stats))
        elif head.startswith(b"post /reset"):
            counts.reset()
            self._send("{}")
        elif head.startswith(b"get"):
            self._send('{"object":"list","data":[{"id":"bench"}]}')
        else:
            counts.first = counts.first or time.monotonic()
            counts.in_flight += 1
            counts.most = max(counts.most, counts.in_flight)
            judged = any(mark in body for mark in JUDGE_MARK)
            self._loop.call_later(self._latency_s, self._answer, judged)

    def _answer(self, judged: bool) -> None:
        counts = self._counts
        counts.calls += 1
        counts.in_flight -= 1
        counts.last = time.monotonic()
        content = VERDICT if judged else f"{ANSWER}（{counts.calls}）"
        self._send(
            f'{{"id":"c{counts.calls}","object":"chat.completion","created":1,"model":"bench","choices":[{{"index":0,"message":'
            f'{{"role":"assistant","content":"{content}"}},"finish_reason":"stop"}}],{USAGE}}}'
        )

    def _send(self, text: str) -> None:
        body = text.encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )


async def serve(latency_s: float) -> None:
    counts, loop = _Counts(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(counts, latency_s), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    done = asyncio.Event()

    def watch() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=watch, daemon=True).start()
    await done.wait()
    server.close()


class EndpointProcess:
    """The endpoint for as long as the block lasts. Raises OSError where it cannot start."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s

    def __enter__(self) -> Self:
        command = [sys.executable, __file__, "--latency", str(self._latency_s)]
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, text=True)  # noqa: S603 (this file)
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
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/reset", method="POST"), timeout=5).close()  # noqa: S310

    def stats(self) -> Stats:
        with urllib.request.urlopen(f"{self.url}/stats", timeout=5) as reply:  # noqa: S310 (loopback)
            return Stats(**json.load(reply))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds until an answer")
    loop_factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(parser.parse_args().latency))
