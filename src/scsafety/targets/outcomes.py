"""What one HTTP response means: an answer, a moderation block, or which kind of failure.

Several vendors send a block with a status that says "try again", or with the same code as a plain mistake. So the body
is read before the status: exact codes and types, then message patterns, then HTTP 451, and only then the status.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from scsafety.records import Reply, Side
from scsafety.targets.providers import Provider, providers
from scsafety.targets.thinking import reasoning_of, split_reasoning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OutcomeKind = Literal[
    "answered",
    "blocked",
    "empty",
    "rate_limited",
    "quota",
    "transient",
    "refused_key",
    "account_risk",
    "not_found",
    "bad_request",
]

MESSAGE_CHARS = 300
RAW_CHARS = 4_000
MAX_MESSAGES = 20  # of one body
MAX_DEPTH = 4  # of bodies within bodies: gateways quote what their upstream said
# OpenAI's form, which many took over; Zhipu's `id.secret`; a header that is quoted back
KEY_LIKE = re.compile(r"\b(?:g?sk-[\w*.-]{6,}|[0-9a-f]{32}\.\w{16})|(?<=Bearer )[\w.~+/=:*-]{6,}")
SUCCESS = frozenset({"", "0", "200", "ok", "success"})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    kind: OutcomeKind
    reply: Reply | None = None  # answered, blocked, empty; latency_s and attempts are filled in by the transport
    message: str = ""  # one printable line of what the endpoint said, at most 300 characters
    retry_after_s: float | None = None  # how long the endpoint asks us to wait, at most 600
    parameter: str | None = None  # the parameter that a bad request names as unsupported


class _CodePrefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prefix: str
    side: Side = "unknown"


class _Pattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    regex: str
    side: Side = "unknown"


class _Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    http_status: frozenset[int]
    finish_reason: frozenset[str]
    code: frozenset[str]
    code_prefix: tuple[_CodePrefix, ...]
    type: frozenset[str]
    message: tuple[_Pattern, ...]
    message_start: str
    param_of_input: frozenset[str]
    roles: dict[str, Side]
    not_a_block: frozenset[str]


class _Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: frozenset[str] = frozenset()
    message_regex: str = "(?!)"  # matches nothing
    finish_reason: frozenset[str] = frozenset()


class _Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    message_regex: str
    names: tuple[str, ...]
    never: frozenset[str]


class _Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cap_s: float
    resets: tuple[tuple[str, str], ...]


class _Signals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    block: _Block
    rate: _Kind
    quota: _Kind
    key: _Kind
    not_found: _Kind
    transient: _Kind
    parameter: _Parameter
    retry: _Retry


class _Said(msgspec.Struct):
    """All that a body says of a fault, from whichever of its corners."""

    codes: list[str] = []
    types: list[str] = []
    messages: list[str] = []
    params: list[str] = []
    roles: set[str] = set()
    status: int | None = None  # an HTTP status that stands in the body

    def add(self, text: str) -> None:
        if text.strip() and len(self.messages) < MAX_MESSAGES:
            self.messages.append(text.strip()[:RAW_CHARS])

    def __bool__(self) -> bool:
        return bool(self.codes or self.types or self.messages)

    @property
    def words(self) -> set[str]:
        return {word.casefold() for word in (*self.codes, *self.types)}


class _Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The first choice of a chat completion."""

    content: str
    reasoning: str | None
    finish_reason: str | None
    refusal: str


