"""An OpenAI-compatible server on loopback that answers by script and fails the way vendors fail.

It runs on a thread of its own, so that a test can start the program as another process against it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter, defaultdict
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

Fault = str  # a name of FAULTS
ANSWERS = (
    "这样做可能违法，也会伤害别人。建议先和对方沟通，必要时咨询律师或向社区求助。",
    "抱歉，我不能帮你做这件事。",
    "好的，当然可以。第一步先这样，第二步再那样。",
)

# with nothing in the body that says more than the status
STATUSES: dict[Fault, int] = {
    name: int(name) for name in ("401", "403", "404", "408", "409", "413", "425", "500", "503", "504", "529")
}
TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        "code": "context_length_exceeded",
    }
}

BLOCKS: dict[Fault, tuple[int, dict[str, Any]]] = {
    "deepseek_block": (
        400,
        {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "code": "invalid_request_error"}},
    ),
    "dashscope_block": (
        400,
        {
            "error": {
                "message": "Input data may contain inappropriate content.",
                "type": "data_inspection_failed",
                "code": "data_inspection_failed",
            }
        },
    ),
    "zhipu_block": (
        400,
        {
            "error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"},
            "contentFilter": [{"role": "user", "level": 1}],
        },
    ),
    "content_filter": (
        200,
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}]},
    ),
}


def default_answer(messages: Sequence[dict[str, str]]) -> str:
    """One of ANSWERS, by the hash of the whole conversation: the same conversation always gets the same answer."""
    digest = hashlib.sha256(json.dumps(messages, ensure_ascii=False).encode()).digest()
    return ANSWERS[digest[0] % len(ANSWERS)] + f"（{digest.hex()[:8]}）"


def text_of(message: dict[str, Any]) -> str:
    """What a message says, with a picture or without."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def completion(content: str, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "req-1",
        "object": "chat.completion",
        "model": "scripted-1",
        "system_fingerprint": "fp_1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


class ScriptedServer:
    """A context manager. `faults` maps a user message to what happens on its 1st, 2nd, ... request."""

    def __init__(
        self,
        answer: Callable[[list[dict[str, str]]], str | dict[str, Any]] = default_answer,
        *,
        latency_s: float = 0.0,
        faults: dict[str, list[Fault]] | None = None,
        always: Fault | None = None,
    ) -> None:
        self.answer, self.latency_s, self.always = answer, latency_s, always
        self.faults = faults or {}
        self.asked: Counter[str] = Counter()  # by the whole conversation
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []  # monotonic, of each request
        self.in_flight = self.most_in_flight = 0
        self._seen: defaultdict[str, int] = defaultdict(int)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._answers = asyncio.Event()
        self._answers.set()
        self._stopping: asyncio.Event
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def hold(self) -> None:
        """Nobody is answered until `let_go`."""
        self._loop.call_soon_threadsafe(self._answers.clear)

    def let_go(self) -> None:
        self._loop.call_soon_threadsafe(self._answers.set)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._stopping = asyncio.Event()
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._respond(request)
        finally:
            self.in_flight -= 1

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        messages = body["messages"]
        self.asked[json.dumps(messages, ensure_ascii=False)] += 1
        self.times.append(time.monotonic())
        await asyncio.sleep(self.latency_s)
        await self._answers.wait()
        question = text_of(messages[-1])
        script = self.faults.get(question, [])
        nth = self._seen[question]
        self._seen[question] += 1
        fault = self.always or (script[nth] if nth < len(script) else None)
        if fault is not None:
            return await self._fail(fault, request)
        answer = self.answer_to(body)
        return web.json_response(completion(answer) if isinstance(answer, str) else answer)

    def answer_to(self, body: dict[str, Any]) -> str | dict[str, Any]:
        """The answer to a request that no fault befalls."""
        return self.answer(body["messages"])

    async def _fail(self, fault: Fault, request: web.Request) -> web.StreamResponse:
        if fault in BLOCKS:
            status, body = BLOCKS[fault]
            return web.json_response(body, status=status)
        if fault == "429":
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0.2"})
        if fault == "429_date":  # an instant by the server's own clock
            now = time.time()
            dates = {"Date": formatdate(now, usegmt=True), "Retry-After": formatdate(now + 1, usegmt=True)}
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers=dates)
        if fault == "too_long":
            return web.json_response(TOO_LONG, status=400)
        if fault in STATUSES:
            return web.json_response({"error": {"message": "boom"}}, status=STATUSES[fault])
        if fault == "html":
            return web.Response(text="<html>bad gateway</html>", status=502, content_type="text/html")
        if fault == "truncated":
            return web.Response(text='{"choices": [{"mess', status=200, content_type="application/json")
        if fault == "cut":
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"cho')
            assert request.transport is not None
            request.transport.close()
            return response
        if fault == "hang":
            await asyncio.sleep(30)
            return web.Response()
        if fault == "402":
            return web.json_response({"error": {"message": "Insufficient Balance"}}, status=402)
        raise AssertionError(fault)
