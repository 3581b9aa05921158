"""A chat endpoint with a fixed latency and next to no cost of its own, in a process of its own, so that what is measured
is the client.

    python -m benchmarks.endpoint --latency 0.05        # prints its address; ends when its standard input closes

A judge's request (it carries `评分` and a fence) gets a verdict, any other an answer that is like no other, since the same
answer is judged once only. `GET /stats` says how many were answered, from when to when, and how many were in flight at most;
`POST /reset` forgets all of it.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import NamedTuple

from benchmarks.loopback import Connection, Endpoint, run

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


class _FixedLatency(Connection):
    def __init__(self, counts: _Counts, latency_s: float) -> None:
        super().__init__()
        self._counts, self._latency_s = counts, latency_s

    def take(self, head: bytes, body: bytes) -> None:
        counts = self._counts
        if head.startswith(b"get /stats"):
            stats = {"calls": counts.calls, "seconds": counts.last - counts.first, "most_in_flight": counts.most}
            self.send(json.dumps(stats))
        elif head.startswith(b"post /reset"):
            counts.reset()
            self.send("{}")
        elif head.startswith(b"get"):
            self.send('{"object":"list","data":[{"id":"bench"}]}')
        else:
            counts.first = counts.first or time.monotonic()
            counts.in_flight += 1
            counts.most = max(counts.most, counts.in_flight)
            judged = any(mark in body for mark in JUDGE_MARK)
            self.loop.call_later(self._latency_s, self._answer, judged)

    def _answer(self, judged: bool) -> None:
        counts = self._counts
        counts.calls += 1
        counts.in_flight -= 1
        counts.last = time.monotonic()
        content = VERDICT if judged else f"{ANSWER}（{counts.calls}）"
        self.send(
            f'{{"id":"c{counts.calls}","object":"chat.completion","created":1,"model":"bench","choices":[{{"index":0,"message":'
            f'{{"role":"assistant","content":"{content}"}},"finish_reason":"stop"}}],{USAGE}}}'
        )


class EndpointProcess(Endpoint):
    """The endpoint for as long as the block lasts. Raises OSError where it cannot start."""

    def __init__(self, latency_s: float) -> None:
        super().__init__("benchmarks.endpoint", "--latency", str(latency_s))

    def stats(self) -> Stats:
        return Stats(**self.counts())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds until an answer")
    latency_s, counts = parser.parse_args().latency, _Counts()
    run(lambda: _FixedLatency(counts, latency_s))
