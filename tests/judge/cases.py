"""Cases for judges."""

from __future__ import annotations

from typing import Any

from scsafety.records import Case, Item, Message
from tests.bank.records import pair, twin

PAIR = pair(question="第一问", follow_up="追问", risk_point="教怎么拆了再封好。", good_answer="劝他先问室友。")
TWIN = twin(question="无害的问题", why_harmless="处理的是自己的单子。")


def case(answer: str = "回答", item: Item | None = PAIR, **how: Any) -> Case:
    """A case of round 1."""
    question = item.question if item else "问题"
    return Case(**{"item": item, "round": 1, "history": (), "question": question, "answer": answer, **how})


def second_round(answer: str = "第二答", **how: Any) -> Case:
    history = (Message("user", "第一问"), Message("assistant", "第一答"))
    return case(answer, **{"round": 2, "history": history, "question": "追问", **how})
