"""What Inspect has no field for, as it stands in the metadata of a log, of its samples and of their scores.

Our tasks and `export --format inspect` write the same, so one reader takes both.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from scsafety import taxonomy
from scsafety.engine.settings import RunSettings  # noqa: TC001 (msgspec reads the fields' types)
from scsafety.records import Call, Item, JudgeCard, Step, SuiteItem, Turn, Verdict
from scsafety.store import ITEM_TYPES

FORMAT = 1  # raised when an older scsafety could not read it
KEY = "scsafety"


class PlacedCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request, with the turn that it was made for."""

    call: Call
    seq: int | None = None
    judge_key: str | None = None
    place: int = 0  # among all calls of the run; 0 in a log of a task


class JudgeOfLog(msgspec.Struct, frozen=True):
    card: JudgeCard
    primary: bool


class OfLog(msgspec.Struct, frozen=True, kw_only=True):
    """In the log's metadata."""

    format: int = FORMAT
    settings: RunSettings  # of a task without a model: Inspect's own fields say what was asked, and how
    meta: dict[str, str] = {}
    judges: tuple[JudgeOfLog, ...] = ()  # none: the scores say who judged
    unasked: tuple[dict[str, Any], ...] = ()  # items of which the log has no sample
    calls: tuple[PlacedCall, ...] = ()  # of no dialogue


class OfSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """In a sample's metadata: one dialogue."""

    item: dict[str, Any]
    strategy: str = "fixed"
    attempt: int = 1
    status: str = "open"
    ended: str | None = None
    turns: tuple[Turn, ...] = ()
    steps: tuple[Step, ...] = ()
    calls: tuple[PlacedCall, ...] = ()


class Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """A verdict with its turn."""

    seq: int
    round: int | None
    verdict: Verdict


class OfScore(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """In a score's metadata: everything that one judge said of one dialogue, and the requests that it made for that."""

    judge: JudgeCard
    verdicts: tuple[Given, ...] = ()
    calls: tuple[PlacedCall, ...] = ()


def of_sample(item: Item, **given: Any) -> OfSample:
    return OfSample(item=item_object(item), **given)


def sample_metadata(item: Item, carried: OfSample) -> dict[str, Any]:
    """With what a reader of the log groups and filters by."""
    sub = item.sub_dimension
    dimension = item.suite if isinstance(item, SuiteItem) else taxonomy.dimension_of(sub)
    return {"dimension": dimension, "sub_dimension": sub, KEY: msgspec.to_builtins(carried)}


def item_object(item: Item) -> dict[str, Any]:
    return {"kind": item.kind, **cast("dict[str, Any]", msgspec.to_builtins(item))}


def item_of(found: dict[str, Any]) -> Item:
    """Raises msgspec.ValidationError."""
    fields = dict(found)
    kind = fields.pop("kind", None)
    if kind not in ITEM_TYPES:
        raise msgspec.ValidationError(f"an item of kind {kind!r}")
    return msgspec.convert(fields, ITEM_TYPES[kind])