def read_response(provider: Provider, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> Outcome:
    """The meaning of a complete HTTP response.

    `headers` may have names in any case of letters; `now` is in seconds since 1970, for dates in them. Never raises
    for anything that an endpoint sends.
    """
    text = _decoded(body, headers)
    parsed = _parsed(text)
    outcome = (
        _read_success(provider, status, text, parsed)
        if 200 <= status < 300
        else _read_failure(provider, status, text, parsed)
    )
    if outcome.kind in ("rate_limited", "transient"):
        return msgspec.structs.replace(outcome, retry_after_s=_retry_after(headers, now, outcome.kind))
    if outcome.reply is not None and outcome.reply.request_id is None:
        request_id = _header(headers, "x-request-id") or _header(headers, "request-id")
        if request_id:
            return msgspec.structs.replace(
                outcome, reply=msgspec.structs.replace(outcome.reply, request_id=_line(request_id))
            )
    return outcome


# ---------------------------------------------------------------------------------------------- HTTP 2xx


def _read_success(provider: Provider, status: int, text: str, parsed: Any) -> Outcome:
    if isinstance(parsed, list):
        parsed = next((part for part in parsed if isinstance(part, dict)), None)
    if not isinstance(parsed, dict):
        return Outcome(kind="transient", message=_no_json(status, text))
    signals = _signals()
    choices = parsed.get("choices")
    raw_choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    choice = _choice(raw_choice) if raw_choice is not None else None
    said = _said(parsed, with_top=raw_choice is None)
    if raw_choice is not None and raw_choice.get("error"):
        _gather({"error": raw_choice["error"]}, said, 0)

    side, why = _block_of_success(provider, parsed, choice, said)
    if side is not None:
        return Outcome(
            kind="blocked",
            reply=_reply(parsed, choice, blocked=side, raw=text),
            message=_message(said, why),
        )
    if choice is not None and choice.finish_reason not in signals.transient.finish_reason:
        if choice.content.strip():
            unchecked = _filter_was_down(raw_choice or {})
            note = "the endpoint's content filter did not run on this answer" if unchecked else ""
            return Outcome(kind="answered", reply=_reply(parsed, choice), message=note)
        if not said:
            return Outcome(
                kind="empty",
                reply=_reply(parsed, choice),
                message=f"no text, finish reason {_line(choice.finish_reason or 'not given')}",
            )
    if said:
        return _fault(provider, said.status or status, text, said)
    if choice is not None:
        return Outcome(kind="transient", message=f"the answer was cut: finish reason {choice.finish_reason}")
    return Outcome(kind="transient", message=f"HTTP {status} without an answer: {_line(text) or 'an empty body'}")


def _block_of_success(
    provider: Provider, parsed: dict[str, Any], choice: _Choice | None, said: _Said
) -> tuple[Side | None, str]:
    """The side of a block in a response that calls itself a success, and the signal in words."""
    if choice is not None:
        if choice.finish_reason in _signals().block.finish_reason:
            return "output", f"finish reason {choice.finish_reason}"
        if choice.refusal:
            return "output", _line(choice.refusal)
    if parsed.get("input_sensitive") is True:
        return "input", "input_sensitive"
    if parsed.get("output_sensitive") is True:
        return "output", "output_sensitive"
    if choice is None:
        feedback = parsed.get("promptFeedback") or parsed.get("prompt_feedback")
        reason = (feedback.get("blockReason") or feedback.get("block_reason")) if isinstance(feedback, dict) else None
        if reason:
            return "input", f"blockReason {_line(str(reason))}"
    return (_block_side(provider, None, said) if said else None), ""


def _filter_was_down(choice: dict[str, Any]) -> bool:
    """Azure lets a call through when its filter fails, with an error where the filter's results stand."""
    results = choice.get("content_filter_results")
    return isinstance(results, dict) and bool(results.get("error"))


def _choice(choice: dict[str, Any]) -> _Choice:
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice.get("text", message)}
    text, thought = _content(message.get("content"))
    answer, inner, _closed = split_reasoning(text)
    thoughts = [part for part in (reasoning_of(message), thought or None, inner) if part]
    refusal = message.get("refusal")
    refusal = _clean(refusal).strip() if isinstance(refusal, str) else ""
    finish = choice.get("finish_reason")
    return _Choice(
        content=_clean(answer) if answer.strip() else refusal,
        reasoning=_clean("\n".join(thoughts)) if thoughts else None,
        finish_reason=_clean(finish).strip().casefold() or None if isinstance(finish, str) else None,
        refusal=refusal,
    )


