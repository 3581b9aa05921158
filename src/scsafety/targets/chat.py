"""The one chat transport: an OpenAI-compatible client on aiohttp. Every target, attacker and LLM judge is one.

Retry lives here only: bounded in tries and in seconds, with full jitter; a server's Retry-After is honoured and holds
up every call to that endpoint, not only the one that was told.
"""

from __future__ import annotations

import asyncio
import base64
import io
import mimetypes
import random
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
from yarl import URL

from scsafety.errors import CallFailed, MachineError, NobodyThere, TargetStop
from scsafety.records import Message, Sampling
from scsafety.targets.application import read_body, write_body
from scsafety.targets.base import Note
from scsafety.targets.outage import CONTROL_QUESTION, PATIENCE_S, Outage
from scsafety.targets.outcomes import Outcome, read_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scsafety.records import Reply
    from scsafety.targets.providers import Endpoint

CONNECT_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 300.0  # without a byte: vendors that queue keep the line open for minutes
TOTAL_TIMEOUT_S = 1_800.0
MAX_BODY_BYTES = 8 * 2**20  # after decompression; no chat answer is larger, a gzip bomb is
BACKOFF_START_S = 0.5
BACKOFF_CAP_S = 30.0
RETRY_BUDGET_S = 900.0  # a call waits so long in all, Retry-After included
JSON_SCHEMA_NAME = "verdict"
NARROW_BY, NARROW_EVERY_S = 0.7, 1.0
MAX_CORRECTIONS = 4  # parameters dropped on one call
REFUSED_PARAMETER = "refused_parameter"  # the cause of such a retry

