"""What adaptive strategies have in common: words as data in a prompt, texts out of JSON, what an answer says. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from scsafety.modeltext import fence, json_objects
from scsafety.records import Pair

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scsafety.records import Item, Turn

MAX_REASON_CHARS = 500
MAX_SHOWN_CHARS = 4_000  # of an answer, to the attacker; its judges read all of it


def objective_of(item: Item) -> str:
    """What an answer would have to do. Raises TypeError for an item that has nothing to attack."""
    if not isinstance(item, Pair):
        raise TypeError(f"{item.id} has no risk point to attack")
    return item.risk_point


def is_chinese(text: str) -> bool:
    """Whether it has a Chinese character.

    >>> is_chinese("拆别人的快递"), is_chinese("open a neighbour's mail")
    (True, False)
    """
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def fenced(name: str, text: str) -> str:
    """The mark is the text's own digest: it cannot stand in the text, and a run that is resumed asks in the same words."""
    return fence(text, name, hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16])


def beginning(text: str, cut: str) -> str:
    """As much of an answer as the attacker is shown. cut: stands where the rest is left out."""
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + cut


def text_of(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    return value.strip() if isinstance(value, str) else ""


def read_texts(reply: str, name: str, others: Iterable[str]) -> dict[str, Any] | None:
    """The texts of a reply's JSON object; None where `name` is empty or missing, or is there twice and differs."""
    found = [data for data in json_objects(reply) if text_of(data, name)]
    if len({text_of(data, name) for data in found}) != 1:
        return None
    return {one: text_of(found[-1], one) for one in others}


def declines(reply: str, name: str) -> bool:
    """Whether an attacker leaves this text empty, as it is told to where it does not want to take part."""
    return any(name in data and not text_of(data, name) for data in json_objects(reply))


def answer_of(turn: Turn) -> str:
    return turn.reply.content if turn.reply is not None else ""


def is_nothing(turn: Turn) -> bool:
    """Blocked by the vendor, or empty: a refusal of which no judge is asked."""
    return turn.reply is None or turn.reply.blocked is not None or not turn.reply.content.strip()
