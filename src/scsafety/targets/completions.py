"""The answer in the body of a chat completion, in all the forms that servers give it."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

import msgspec

from scsafety.records import Reply, Side, whole_characters
from scsafety.targets.bodies import MAX_DEPTH, RAW_CHARS, line
from scsafety.targets.thinking import reasoning_of, split_reasoning


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The first choice of a chat completion."""

    content: str = ""
    reasoning: str | None = None
    finish_reason: str | None = None
    refusal: str = ""
    error: Any = None
    first_token: dict[str, float] | None = None  # log-probability of each token that might have stood first
    unchecked: bool = False  # Azure lets a call through when its filter fails, with an error in place of the results


def first_choice(body: dict[str, Any]) -> Choice | None:
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return None
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice.get("text", message)}
    text, thought = _content(message.get("content"))
    answer, inner, _closed = split_reasoning(text)
    thoughts = [part for part in (reasoning_of(message), thought, inner) if part]
    refusal = message.get("refusal")
    refusal = whole_characters(refusal).strip() if isinstance(refusal, str) else ""
    finish = choice.get("finish_reason")
    results = choice.get("content_filter_results")
    return Choice(
        content=whole_characters(answer) if answer.strip() else refusal,
        reasoning=whole_characters("\n".join(thoughts)) if thoughts else None,
        finish_reason=whole_characters(finish).strip().casefold() or None if isinstance(finish, str) else None,
        refusal=refusal,
        error=choice.get("error"),
        first_token=_first_token(choice.get("logprobs")),
        unchecked=isinstance(results, dict) and bool(results.get("error")),
    )


def reply_of(body: Any, choice: Choice | None, *, blocked: Side | None = None, raw: str | None = None) -> Reply:
    body = body if isinstance(body, dict) else {}
    choice = choice or Choice()
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        content=choice.content,
        reasoning=choice.reasoning,
        finish_reason=choice.finish_reason,
        blocked=blocked,
        model=_known_name(body.get("model")),
        request_id=_name(body.get("id")) or _name(body.get("request_id")),
        fingerprint=_known_name(body.get("system_fingerprint")),
        prompt_tokens=_count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        completion_tokens=_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        raw=None if raw is None else whole_characters(raw[:RAW_CHARS]),
        first_token=choice.first_token,
    )


def _first_token(logprobs: Any) -> dict[str, float] | None:
    """Of two tokens with one text the likelier; what is no log-probability is left out."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content else None
    listed = first.get("top_logprobs") if isinstance(first, dict) else None
    found: dict[str, float] = {}
    for one in listed if isinstance(listed, list) else ():
        token, value = (one.get("token"), one.get("logprob")) if isinstance(one, dict) else (None, None)
        if isinstance(token, str) and isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            text = whole_characters(token)
            found[text] = max(float(value), found.get(text, -math.inf))
    return {text: value for text, value in found.items() if math.isfinite(value)} or None


def _content(content: Any, depth: int = 0) -> tuple[str, str]:
    """Text and thinking of a message's content: a text, a list of parts, a number, nothing."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, int | float) and not isinstance(content, bool):
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


def _count(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,15}\s*", value):
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**15:
        return int(value)
    return None


def _name(value: Any) -> str | None:
    return line(value) or None if isinstance(value, str) else None


def _known_name(value: Any) -> str | None:
    return _line_of_name(value) or None if isinstance(value, str) else None


_line_of_name = lru_cache(maxsize=256)(line)  # the same from call to call