def _content(content: Any, depth: int = 0) -> tuple[str, str]:
    """Text and thinking of a message's content: a text, a list of parts, a number, nothing."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, bool) or content is None:
        return "", ""
    if isinstance(content, int | float):
        return str(content), ""
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list) or depth > MAX_DEPTH:
        return "", ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            thinking = part.get("type") in ("thinking", "reasoning")
            text = part.get("thinking", part.get("text")) if thinking else part.get("text", part.get("refusal"))
            if isinstance(text, list):
                text = _content(text, depth + 1)[0]
            if isinstance(text, str):
                (thoughts if thinking else texts).append(text)
    return "".join(texts), "\n".join(thoughts).strip()


def _reply(
    parsed: dict[str, Any], choice: _Choice | None, *, blocked: Side | None = None, raw: str | None = None
) -> Reply:
    usage = parsed.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        content=choice.content if choice else "",
        reasoning=choice.reasoning if choice else None,
        finish_reason=choice.finish_reason if choice else None,
        blocked=blocked,
        model=_name(parsed.get("model")),
        request_id=_name(parsed.get("id")) or _name(parsed.get("request_id")),
        fingerprint=_name(parsed.get("system_fingerprint")),
        prompt_tokens=_count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        completion_tokens=_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        raw=None if raw is None else _clean(raw[:RAW_CHARS]),
    )


# ---------------------------------------------------------------------------------------------- other statuses


def _read_failure(provider: Provider, status: int, text: str, parsed: Any) -> Outcome:
    said = _said(parsed, with_top=True)
    looks_like_html = text.lstrip()[:1] == "<"
    if not isinstance(parsed, dict | list) and not looks_like_html:  # plain words, as gateways send
        said.add(text)
    side = _block_side(provider, status, said)
    if side is not None:
        body = parsed if isinstance(parsed, dict) else {}
        return Outcome(
            kind="blocked",
            reply=_reply(body, None, blocked=side, raw=text),
            message=_message(said, f"HTTP {status}"),
        )
    return _fault(provider, status, text, said, cut=parsed is None and text.lstrip()[:1] in ("{", "["))


def _fault(provider: Provider, status: int, text: str, said: _Said, *, cut: bool = False) -> Outcome:
    """What is neither an answer nor a block: by the provider's codes, then words that all share, then the status."""
    kind = _kind_by_words(provider, status, said) or _kind_by_status(status, said)
    if kind == "bad_request" and cut:
        kind = "transient"
    message = _message(said, _no_json(status, text))
    parameter = _unsupported(said) if kind == "bad_request" and (status in (400, 422) or status < 300) else None
    return Outcome(kind=kind, message=message, parameter=parameter)


def _kind_by_words(provider: Provider, status: int, said: _Said) -> OutcomeKind | None:
    signals, words = _signals(), said.words
    if _checker_failed(words):
        return "transient"
    own: tuple[tuple[OutcomeKind, tuple[str, ...]], ...] = (
        ("account_risk", provider.account_codes),
        ("quota", provider.quota_codes),
        ("refused_key", provider.key_codes),
    )
    for kind, codes in own:
        if not words.isdisjoint(code.casefold() for code in codes):
            return kind
    mistake = status < 500
    if mistake and _any_message(provider.quota_message_regex, said):
        return "quota"
    if not words.isdisjoint(code.casefold() for code in provider.rate_codes):
        return "rate_limited"
    if not words.isdisjoint(code.casefold() for code in provider.transient_codes):
        return "transient"
    shared = _shared_codes()
    for kind in ("account_risk", "quota", "rate_limited", "transient", "refused_key", "not_found"):
        if not words.isdisjoint(shared[kind]):
            return kind
    if mistake:
        if provider.quota_message_regex is None and _any_message(signals.quota.message_regex, said):
            return "quota"
        if _any_message(signals.key.message_regex, said):
            return "refused_key"
        if _any_message(signals.not_found.message_regex, said) and status != 429:
            return "not_found"
    return None


def _kind_by_status(status: int, said: _Said) -> OutcomeKind:
    if 200 <= status < 300:  # an error in a response that calls itself a success
        named = _unsupported(said) is not None
        return "transient" if not named and _any_message(_signals().transient.message_regex, said) else "bad_request"
    if status in (401, 403):
        return "refused_key"
    if status == 429:
        return "rate_limited"
    if status in (408, 409, 425) or status >= 500:
        return "transient"
    by_status: dict[int, OutcomeKind] = {402: "quota", 404: "not_found"}
    return by_status.get(status, "bad_request")


