"""A chat endpoint, target and judge in one, that fails a fifth of the time and answers the same in the end.

    python -m benchmarks.faulty_endpoint --faults 0.2        # prints its address; ends when its standard input closes

What befalls a request is decided by a hash of its conversation and of how often it was asked before, what it is answered by a
hash of the conversation alone: however often it has to be asked, the answer is the same in the end. A stable share of the
conversations is blocked by the vendor's filter, with faults and without.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import socket
import struct
import time
from collections import Counter, deque
from typing import Any

from benchmarks.loopback import Connection, response, run

BLOCKED_SHARE = 0.03
SAFE = "这样做可能违法，也会伤害别人。建议先和对方沟通，必要时咨询律师或者向社区求助；如果已经发生，请保留证据并报警。"
ANSWERS = (SAFE, "抱歉，我不能帮你做这件事。", "好的，当然可以。第一步先这样，第二步再那样。")
WITHIN_S = 0.1  # what a store may not have committed yet
NONCE = re.compile(r"(?<=<<<回答 )[0-9a-f]{16}")  # a judge's prompt is fenced by a word that is another one each time
SOON = "Retry-After-Ms: 5"

# fault -> its weight among the faults
FAULTS = {
    "429 with Retry-After-Ms": 3,
    "503 with Retry-After-Ms": 3,
    "500": 3,
    "529 overloaded": 2,
    "408": 1,
    "502, a web page": 2,
    "an error in a 200": 2,
    "finish reason network_error": 2,
    "half of the JSON": 2,
    "an empty body": 1,
    "a body cut off": 2,
    "chunks cut off": 2,
    "reset before a byte": 2,
    "closed before a byte": 1,
    "no HTTP": 1,
    "no answer at all": 0.5,
}
DRAWN = [fault for fault, weight in FAULTS.items() for _ in range(int(2 * weight))]


class Counts:
    """What the server knows of a run."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.asked: Counter[bytes] = Counter()  # by conversation
        self.answered: Counter[bytes] = Counter()
        self.faults: Counter[str] = Counter()
        self.n_blocked = self.peak = 0
        self.in_flight = self.most_in_flight = 0
        self.first = self.last = 0.0
        self._lately: deque[float] = deque()

    def answer(self, conversation: bytes) -> None:
        """An answer leaves now."""
        self.answered[conversation] += 1
        now = time.monotonic()
        self._lately.append(now)
        while self._lately[0] < now - WITHIN_S:
            self._lately.popleft()
        self.peak = max(self.peak, len(self._lately))

    def told(self) -> dict[str, Any]:
        return {
            "requests": self.asked.total(),
            "conversations": len(self.answered),
            "answered": self.answered.total(),
            "repeated": self.answered.total() - len(self.answered),
            "blocked": self.n_blocked,
            "most_answers_in_100_ms": self.peak,
            "most_in_flight": self.most_in_flight,
            "seconds": self.last - self.first,  # from the first request to the last answer
            "faults": dict(sorted(self.faults.items())),
        }


class Faulty(Connection):
    def __init__(self, counts: Counts, share: float, latency_s: float) -> None:
        super().__init__()
        self._counts, self._share, self._latency_s = counts, share, latency_s

    def take(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get /stats"):
            self.send(json.dumps(self._counts.told()))
        elif head.startswith(b"post /reset"):
            self._counts.reset()
            self.send("{}")
        else:
            counts = self._counts
            counts.first = counts.first or time.monotonic()
            counts.in_flight += 1
            counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
            self.loop.call_later(self._latency_s, self._respond, body)

    def _respond(self, body: bytes) -> None:
        self._counts.in_flight -= 1
        self._counts.last = time.monotonic()
        asked = json.loads(body)
        text = "\n".join(message["content"] for message in asked["messages"])
        nonce = NONCE.search(text)
        if nonce:
            text = text.replace(nonce[0], "")
        conversation = hashlib.sha256(f"{asked.get('seed')}\n{text}".encode()).digest()
        n = self._counts.asked[conversation]
        self._counts.asked[conversation] += 1
        drawn = hashlib.sha256(conversation + n.to_bytes(4)).digest()
        if int.from_bytes(drawn[:4]) / 2**32 < self._share:
            fault = DRAWN[int.from_bytes(drawn[4:8]) % len(DRAWN)]
            self._counts.faults[fault] += 1
            self._fail(fault)
        elif not self.transport.is_closing():
            self._counts.answer(conversation)
            self._answer(conversation, judged=nonce is not None)

    def _answer(self, conversation: bytes, *, judged: bool) -> None:
        share = int.from_bytes(conversation[:4]) / 2**32
        if judged:
            verdict = {"reason": f"看过（{conversation.hex()[:8]}）", "score": conversation[4] % 3, "confidence": 0.9}
            self.send(completion(json.dumps(verdict, ensure_ascii=False)))
        elif share < BLOCKED_SHARE / 2:
            self._counts.n_blocked += 1
            error = {"message": "Content Exists Risk", "type": "invalid_request_error", "code": "invalid_request_error"}
            self.send(json.dumps({"error": error}), "400 Bad Request")
        elif share < BLOCKED_SHARE:
            self._counts.n_blocked += 1
            self.send(completion("", "content_filter"))
        else:
            self.send(completion(f"{ANSWERS[conversation[4] % len(ANSWERS)]}（{conversation.hex()[:8]}）"))

    def _fail(self, fault: str) -> None:
        good = response(completion(SAFE))
        match fault:
            case "429 with Retry-After-Ms":
                self.send('{"error": {"message": "slow down"}}', "429 Too Many Requests", SOON)
            case "503 with Retry-After-Ms":
                self.send('{"error": {"message": "busy"}}', "503 Service Unavailable", SOON)
            case "500":
                self.send('{"error": {"message": "boom"}}', "500 Internal Server Error")
            case "529 overloaded":
                self.send('{"error": {"type": "overloaded_error", "message": "Overloaded"}}', "529 Overloaded")
            case "408":
                self.send("", "408 Request Timeout")
            case "502, a web page":
                self.send("<html><title>502 Bad Gateway</title></html>", "502 Bad Gateway")
            case "an error in a 200":
                self.send('{"error": {"message": "server overloaded"}}')
            case "finish reason network_error":
                self.send(completion("这样做", "network_error"))
            case "half of the JSON":
                self.send(completion(SAFE)[:60])
            case "an empty body":
                self.send("")
            case "a body cut off":
                self._hang_up(good[:-40])
            case "chunks cut off":
                self._hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b'8\r\n{"choice\r\n')
            case "reset before a byte":
                connection: socket.socket = self.transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.transport.abort()
            case "closed before a byte":
                self.transport.close()
            case "no HTTP":
                self._hang_up(b"SSH-2.0-OpenSSH_9.9\r\n")
            case "no answer at all":
                pass

    def _hang_up(self, after: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(after)
            self.transport.close()


def completion(content: str, finish_reason: str = "stop") -> str:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 120, "completion_tokens": 60}
    return json.dumps({"id": "r", "model": "faulty", "choices": [choice], "usage": usage}, ensure_ascii=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=float, default=0.2, help="share of the requests that fail")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds until an answer")
    given, counts = parser.parse_args(), Counts()
    run(lambda: Faulty(counts, given.faults, given.latency))
