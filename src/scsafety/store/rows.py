"""What stands in a row as a record, and a record as a row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from scsafety import taxonomy
from scsafety.records import (
    Call,
    DialogueKey,
    Item,
    JudgeCard,
    Message,
    Pair,
    Reply,
    Side,
    Step,
    SuiteItem,
    Turn,
    Twin,
    Verdict,
    content_hash,
    item_json,
    whole_characters,
)

if TYPE_CHECKING:
    from scsafety.records import Score

ITEM_TYPES: dict[str, type[Item]] = {"pair": Pair, "benign": Twin, "suite": SuiteItem}


class StoredTurn(msgspec.Struct, frozen=True):
    """A kept turn with its place in the run."""

    key: DialogueKey
    turn: Turn


class StoredVerdict(msgspec.Struct, frozen=True):
    key: DialogueKey
    seq: int
    round: int | None
    verdict: Verdict


class StoredCall(msgspec.Struct, frozen=True):
    key: DialogueKey | None  # None: of no dialogue, as the control question
    seq: int | None
    judge_key: str | None
    call: Call


class Outline(NamedTuple):
    """What a count needs of a kept turn."""

    item_id: str
    epoch: int
    round: int | None
    answered: int  # 0 or 1; a block is an answer
    blocked: Side | None
    finish_reason: str | None
    created_at: str


class Held(NamedTuple):
    """How far a dialogue is."""

    key: DialogueKey
    status: str
    ended: str | None
    kept: int  # answered turns that stayed in the conversation
    taken_back: int


class Tally(msgspec.Struct, frozen=True):
    answered: int  # kept turns with an answer, blocked ones included
    blocked: int
    judged: int  # of them, those with a verdict
    scored: int  # of those, the ones with a score, which those of pairs have
    score_sum: int


class Usage(msgspec.Struct, frozen=True):
    role: str
    calls: int
    attempts: int  # requests sent, retries included
    prompt_tokens: int
    completion_tokens: int


class CallCount(msgspec.Struct, frozen=True):
    """Calls to one endpoint that ended in one way."""

    role: str
    endpoint: str
    outcome: str
    code: str | None  # the vendor's own word for a block; None: no block, or not known
    calls: int
    attempts: int


def item_row(position: int, item: Item) -> tuple[Any, ...]:
    sub = item.sub_dimension
    dimension = item.suite if isinstance(item, SuiteItem) else taxonomy.dimension_of(sub)
    return (item.id, content_hash(item), item.kind, dimension, sub, position, item_json(item))


def key_row(key: DialogueKey) -> tuple[Any, ...]:
    return (key.item_id, key.epoch, key.strategy, key.attempt)


def as_json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate in an answer that is sent again as history
        return as_text(json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))) or ""


def as_text(value: str | None) -> str | None:
    return value if value is None else whole_characters(value)


def to_item(kind: str, text: str) -> Item:
    return msgspec.json.decode(text, type=ITEM_TYPES[kind])


def to_card(row: tuple[Any, ...]) -> JudgeCard:
    judge_id, model, prompt_hash, parameters, artefact_hash = row
    return JudgeCard(
        judge_id=judge_id,
        model=model,
        prompt_hash=prompt_hash,
        parameters=msgspec.json.decode(parameters),
        artefact_hash=artefact_hash,
    )


def to_turn(row: tuple[Any, ...]) -> StoredTurn:
    item_id, epoch, strategy, attempt, seq, round_, messages, answer = row[:8]
    (
        reasoning,
        finish_reason,
        blocked,
        latency_s,
        prompt_tokens,
        completion_tokens,
        attempts,
        error,
        created_at,
        kept,
    ) = row[8:]
    reply = None
    if error is None:
        reply = Reply(
            content=answer,
            reasoning=reasoning,
            finish_reason=finish_reason,
            blocked=cast("Side | None", blocked),
            latency_s=latency_s or 0.0,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            attempts=attempts,
        )
    turn = Turn(
        seq=seq,
        round=round_,
        messages=msgspec.json.decode(messages, type=tuple[Message, ...]),
        reply=reply,
        error=error,
        attempts=attempts,
        kept=bool(kept),
        created_at=created_at,
    )
    return StoredTurn(DialogueKey(item_id, epoch, strategy, attempt), turn)


def to_call(row: tuple[Any, ...]) -> StoredCall:
    names = (
        "role", "endpoint", "outcome", "attempts", "latency_s", "retried", "prompt_tokens", "completion_tokens", "model",
        "request_id", "fingerprint", "raw", "created_at",
    )  # fmt: skip
    given = dict(zip(names, row[6:], strict=True))
    given["retried"] = None if given["retried"] is None else msgspec.json.decode(given["retried"])
    return StoredCall(None if row[0] is None else DialogueKey(*row[:4]), row[4], row[5], Call(**given))


def to_step(row: tuple[Any, ...]) -> Step:
    seq, kind, number, asked, said, blocked, found, created_at = row
    return Step(
        seq=seq,
        kind=kind,
        number=number,
        asked=asked,
        said=said,
        blocked=cast("Side | None", blocked),
        found=None if found is None else msgspec.json.decode(found),
        created_at=created_at,
    )


def to_verdict(row: tuple[Any, ...]) -> StoredVerdict:
    item_id, epoch, strategy, attempt, seq, round_, score, label, reason, confidence, error, raw, repeat, created_at = (
        row
    )
    verdict = Verdict(
        score=cast("Score | None", score),
        label=label,
        reason=reason,
        confidence=confidence,
        error=error,
        raw=raw,
        repeat=repeat,
        created_at=created_at,
    )
    return StoredVerdict(DialogueKey(item_id, epoch, strategy, attempt), seq, round_, verdict)