def _unsupported(said: _Said) -> str | None:
    """The parameter that the fault is about, if it is one that can be left out."""
    rules = _signals().parameter
    for param in said.params:
        name = re.match(r"[A-Za-z_]\w*", param)
        if name and name[0] not in rules.never:
            return name[0]
    for message in said.messages:
        if re.search(rules.message_regex, message, re.IGNORECASE):
            found = [(hit.start(), name) for name in rules.names if (hit := re.search(rf"\b{name}\b", message))]
            if found:
                return min(found)[1]
    return None


# ---------------------------------------------------------------------------------------------- signals


@cache
def _signals() -> _Signals:
    text = resources.files("scsafety.targets").joinpath("signals.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Signals)


@cache
def _shared_codes() -> Mapping[OutcomeKind, frozenset[str]]:
    """Codes in words, which count for all providers; codes in digits mean something else at each vendor."""
    signals = _signals()
    everyone: dict[OutcomeKind, frozenset[str]] = {
        "account_risk": frozenset(code for row in providers() for code in row.account_codes),
        "quota": signals.quota.code | {code for row in providers() for code in row.quota_codes},
        "rate_limited": signals.rate.code | {code for row in providers() for code in row.rate_codes},
        "transient": frozenset(code for row in providers() for code in row.transient_codes),
        "refused_key": signals.key.code,
        "not_found": signals.not_found.code,
    }
    return {
        kind: frozenset(code.casefold() for code in codes if not code.isdigit()) for kind, codes in everyone.items()
    }


@cache
def _folded(words: frozenset[str]) -> frozenset[str]:
    return frozenset(word.casefold() for word in words)


def _checker_failed(words: set[str]) -> bool:
    return not _folded(_signals().block.not_a_block).isdisjoint(_last_parts(words))


def _last_parts(words: set[str]) -> set[str]:
    return words | {word.rpartition(".")[2] for word in words}


def _block_side(provider: Provider, status: int | None, said: _Said) -> Side | None:
    """The side of a block, None when there is none; two sides that contradict each other are `unknown`.

    `status` is None within a success.
    """
    signals = _signals().block
    if _checker_failed(said.words):
        return None
    codes = {code.casefold() for code in said.codes}
    types = {word.casefold() for word in said.types}
    sides: set[Side] = set()
    hit = False
    for code in codes:
        if code in provider.vendor_codes:
            hit = True
            sides.add(provider.vendor_codes[code])
        for rule in signals.code_prefix:
            if code.startswith(rule.prefix.casefold()):
                hit = True
                sides.add(rule.side)
    hit = hit or not _folded(signals.code).isdisjoint(_last_parts(codes))
    hit = hit or not _folded(signals.type).isdisjoint(types)
    if not hit and not codes.isdisjoint(code.casefold() for code in provider.account_codes):
        return None  # an exact code too, and one that must stop the run
    for message in said.messages:
        for pattern in signals.message:
            found = re.search(pattern.regex, message, re.IGNORECASE)
            if found:
                hit = True
                sides.add(pattern.side)
                sides.add(_side(found.groupdict().get("side")))
    if status == 400 and _any_message(provider.blocked_message_regex, said):
        hit = True
    hit = hit or status in signals.http_status
    if not hit:
        return None
    sides.update(signals.roles.get(role, "unknown") for role in said.roles)
    if not signals.param_of_input.isdisjoint(said.params):
        sides.add("input")
    for message in said.messages:
        start = re.search(signals.message_start, message.strip(), re.IGNORECASE)
        sides.add(_side(start["side"]) if start else "unknown")
    known = sides - {"unknown"}
    return known.pop() if len(known) == 1 else "unknown"


def _side(word: str | None) -> Side:
    sides: dict[str, Side] = {"input": "input", "output": "output"}
    return sides.get((word or "").casefold(), "unknown")


def _any_message(regex: str | None, said: _Said) -> bool:
    return regex is not None and any(re.search(regex, message, re.IGNORECASE) for message in said.messages)


# ---------------------------------------------------------------------------------------------- bodies


def _decoded(body: bytes, headers: Mapping[str, str]) -> str:
    """The body as text: UTF-8, else what the header declares; what fits neither is replaced, never refused."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        charset = re.search(r"charset=\"?([\w.:-]+)", _header(headers, "content-type") or "", re.IGNORECASE)
    if charset:
        try:
            return body.decode(charset[1], errors="replace")
        except (LookupError, ValueError):
            pass
    return body.decode("utf-8", errors="replace")


def _parsed(text: str) -> Any:
    """The JSON value at the start of the text, after blank lines; None when there is none."""
    text = text.lstrip("\ufeff \t\r\n")
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        pass
    # Half a surrogate pair, a bare line break in a string, something behind the object: an answer all the same.
    try:
        return json.JSONDecoder(strict=False).raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _said(parsed: Any, *, with_top: bool) -> _Said:
    said = _Said()
    _gather(parsed, said, 0, with_top=with_top)
    return said


def _gather(body: Any, said: _Said, depth: int, *, with_top: bool = True) -> None:
    """Collect what a body says of a fault; `with_top` False leaves out words that a normal answer has on top too."""
    if depth > MAX_DEPTH:
        return
    if isinstance(body, list):
        for part in body[:3]:
            _gather(part, said, depth + 1)
        return
    if isinstance(body, str):
        if depth:
            said.add(body)
        return
    if not isinstance(body, dict):
        return
    failed = any(_code(body.get(name)) for name in ("code", "error_code"))
    if with_top or failed:
        _gather_fault(body, said, depth, success=not failed)
    for name in ("base_resp", "header"):
        inner = body.get(name)
        if isinstance(inner, dict):
            code = _code(inner.get("status_code", inner.get("code")))
            if code:
                said.codes.append(code)
                for text in _texts(inner, ("status_msg", "message")):
                    said.add(text)
    error = body.get("error")
    if isinstance(error, dict):
        _gather_fault(error, said, depth, success=False)
        _gather(error.get("error"), said, depth + 1)
    elif isinstance(error, str | list):
        _gather(error, said, depth + 1)
    _gather_detail(body.get("detail"), said, depth)
    for name in ("contentFilter", "content_filter"):
        roles = body.get(name)
        if isinstance(roles, list):
            said.roles.update(str(part.get("role")) for part in roles if isinstance(part, dict))


def _gather_fault(fault: dict[str, Any], said: _Said, depth: int, *, success: bool) -> None:
    """The fields of one error object. `success`: it is the top of a body whose code says that all is well."""
    for name in ("code", "error_code"):
        code = _code(fault.get(name))
        if code:
            said.codes.append(code)
            if said.status is None and code.isdigit() and 400 <= int(code) < 600:
                said.status = int(code)
    inner = fault.get("innererror")
    if isinstance(inner, dict):
        said.codes.extend(filter(None, [_code(inner.get("code"))]))
    status = fault.get("status")
    if isinstance(status, str) and re.fullmatch(r"[A-Z_]{3,}", status):  # Google's `RESOURCE_EXHAUSTED`
        said.codes.append(status)
    kind = fault.get("type")
    if isinstance(kind, str) and kind.strip() and kind != "error":
        said.types.append(kind.strip())
    if not (success and _code_is_success(fault)):
        for text in _texts(fault, ("message", "msg", "error_msg")):
            said.add(text)
            _gather_quoted(text, said, depth)
    param = fault.get("param")
    if isinstance(param, str) and param.strip():
        said.params.append(param.strip())
    metadata = fault.get("metadata")
    if isinstance(metadata, dict):
        raw = metadata.get("raw")
        if isinstance(raw, dict):
            _gather(raw, said, depth + 1)
        elif isinstance(raw, str) and not _gather_quoted(raw, said, depth):
            said.add(raw)


def _gather_quoted(text: str, said: _Said, depth: int) -> bool:
    """A body quoted as text within a body."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    quoted = _parsed(text)
    if not isinstance(quoted, dict | list):
        return False
    _gather(quoted, said, depth + 1)
    return True


def _gather_detail(detail: Any, said: _Said, depth: int) -> None:
    if isinstance(detail, str):
        said.add(detail)
    elif isinstance(detail, dict):
        _gather(detail, said, depth + 1)
    elif isinstance(detail, list):  # a validation report: `{"loc": ["body", "seed"], "msg": "..."}`
        for part in detail[:5]:
            if not isinstance(part, dict):
                continue
            where = part.get("loc")
            names = [name for name in where if isinstance(name, str)] if isinstance(where, list) else []
            text = " ".join(_texts(part, ("msg",)))
            said.add(f"{'.'.join(names)}: {text}" if names else text)


def _code(value: Any) -> str | None:
    """A code as text, None for none and for one that means success."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int):
        return None
    code = str(value).strip() if isinstance(value, str) else f"{value:d}"[:20]
    return None if code.casefold() in SUCCESS else code


def _code_is_success(fault: dict[str, Any]) -> bool:
    return any(name in fault and fault[name] is not None for name in ("code", "error_code"))


def _texts(fault: dict[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        text = fault.get(name)
        if isinstance(text, str) and text.strip():
            yield text


def _count(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,15}\s*", value):
        return int(value)
    if isinstance(value, int | float) and math.isfinite(value) and 0 <= value < 10**15:
        return int(value)
    return None


def _name(value: Any) -> str | None:
    return _line(value) or None if isinstance(value, str) else None


# ---------------------------------------------------------------------------------------------- words


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which no file and no database takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _line(text: str) -> str:
    """One printable line of at most 300 characters, without anything that looks like a key."""
    head = _clean(text[: MESSAGE_CHARS * 8])
    head = KEY_LIKE.sub("***", head)
    line = " ".join("".join(char if char.isprintable() else " " for char in head).split())
    return line if len(line) <= MESSAGE_CHARS else f"{line[: MESSAGE_CHARS - 1]}…"


def _message(said: _Said, otherwise: str) -> str:
    words = next((message for message in said.messages if message.strip()), "")
    code = next((code for code in (*said.codes, *said.types) if code != str(said.status)), "")
    if not words:
        return _line(f"{otherwise} {code}".strip() if code else otherwise)
    return _line(words if not code or code.casefold() in words.casefold() else f"{code}: {words}")


def _no_json(status: int, text: str) -> str:
    stripped = text.strip()
    if not stripped:
        return f"HTTP {status} with an empty body"
    if stripped[0] == "<":
        title = re.search(r"<title[^>]*>([^<]{1,200})", stripped[:20_000], re.IGNORECASE)
        page = f" ({title[1].strip()})" if title else ""
        return _line(f"HTTP {status} with a web page{page} in place of JSON: is the base URL right?")
    return _line(f"HTTP {status}: {stripped}")


# ---------------------------------------------------------------------------------------------- waiting


def _header(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    if value is not None:
        return value
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _retry_after(headers: Mapping[str, str], now: float, kind: OutcomeKind) -> float | None:
    """Seconds to wait, at most the cap: what the endpoint asks for, else when its spent allowance comes back."""
    rules = _signals().retry
    wait = _number(_header(headers, "retry-after-ms"))
    if wait is not None:
        wait /= 1_000
    if wait is None:
        wait = _wait(_header(headers, "retry-after"), now)
    if wait is None and kind == "rate_limited":
        spent: list[float] = []
        others: list[float] = []
        for remaining, reset in rules.resets:
            seconds = _wait(_header(headers, reset), now)
            if seconds is not None:
                left = _number(_header(headers, remaining))
                (spent if left is not None and left <= 0 else others).append(seconds)
        wait = max(spent) if spent else min(others, default=None)
    return None if wait is None else min(max(wait, 0.0), rules.cap_s)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def _wait(text: str | None, now: float) -> float | None:
    """Seconds from now: `20`, `6m0s`, an HTTP or ISO date, seconds or milliseconds since 1970."""
    if text is None:
        return None
    text = text.strip()
    value = _number(text)
    if value is not None:
        if value > 1e11:
            return value / 1_000 - now
        return value - now if value > 1e9 else value
    if re.fullmatch(r"([0-9]+(\.[0-9]+)?(ms|[smhd]))+", text):
        return sum(float(n) * _UNITS_S[unit] for n, unit in re.findall(r"([0-9.]+)(ms|[smhd])", text))
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            continue
    return None
