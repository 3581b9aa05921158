"""What one HTTP response means: an answer, a moderation block, or which kind of failure.

Several vendors send a block with a status that says "try again", or with the same code as a plain mistake. So the body
is read before the status: exact codes and types, then message patterns, then HTTP 451, and only then the status.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from scsafety.records import Reply, Side  # noqa: TC001 - msgspec reads the annotation
from scsafety.targets.bodies import Said, decoded, folded, line, parsed
from scsafety.targets.completions import Choice, first_choice, reply_of
from scsafety.targets.providers import Provider, providers
from scsafety.targets.signals import signals
from scsafety.targets.waiting import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
    "untrusted",  # by its certificate; found by the transport
    "too_long",  # the conversation does not fit the model's context
    "bad_request",
]


GATEWAY = (502, 503, 504, 520, 521, 522, 523, 524)  # a proxy in front of an endpoint that is down


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    kind: OutcomeKind
    reply: Reply | None = None  # answered, blocked, empty; latency_s and attempts are filled in by the transport
    message: str = ""  # one printable line of what the endpoint said, at most 300 characters
    retry_after_s: float | None = None  # how long the endpoint asks us to wait, at most 600
    parameter: str | None = None  # the parameter that a bad request names as unsupported
    unreachable: bool = False  # nobody was there: no connection, no byte in time, or a gateway that says so
    loading: bool = False  # the server is there and still loads its model; unreachable too


def read_response(
    provider: Provider,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    translate: Callable[[int, Any], Any] | None = None,
) -> Outcome:
    """The meaning of a complete HTTP response.

    `headers` may have names in any case of letters; `now` is in seconds since 1970, for dates in them. translate: status and
    JSON of an endpoint with a form of its own into the common one. Never raises for anything that an endpoint sends.
    """
    text = partial(_text_of, headers, body)
    try:
        said = msgspec.json.decode(body)  # what nearly every body is, without a copy of it as text
    except (ValueError, RecursionError):
        said = parsed(text())
    read = _read_success if 200 <= status < 300 else _read_failure
    outcome = read(provider, status, text, translate(status, said) if translate is not None else said)
    if outcome.kind == "transient" and status in GATEWAY:
        loading = re.search(signals().loading.message_regex, outcome.message, re.IGNORECASE) is not None
        outcome = msgspec.structs.replace(outcome, unreachable=True, loading=loading)
    if outcome.kind in ("rate_limited", "transient"):
        wait = retry_after(_lowered(headers), now, rate_limited=outcome.kind == "rate_limited")
        return msgspec.structs.replace(outcome, retry_after_s=wait)
    if outcome.reply is None or outcome.reply.request_id is not None:
        return outcome
    lowered = _lowered(headers)
    if request_id := lowered.get("x-request-id") or lowered.get("request-id"):
        reply = msgspec.structs.replace(outcome.reply, request_id=line(request_id))
        return msgspec.structs.replace(outcome, reply=reply)
    return outcome


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """By names in small letters; of several with one name the first."""
    lowered: dict[str, str] = {}
    for name, value in headers.items():
        lowered.setdefault(name.lower(), value)
    return lowered


def _text_of(headers: Mapping[str, str], body: bytes) -> str:
    return decoded(body, _lowered(headers).get("content-type", ""))


def _read_success(provider: Provider, status: int, text: Callable[[], str], body: Any) -> Outcome:
    if isinstance(body, list):
        body = next((part for part in body if isinstance(part, dict)), None)
    if not isinstance(body, dict):
        return Outcome(kind="transient", message=_no_json(status, text()))
    choice, said = first_choice(body), Said()
    said.read(body, with_top=choice is None)
    if choice is not None and choice.error:
        said.read({"error": choice.error})

    side, why = _block_of_success(provider, body, choice, said)
    if side is not None:
        reply = reply_of(body, choice, blocked=side, raw=text())
        return Outcome(kind="blocked", reply=reply, message=said.in_a_line(why))
    if choice is not None and choice.finish_reason not in signals().transient.finish_reason:
        if choice.content.strip():
            note = "the endpoint's content filter did not run on this answer" if choice.unchecked else ""
            return Outcome(kind="answered", reply=reply_of(body, choice), message=note)
        if not said:
            why = f"no text, finish reason {line(choice.finish_reason or 'not given')}"
            if choice.finish_reason in signals().too_long.finish_reason:
                return Outcome(kind="too_long", message=why)
            return Outcome(kind="empty", reply=reply_of(body, choice), message=why)
    if said:
        return _fault(provider, said.status or status, text(), said)
    if choice is not None:
        return Outcome(kind="transient", message=f"the answer was cut: finish reason {choice.finish_reason}")
    return Outcome(kind="transient", message=f"HTTP {status} without an answer: {line(text()) or 'an empty body'}")


def _block_of_success(
    provider: Provider, body: dict[str, Any], choice: Choice | None, said: Said
) -> tuple[Side | None, str]:
    """The side of a block in a response that calls itself a success, and the signal in words."""
    if choice is not None:
        if choice.finish_reason in signals().block.finish_reason:
            return "output", f"finish reason {choice.finish_reason}"
        if choice.refusal:
            return "output", line(choice.refusal)
    if body.get("input_sensitive") is True:
        return "input", "input_sensitive"
    if body.get("output_sensitive") is True:
        return "output", "output_sensitive"
    if choice is None:
        feedback = body.get("promptFeedback") or body.get("prompt_feedback")
        reason = (feedback.get("blockReason") or feedback.get("block_reason")) if isinstance(feedback, dict) else None
        if reason:
            return "input", f"blockReason {line(str(reason))}"
    return (_block_side(provider, None, said) if said else None), ""


def _read_failure(provider: Provider, status: int, text_of: Callable[[], str], body: Any) -> Outcome:
    text, said = text_of(), Said()
    begins = text.lstrip()[:1]
    said.read(body)
    if not isinstance(body, dict | list) and begins != "<":  # plain words, as gateways send
        said.add(text)
    side = _block_side(provider, status, said)
    if side is not None:
        reply = reply_of(body, None, blocked=side, raw=text)
        return Outcome(kind="blocked", reply=reply, message=said.in_a_line(f"HTTP {status}"))
    return _fault(provider, status, text, said, cut=body is None and begins in ("{", "["))


def _fault(provider: Provider, status: int, text: str, said: Said, *, cut: bool = False) -> Outcome:
    """What is neither an answer nor a block: by the provider's codes, then words that all share, then the status."""
    kind = _kind_by_words(provider, status, said) or _kind_by_status(status, said)
    if kind == "bad_request" and cut:
        kind = "transient"
    parameter = _unsupported(said) if kind == "bad_request" and (status in (400, 422) or status < 300) else None
    return Outcome(kind=kind, message=said.in_a_line(_no_json(status, text)), parameter=parameter)


