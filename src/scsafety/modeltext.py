"""Text that a model wrote, put into a prompt as data and read out of a reply as JSON.

What a model wrote is hostile: in a prompt it stands between two lines that carry a random word which it cannot know, and a
reply is searched for JSON objects instead of being trusted to be one.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BRACE = re.compile(r"[{}]")
DECODER = json.JSONDecoder(strict=False)
KEY, SERIAL = secrets.token_bytes(32), count()


def new_nonce() -> str:
    """16 hex digits that no answer can know of; a keyed hash, since the system's random numbers cost more than a prompt."""
    return hashlib.blake2b(next(SERIAL).to_bytes(8, "big"), key=KEY, digest_size=8).hexdigest()


def fence(text: str, name: str, nonce: str) -> str:
    """nonce: a word that stands nowhere in the text."""
    return f"<<<{name} {nonce}\n{text}\n{name} {nonce}>>>"


def json_objects(reply: str) -> Iterator[dict[str, Any]]:
    """Every JSON object in the text that is not inside another pair of braces, readable or not.

    A judge may quote an answer that orders `{"score": 2}` in a reason of which the quotes are then wrong: what stands
    inside such broken braces is the answer's word and not the judge's.
    """
    at, depth = 0, 0
    while found := BRACE.search(reply, at):
        at = found.end()
        if found[0] == "}":
            depth = max(depth - 1, 0)
            continue
        try:
            value, end = DECODER.raw_decode(reply, found.start())
        except (ValueError, RecursionError):
            depth += 1
            continue
        at = end
        if depth == 0:
            yield value
