"""A run's parts as flat tables, for notebooks and for the folder that `datasets` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from scsafety.errors import ConfigError
from scsafety.records import Pair, SuiteItem
from scsafety.report import export

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    import polars as pl

    from scsafety.store import Store


class TableOf(NamedTuple):
    columns: dict[str, type]  # by name: str, int, float, bool
    rows: Callable[[Store], Iterator[dict[str, Any]]]


def item_rows(store: Store) -> Iterator[dict[str, Any]]:
    """What was asked about; of a suite's item its first prompt."""
    hashes = store.content_hashes()
    for item in store.items():
        pair = item if isinstance(item, Pair) else None
        yield {
            "item_id": item.id,
            "kind": item.kind,
            "sub_dimension": item.sub_dimension,
            "question": item.question,
            "follow_up": pair.follow_up if pair else None,
            "form": pair.form if pair else None,
            "tactic": pair.tactic if pair else None,
            "severity": pair.severity if pair else None,
            "hazards": None if isinstance(item, SuiteItem) else ";".join(item.hazards),
            "content_hash": hashes[item.id],
        }


def verdict_rows(store: Store, *, leave_out: bool = False) -> Iterator[dict[str, Any]]:
    """The last verdict of every judge on every kept turn, people included. leave_out: without reasons, which quote answers."""
    for card, primary in store.judges():
        for stored in store.verdicts(card.key):
            key, verdict = stored.key, stored.verdict
            yield {
                "item_id": key.item_id,
                "epoch": key.epoch,
                "strategy": key.strategy,
                "attempt": key.attempt,
                "round": stored.round,
                "judge_id": card.judge_id,
                "judge_key": card.key,
                "primary": primary,
                "score": verdict.score,
                "label": verdict.label,
                "confidence": verdict.confidence,
                "reason": None if leave_out else verdict.reason,
                "error": None if leave_out else verdict.error,
                "created_at": verdict.created_at,
            }


def dialogue_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Every dialogue that has begun, and how far it is."""
    for held in store.held():
        yield {
            "item_id": held.key.item_id,
            "epoch": held.key.epoch,
            "strategy": held.key.strategy,
            "attempt": held.key.attempt,
            "status": held.status,
            "ended": held.ended,
            "kept": held.kept,
            "taken_back": held.taken_back,
        }


VERDICT_COLUMNS: dict[str, type] = {
    "item_id": str, "epoch": int, "strategy": str, "attempt": int, "round": int, "judge_id": str, "judge_key": str,
    "primary": bool, "score": int, "label": str, "confidence": float, "reason": str, "error": str, "created_at": str,
}  # fmt: skip
TABLES = {
    "items": TableOf(
        {
            "item_id": str, "kind": str, "sub_dimension": str, "question": str, "follow_up": str, "form": str, "tactic": str,
            "severity": int, "hazards": str, "content_hash": str,
        },
        item_rows,
    ),
    "turns": TableOf({name: export.TYPES.get(name, str) for name in export.COLUMNS}, export.rows),
    "verdicts": TableOf(VERDICT_COLUMNS, verdict_rows),
    "dialogues": TableOf(
        {
            "item_id": str, "epoch": int, "strategy": str, "attempt": int, "status": str, "ended": str, "kept": int,
            "taken_back": int,
        },
        dialogue_rows,
    ),
}  # fmt: skip


def polars_frame(store: Store, name: str) -> pl.DataFrame:
    """One of TABLES. Raises ConfigError without polars."""
    try:
        import polars as pl
    except ImportError as error:
        raise ConfigError(f"a run's {name} as a table need polars: pip install 'scsafety[notebook]'") from error
    kinds = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}
    table = _table(name)
    schema = {column: kinds[kind] for column, kind in table.columns.items()}
    return pl.DataFrame(list(table.rows(store)), schema=schema, orient="row")


def pandas_frame(store: Store, name: str) -> pd.DataFrame:
    """One of TABLES; whole numbers as `Int64`, so that a missing one stays missing. Raises ConfigError without pandas."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ConfigError("to_pandas() needs pandas: pip install pandas") from error
    kinds = {str: "object", int: "Int64", float: "Float64", bool: "boolean"}
    table = _table(name)
    frame = pd.DataFrame.from_records(list(table.rows(store)), columns=list(table.columns))
    return frame.astype({column: kinds[kind] for column, kind in table.columns.items()})


def _table(name: str) -> TableOf:
    if name not in TABLES:
        raise ConfigError(f"a run has no table {name!r}; it has {', '.join(TABLES)}")
    return TABLES[name]