def _kind_by_words(provider: Provider, status: int, said: Said) -> OutcomeKind | None:
    rules, mistake = signals(), status < 500
    tests: tuple[tuple[OutcomeKind, bool], ...] = (  # the first that holds counts
        ("transient", _checker_failed(said)),
        ("account_risk", said.names(provider.account_codes)),
        ("quota", said.names(provider.quota_codes)),
        ("refused_key", said.names(provider.key_codes)),
        ("quota", mistake and said.matches(provider.quota_message_regex)),
        ("rate_limited", said.names(provider.rate_codes)),
        ("too_long", said.names(provider.too_long_codes)),
        ("transient", said.names(provider.transient_codes)),
        *((kind, said.names(codes)) for kind, codes in _shared_codes().items()),
        ("quota", mistake and provider.quota_message_regex is None and said.matches(rules.quota.message_regex)),
        ("refused_key", mistake and said.matches(rules.key.message_regex)),
        ("not_found", mistake and status != 429 and said.matches(rules.not_found.message_regex)),
        ("too_long", status != 429 and said.matches(rules.too_long.message_regex)),
    )
    return next((kind for kind, holds in tests if holds), None)


@cache
def _shared_codes() -> Mapping[OutcomeKind, frozenset[str]]:
    """Codes in words, which count for all providers; codes in digits mean something else at each vendor."""
    rules, rows = signals(), providers()
    everyone: dict[OutcomeKind, frozenset[str]] = {  # in the order in which they are tested
        "account_risk": frozenset().union(*(row.account_codes for row in rows)),
        "quota": rules.quota.code.union(*(row.quota_codes for row in rows)),
        "rate_limited": rules.rate.code.union(*(row.rate_codes for row in rows)),
        "transient": frozenset().union(*(row.transient_codes for row in rows)),
        "refused_key": rules.key.code,
        "not_found": rules.not_found.code,
        "too_long": rules.too_long.code,
    }
    return {kind: frozenset(code for code in codes if not code.isdigit()) for kind, codes in everyone.items()}


