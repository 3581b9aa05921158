"""Thinking taken apart from the answer, whichever way an endpoint mixes the two."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Not inside backticks: an answer may speak of the tag.
_OPEN = re.compile(r"(?<!`)(?:<think>|◁think▷)(?!`)", re.IGNORECASE)
_CLOSE = re.compile(r"(?<!`)(?:</think>|◁/think▷)(?!`)", re.IGNORECASE)
_TEXT = re.compile(r"\S")
_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>")  # marks that GLM-4.5V sets around its answer


def split_reasoning(content: str) -> tuple[str, str | None, bool]:
    """`(answer, reasoning, closed)` of a text that may begin with a block of thinking.

    The block's opening tag may be missing. `closed` is False when the block never ends: then there is no answer.

    >>> split_reasoning("<think>hm</think>yes")
    ('yes', 'hm', True)
    >>> split_reasoning("hm</think>yes")
    ('yes', 'hm', True)
    >>> split_reasoning("<think>hm")
    ('', 'hm', False)
    >>> split_reasoning("yes")
    ('yes', None, True)
    """
    if "<" not in content and "◁" not in content:  # nearly every answer
        return content, None, True
    content = _BOX.sub("", content)
    thoughts: list[str] = []
    at = 0  # where the answer begins, as far as is known
    while True:
        opened = _OPEN.match(content, _next_text(content, at))
        start = opened.end() if opened else at
        closing = _CLOSE.search(content, start)
        if opened is None:
            # Only the first block may lack its opening tag, and only if none stands between it and the start.
            inner = _OPEN.search(content) if closing and at == 0 else None
            if at or closing is None or (inner is not None and inner.start() < closing.start()):
                break
        thoughts.append(content[start : closing.start() if closing else len(content)].strip())
        if closing is None:
            return "", _joined(thoughts), False
        at = closing.end()
    return content[at:].strip() if at else content, _joined(thoughts), True


def reasoning_of(message: Mapping[str, Any]) -> str | None:
    """What a message carries of thinking beside its content.

    Reads `reasoning`, `reasoning_content` and `reasoning_details[].text`; servers that send two send the same twice.
    """
    for field in ("reasoning_content", "reasoning"):
        text = message.get(field)
        if isinstance(text, str) and text.strip():
            return text.strip()
    details = message.get("reasoning_details")
    if isinstance(details, list):
        texts = [part.get("text") for part in details if isinstance(part, dict)]
        return _joined([text for text in texts if isinstance(text, str)])
    return None


def _joined(thoughts: list[str]) -> str | None:
    return "\n".join(thought for thought in thoughts if thought.strip()) or None


def _next_text(text: str, at: int) -> int:
    """The index of the first character from `at` on that is not blank."""
    found = _TEXT.search(text, at)
    return found.start() if found else len(text)