STOPS = {
    "refused_key": "the endpoint refuses the key: check {key_vars}",
    "quota": "the account has no quota or balance left: top it up",
    "account_risk": "the vendor restricts this account: stop the tests and talk to the vendor",
    "not_found": "no such model or address there: check the model's name and {address}",
    "untrusted": "its certificate cannot be trusted: check {address}; SSL_CERT_FILE can name an authority of your own",
}
NEVER_THERE = "nobody is there: check {address} and the network, then `scsafety resume` goes on"
UNFITTING = "the application and its file do not fit each other: check body and answer in {path}"
WITH_PICTURE = "the request held a picture: does this model take pictures?"
FINAL = ("bad_request", "too_long")  # the same request gets the same answer: not tried again


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint may be asked to bear."""

    concurrency: int = 8  # requests in flight
    rpm: float | None = None  # requests a minute
    tpm: float | None = None  # tokens a minute, estimated before the call
    timeout_s: float | None = None  # without a byte; None: the provider's, else READ_TIMEOUT_S
    max_attempts: int = 6
    patience_s: float = PATIENCE_S  # how long an endpoint may be down before the run stops


class ChatTarget:
    """Messages in, a reply out, over one shared connection pool."""

    def __init__(
        self,
        endpoint: Endpoint,
        session: aiohttp.ClientSession,
        limits: Limits,
        *,
        body: Mapping[str, object] | None = None,
        proxy: str | None = None,
        on_retry: Callable[[Note], None] = lambda _: None,
        rng: random.Random | None = None,
    ) -> None:
        """body: fields that every request carries, or the run stops. on_retry: told why a call is tried again, and what else
        is worth a line.

        proxy: looked up once by the caller: a session that trusts the environment would look on every request, in a
        thread, and send a netrc password to whoever answers there.
        """
        self.endpoint = endpoint
        self.label = endpoint.label
        self.refused_parameters: list[
            str
        ] = []  # in the order in which the endpoint refused them; recorded with the run
        self._session, self._limits = session, limits
        self._body = dict(body or {})
        self._proxy = proxy
        self._url, self._headers = URL(endpoint.url), _headers(endpoint)
        self._on_retry = on_retry
        self._rng = rng or random.Random()
        self._gate = Gate(limits)
        self._answered = False  # whether a reply was ever read
        self._translate = partial(read_body, endpoint.form) if endpoint.form is not None else None
        self._outage = Outage(self.label, self._say, patience_s=limits.patience_s)
        read_s = limits.timeout_s or endpoint.provider.read_timeout_s or READ_TIMEOUT_S
        self._timeout = aiohttp.ClientTimeout(
            total=max(TOTAL_TIMEOUT_S, read_s), sock_connect=CONNECT_TIMEOUT_S, sock_read=read_s
        )

    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, *, json_schema: dict[str, Any] | None = None
    ) -> Reply:
        """See `Target.ask`."""
        began = started = time.monotonic()
        attempts = corrections = before = 0
        retried: dict[str, int] = {}
        while True:
            body = self._write(messages, sampling, json_schema)
            attempts += 1
            outcome, latency_s = await self._attempt(body, sum(len(message.content) for message in messages))
            if outcome.reply is not None:
                self._answered = True
                self._gate.widen()
                return self._read(outcome.reply, latency_s, attempts, retried, began)
            if (
                outcome.kind == "bad_request"
                and outcome.parameter
                and corrections < MAX_CORRECTIONS
                and self._drop(outcome.parameter, body)
            ):
                corrections += 1
                retried[REFUSED_PARAMETER] = corrections
                continue
            if outcome.kind in STOPS:
                said = f"{self.label}: {self._advised(STOPS[outcome.kind])} ({outcome.message})"
                raise TargetStop(self._clean(said), kind=outcome.kind)
            if outcome.kind == "bad_request" and self.endpoint.form is not None and not self._answered:
                said = f"{self.label}: {UNFITTING.format(path=self.endpoint.form.path)} ({outcome.message})"
                raise TargetStop(self._clean(said), kind=outcome.kind)
            if outcome.kind in FINAL:
                if outcome.kind == "bad_request" and any(message.image for message in messages):
                    outcome = msgspec.structs.replace(outcome, message=f"{outcome.message} ({WITH_PICTURE})")
                raise self._failed(outcome, attempts, retried, began)
            if attempts - before - corrections >= self._limits.max_attempts:
                if not outcome.unreachable or not await self._outage.wait_until_up(time.monotonic(), self._knock):
                    if outcome.unreachable and not self._outage.ever_reached:
                        raise NobodyThere(
                            self._clean(f"{self.label}: {self._advised(NEVER_THERE)} ({outcome.message})")
                        )
                    raise self._failed(outcome, attempts, retried, began)
                retried[outcome.kind] = retried.get(outcome.kind, 0) + 1
                before, started = attempts - corrections, time.monotonic()  # it was down and is back: tries afresh
                continue
            wait_s = self._wait_s(outcome, attempts - before - corrections)
            if time.monotonic() - started + wait_s > RETRY_BUDGET_S:
                raise self._failed(outcome, attempts, retried, began)
            retried[outcome.kind] = retried.get(outcome.kind, 0) + 1
            line = self._clean(f"{outcome.kind}: {outcome.message}; again in {wait_s:.1f} s")
            self._on_retry(Note(self.label, line, outcome.kind, wait_s))
            if outcome.kind == "rate_limited" or outcome.retry_after_s is not None:
                if self._gate.narrow():
                    self._say(f"{self.label} is pressed; {self._gate.width} calls in flight from now on")
                if outcome.retry_after_s is not None:
                    self._gate.hold_for(wait_s)
            await asyncio.sleep(wait_s)

    def _read(self, reply: Reply, latency_s: float, attempts: int, retried: dict[str, int], began: float) -> Reply:
        """The reply with its costs; an endpoint that echoes the key anywhere finds it masked."""
        echoed = {
            name: self._clean(value)
            for name in ("content", "reasoning", "finish_reason", "model", "request_id", "fingerprint", "raw")
            if (value := getattr(reply, name)) is not None
        }
        elapsed_s = time.monotonic() - began
        return msgspec.structs.replace(
            reply, latency_s=latency_s, attempts=attempts, retried=retried or None, elapsed_s=elapsed_s, **echoed
        )

    async def _knock(self) -> bool:
        """Whether anybody is there, by a harmless question."""
        messages = [Message("user", CONTROL_QUESTION)]
        outcome, _ = await self._attempt(self._write(messages, Sampling(max_tokens=16), None), len(CONTROL_QUESTION))
        return not outcome.unreachable

    async def _attempt(self, body: dict[str, Any], n_chars: int) -> tuple[Outcome, float]:
        async with self._gate.passed(_estimate_tokens(body, n_chars)):
            began = time.monotonic()
            try:
                async with self._session.post(
                    self._url,
                    data=_payload(msgspec.json.encode(body)),
                    headers=self._headers,
                    proxy=self._proxy,
                    timeout=self._timeout,
                    allow_redirects=False,
                ) as response:
                    data = await _read_bounded(response)
                    outcome = read_response(
                        self.endpoint.provider,
                        response.status,
                        response.headers,
                        data,
                        now=time.time(),
                        translate=self._translate,
                    )
            except aiohttp.ClientConnectorCertificateError as error:
                outcome = Outcome(kind="untrusted", message=str(error.certificate_error)[:300])
            except TimeoutError as error:
                late = "no connection" if isinstance(error, aiohttp.ConnectionTimeoutError) else "no answer"
                outcome = Outcome(kind="transient", message=f"{late} within the time-out (--timeout)", unreachable=True)
            except (aiohttp.ClientError, OSError) as error:
                message = f"{type(error).__name__}: {error}"[:300]
                gone = isinstance(error, (aiohttp.ClientConnectionError, OSError))
                outcome = Outcome(kind="transient", message=message, unreachable=gone)
            except ValueError as error:
                outcome = Outcome(kind="transient", message=f"{type(error).__name__}: {error}"[:300])
            if outcome.loading:
                self._outage.loads()
            elif not outcome.unreachable:
                self._outage.reached()
            return outcome, time.monotonic() - began

    def _write(
        self, messages: Sequence[Message], sampling: Sampling, json_schema: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The request body: what the provider's row says, then what the user asked for, less what was refused."""
        if self.endpoint.form is not None:
            return write_body(self.endpoint.form, messages, sampling)
        rules = self.endpoint.provider  # with the rules for this model merged in
        temperature = sampling.temperature
        if temperature == 0 and rules.temperature_above_zero:
            temperature = 0.01
        fields: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": [{"role": message.role, "content": _content(message)} for message in messages],
            "stream": False,
            **rules.extra,
            **self._body,
            "temperature": temperature,
            "top_p": sampling.top_p,
            "stop": list(sampling.stop) or None,
            rules.max_tokens_field: sampling.max_tokens,
        }
        if sampling.seed is not None:
            fields["seed"] = sampling.seed
        if json_schema is not None and rules.json_mode is not False:
            schema = {"name": JSON_SCHEMA_NAME, "strict": True, "schema": json_schema}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        fields |= sampling.extra
        gone = {*rules.drop, *self.refused_parameters} - ({*sampling.extra} - {*self.refused_parameters})
        if "max_tokens" in self.refused_parameters and "max_completion_tokens" not in gone and sampling.max_tokens:
            fields["max_completion_tokens"] = sampling.max_tokens
        return {name: value for name, value in fields.items() if value is not None and name not in gone}

    def _drop(self, parameter: str, body: Mapping[str, Any]) -> bool:
        """Stop sending a refused parameter for the rest of the run; False where that mends nothing."""
        name = parameter.partition(".")[0]
        if self.endpoint.form is not None:
            return False  # every field is the user's own
        if name not in body or name in ("model", "messages") or name in self.refused_parameters:
            # another call in flight may have been refused the same parameter a moment earlier
            return name in self.refused_parameters and name in body
        if name in self._body:
            raise TargetStop(
                f"{self.label}: the endpoint refuses {name}, and without it the answers would be of another kind; leave out "
                "--thinking, or give the vendor's own field with --extra",
                kind="bad_request",
            )
        self.refused_parameters.append(name)
        self._say(f"{self.label} refuses the parameter {name}; it is left out from now on")
        return True

    def _say(self, line: str) -> None:
        self._on_retry(Note(self.label, line))

    def _advised(self, words: str) -> str:
        known = self.endpoint.key_source or " or ".join(self.endpoint.provider.key_vars)
        form = self.endpoint.form
        address = f"url in {form.path}" if form is not None else "--base-url"
        return words.format(key_vars=known or "the server's settings", address=address)

    def _failed(self, outcome: Outcome, attempts: int, retried: dict[str, int], began: float) -> CallFailed:
        return CallFailed(
            outcome.kind,
            self._clean(outcome.message),
            attempts=attempts,
            retried=retried or None,
            elapsed_s=time.monotonic() - began,
        )

    def _clean(self, text: str) -> str:
        """A vendor may echo the key in its error; it goes no further."""
        return self.endpoint.clean(text)

    def _wait_s(self, outcome: Outcome, attempt: int) -> float:
        if outcome.retry_after_s is not None:
            return outcome.retry_after_s + self._rng.uniform(0, 0.1 * outcome.retry_after_s)
        return self._rng.uniform(0, min(BACKOFF_CAP_S, BACKOFF_START_S * 2 ** (attempt - 1)))