def _kind_by_status(status: int, said: Said) -> OutcomeKind:
    if 200 <= status < 300:  # an error in a response that calls itself a success
        named = _unsupported(said) is not None
        return "transient" if not named and said.matches(signals().transient.message_regex) else "bad_request"
    if status in (401, 403):
        return "refused_key"
    if status in (408, 409, 425) or status >= 500:
        return "transient"
    kinds: dict[int, OutcomeKind] = {402: "quota", 404: "not_found", 413: "too_long", 429: "rate_limited"}
    return kinds.get(status, "bad_request")


def _unsupported(said: Said) -> str | None:
    """The parameter that the fault is about, if it is one that can be left out."""
    rules = signals().parameter
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


def _block_side(provider: Provider, status: int | None, said: Said) -> Side | None:
    """The side of a block, None when there is none; two sides that contradict each other are `unknown`.

    `status` is None within a success.
    """
    if _checker_failed(said):
        return None
    rules, codes = signals().block, folded(said.codes)
    sides: list[Side] = [provider.vendor_codes[code] for code in codes if code in provider.vendor_codes]
    sides += [rule.side for rule in rules.code_prefix if any(code.startswith(rule.prefix.casefold()) for code in codes)]
    if folded(rules.code) & _last_parts(codes) or folded(rules.type) & folded(said.types):
        sides.append("unknown")
    if not sides and folded(provider.account_codes) & codes:
        return None  # an exact code too, and one that must stop the run
    for message in said.messages:
        for pattern in rules.message:
            found = re.search(pattern.regex, message, re.IGNORECASE)
            if found:
                sides += [pattern.side, _side(found.groupdict().get("side"))]
    if status in rules.http_status or (status == 400 and said.matches(provider.blocked_message_regex)):
        sides.append("unknown")
    if not sides:
        return None
    # That it is a block is settled; these only tell of which side.
    sides += [rules.roles.get(role, "unknown") for role in said.roles]
    if not rules.param_of_input.isdisjoint(said.params):
        sides.append("input")
    starts = (re.search(rules.message_start, message, re.IGNORECASE) for message in said.messages)
    sides += [_side(start["side"]) for start in starts if start]
    known = set(sides) - {"unknown"}
    return known.pop() if len(known) == 1 else "unknown"


def _checker_failed(said: Said) -> bool:
    return bool(folded(signals().block.not_a_block) & _last_parts(said.words))


def _last_parts(words: set[str]) -> set[str]:
    return words | {word.rpartition(".")[2] for word in words}


def _side(word: str | None) -> Side:
    sides: dict[str, Side] = {"input": "input", "output": "output"}
    return sides.get((word or "").casefold(), "unknown")


def _no_json(status: int, text: str) -> str:
    stripped = text.strip()
    if not stripped:
        return f"HTTP {status} with an empty body"
    if stripped[0] == "<":
        title = re.search(r"<title[^>]*>([^<]{1,200})", stripped[:20_000], re.IGNORECASE)
        page = f" ({title[1].strip()})" if title else ""
        return line(f"HTTP {status} with a web page{page} in place of JSON: is the base URL right?")
    return line(f"HTTP {status}: {stripped}")
