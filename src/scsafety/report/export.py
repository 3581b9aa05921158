"""Every turn of a run with its verdict, line by line, for other programs."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.errors import ConfigError
from scsafety.files import write_whole
from scsafety.records import Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from scsafety.store import Store

COLUMNS = (
    "item_id", "kind", "sub_dimension", "round", "epoch", "strategy", "question", "answer", "reasoning", "finish_reason",
    "blocked", "error", "score", "label", "reason", "confidence", "judge_key", "risk_point", "created_at",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def rows(store: Store) -> Iterator[dict[str, Any]]:
    """One flat record a turn, errors included; the verdict is the primary judge's."""
    items = {item.id: item for item in store.items()}
    judge = store.primary_judge()
    verdicts = {(v.key, v.seq): v.verdict for v in store.verdicts(judge.key)} if judge else {}
    for stored in store.turns():
        item, turn, reply = items[stored.key.item_id], stored.turn, stored.turn.reply
        verdict = verdicts.get((stored.key, turn.seq))
        yield {
            "item_id": item.id,
            "kind": item.kind,
            "sub_dimension": item.sub_dimension,
            "round": turn.round,
            "epoch": stored.key.epoch,
            "strategy": stored.key.strategy,
            "question": turn.messages[-1].content,
            "answer": reply.content if reply else None,
            "reasoning": reply.reasoning if reply else None,
            "finish_reason": reply.finish_reason if reply else None,
            "blocked": reply.blocked if reply else None,
            "error": turn.error,
            "score": verdict.score if verdict else None,
            "label": verdict.label if verdict else None,
            "reason": (verdict.error or verdict.reason) if verdict else None,
            "confidence": verdict.confidence if verdict else None,
            "judge_key": judge.key if verdict and judge else None,
            "risk_point": item.risk_point if isinstance(item, Pair) else None,
            "created_at": turn.created_at,
        }


def jsonl(store: Store) -> Iterator[str]:
    return (msgspec.json.encode(row).decode() for row in rows(store))


def csv_lines(store: Store) -> Iterator[str]:
    """RFC 4180; a cell that a spreadsheet would take for a formula gets an apostrophe in front."""
    for k, row in enumerate(rows(store)):
        if k == 0:
            yield _csv_line(dict(zip(row, row, strict=True)))
        yield _csv_line(row)


def _csv_line(row: Mapping[str, Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([cell(value) for value in row.values()])
    return line.getvalue()


def cell(value: object) -> object:
    """A value as a spreadsheet may have it: what would be taken for a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def write_parquet(store: Store, path: Path) -> None:
    """The same rows as a Parquet file, whole or not at all. Raises ConfigError without pyarrow, and MachineError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError("--format parquet needs pyarrow: pip install 'scsafety[parquet]'") from error
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows(store)), schema=pa.schema(_parquet_fields(pa))), sink)
    write_whole(path, sink.getvalue().to_pybytes())


def _parquet_fields(pa: Any) -> list[Any]:
    """Column types by name, so that a column without a value has its type too."""
    numbers = {"round": pa.int64(), "epoch": pa.int64(), "score": pa.int64(), "confidence": pa.float64()}
    return [pa.field(name, numbers.get(name, pa.string())) for name in COLUMNS]


FORMATS: dict[str, Callable[[Store], Iterator[str]]] = {"jsonl": jsonl, "csv": csv_lines}