def _content(message: Message) -> str | list[dict[str, Any]]:
    """A text, or text and picture in OpenAI's form. Raises MachineError where the picture cannot be read."""
    if message.image is None:
        return message.content
    path = Path(message.image)
    try:
        data = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise MachineError(
            f"{path}: the picture cannot be read ({error.strerror}); is the suite's data still there?"
        ) from error
    kind = mimetypes.guess_type(path.name)[0] or "image/jpeg"
    return [
        {"type": "text", "text": message.content},
        {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}},
    ]


def _headers(endpoint: Endpoint) -> dict[str, str]:
    headers = {"Content-Type": "application/json", **{header.name: header.reveal() for header in endpoint.headers}}
    if endpoint.key is not None and endpoint.provider.auth == "api-key":
        headers["api-key"] = endpoint.key.reveal()
    elif endpoint.key is not None:
        headers["Authorization"] = f"Bearer {endpoint.key.reveal()}"
    return headers


class Gate:
    """What all calls to one endpoint pass: in flight, requests and tokens a minute, a pause that the server asked for."""

    def __init__(self, limits: Limits) -> None:
        from aiolimiter import AsyncLimiter

        self._most = limits.concurrency
        self._width = float(limits.concurrency)  # calls in flight that the endpoint seems to bear
        self._in_flight = 0
        self._narrowed_at = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()
        # one request each 60/rpm seconds instead of a burst of rpm: a vendor's window slides
        self._requests = AsyncLimiter(1, 60 / limits.rpm) if limits.rpm else None
        self._tokens = AsyncLimiter(limits.tpm, 60) if limits.tpm else None
        self._open_at = 0.0

    def hold_for(self, seconds: float) -> None:
        self._open_at = max(self._open_at, time.monotonic() + seconds)

    def passed(self, tokens: int) -> _Passage:
        return _Passage(self, tokens)

    async def enter(self, tokens: int) -> None:
        while (wait_s := self._open_at - time.monotonic()) > 0:  # noqa: ASYNC110 (another call may move the moment on)
            await asyncio.sleep(wait_s)
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))
        while self._in_flight >= int(self._width):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()  # the turn goes to the next one
                raise
        self._in_flight += 1

    def leave(self) -> None:
        self._in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        for _ in range(int(self._width) - self._in_flight):
            while self._waiting and self._waiting[0].done():
                self._waiting.popleft()
            if not self._waiting:
                return
            self._waiting.popleft().set_result(None)

    def widen(self) -> None:
        """An answer came: additive increase, one more call in flight for each round of them, up to the user's limit."""
        if self._width < self._most:
            self._width = min(self._width + 1 / self._width, float(self._most))
            self._wake()

    def narrow(self) -> bool:
        """Too many at once: multiplicative decrease, once a second; whether it was done now."""
        now = time.monotonic()
        if now - self._narrowed_at < NARROW_EVERY_S or self._width <= 1:
            return False
        self._narrowed_at, self._width = now, max(self._width * NARROW_BY, 1.0)
        return True

    @property
    def width(self) -> int:
        return int(self._width)


class _Passage:
    def __init__(self, gate: Gate, tokens: int) -> None:
        self._gate, self._tokens = gate, tokens

    async def __aenter__(self) -> None:
        await self._gate.enter(self._tokens)

    async def __aexit__(self, *_: object) -> None:
        self._gate.leave()


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body, decompressed, up to MAX_BODY_BYTES. Raises ValueError beyond."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise ValueError(f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB")
    return b"".join(chunks)


def _payload(body: bytes) -> aiohttp.BytesPayload | io.BytesIO:
    """A body of more than 1 MiB (a long answer in the history) goes out piece by piece; aiohttp warns otherwise."""
    return aiohttp.BytesPayload(body, content_type="application/json") if len(body) < 2**20 else io.BytesIO(body)


def _estimate_tokens(body: Mapping[str, Any], n_chars: int) -> int:
    """About one token a Chinese character, plus what the answer may take."""
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
    return n_chars + (limit if isinstance(limit, int) else 512)
