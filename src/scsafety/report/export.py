"""Every turn of a run with its verdict, line by line, for other programs."""

from __future__ import annotations

import csv
import io
import itertools
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.errors import ConfigError
from scsafety.files import write_whole
from scsafety.records import Pair, SuiteItem
from scsafety.report.redact import Text, redact, risky
from scsafety.report.suite import attacked_in, label_of
from scsafety.report.visible import CONTROL, UNSEEN, named

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from scsafety.store import Store

COLUMNS = (
    "item_id", "kind", "sub_dimension", "round", "epoch", "strategy", "question", "answer", "reasoning", "finish_reason",
    "blocked", "error", "score", "label", "reason", "confidence", "judge_key", "risk_point", "created_at",
)  # fmt: skip
TYPES: dict[str, type] = {"round": int, "epoch": int, "score": int, "confidence": float}  # of columns that hold no text
SUITE = "suite"
FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def rows(store: Store, *, leave_out: bool = False) -> Iterator[dict[str, Any]]:
    """One flat record a turn, errors included; the verdict is the primary judge's. `leave_out`: without risky texts."""
    if not leave_out:
        return _rows(store)
    judge = store.primary_judge()
    judge_id = judge.judge_id if judge else ""
    severity = {item.id: item.severity for item in store.items() if isinstance(item, Pair)}
    of_items = itertools.groupby(_rows(store), key=lambda row: str(row["item_id"]))
    return (row for item_id, held in of_items for row in _without_risky(list(held), severity.get(item_id), judge_id))


def _without_risky(held: Sequence[dict[str, Any]], severity: int | None, judge_id: str) -> Iterator[dict[str, Any]]:
    """All rows of one item without the texts that carry a risk."""
    texts = []
    for row in held:
        rule = partial(risky, score=row["score"], label=row["label"], severity=severity, judge_id=judge_id)
        own = row["strategy"] == "fixed"
        whole = row["kind"] == SUITE  # its labels do not say what is a risk, its licence not what may be passed on
        texts += [
            Text(row["question"], whole or rule("question"), own=own),
            Text(row["reasoning"], whole or rule("reasoning")),
            Text(row["answer"], whole or rule("answer")),
            *(Text(row[name]) for name in ("reason", "error", "finish_reason")),
            Text(row["risk_point"], own=True),
        ]
    found = iter(redact(texts))
    names = ("question", "reasoning", "answer", "reason", "error", "finish_reason", "risk_point")
    return (row | {name: next(found) for name in names} for row in held)


def _rows(store: Store) -> Iterator[dict[str, Any]]:
    items = {item.id: item for item in store.items()}
    judge = store.primary_judge()
    verdicts = {(v.key, v.seq): v.verdict for v in store.verdicts(judge.key)} if judge else {}
    attacked = attacked_in(store)
    for stored in store.turns():
        item, turn, reply = items[stored.key.item_id], stored.turn, stored.turn.reply
        verdict = verdicts.get((stored.key, turn.seq))
        label = verdict.label if verdict else None
        if isinstance(item, SuiteItem):
            label = label_of(item, attacked.get((item.id, stored.key.epoch)), verdict)
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
            "label": label,
            "reason": (verdict.error or verdict.reason) if verdict else None,
            "confidence": verdict.confidence if verdict else None,
            "judge_key": judge.key if verdict and judge else None,
            "risk_point": item.risk_point if isinstance(item, Pair) else None,
            "created_at": turn.created_at,
        }


def jsonl(store: Store, *, leave_out: bool = False) -> Iterator[str]:
    """What cannot be seen is written as `\\uXXXX`: the same text to a parser, and nothing that moves a terminal."""
    return map(json_line, rows(store, leave_out=leave_out))


def json_line(row: Mapping[str, Any]) -> str:
    """One of these lines."""
    return UNSEEN.sub(_escaped, msgspec.json.encode(row).decode())


def csv_lines(store: Store, *, leave_out: bool = False) -> Iterator[str]:
    """RFC 4180; see `cell` for what a spreadsheet must not get."""
    for k, row in enumerate(rows(store, leave_out=leave_out)):
        if k == 0:
            yield _csv_line(dict(zip(row, row, strict=True)))
        yield _csv_line(row)


def _csv_line(row: Mapping[str, Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([cell(value) for value in row.values()])  # so that both are quoted
    return line.getvalue().removesuffix("\r\n")


def cell(value: object) -> object:
    """A value as a spreadsheet may have it: controls spelt out, an apostrophe before what would be taken for a formula.

    >>> cell("=1+1"), cell(" \\t@SUM(A1)"), cell("a\\nb\\x1b[1m")
    ("'=1+1", "' \\t@SUM(A1)", 'a\\nb␛[1m')
    """
    if not isinstance(value, str):
        return value
    text = CONTROL.sub(named, value)
    # blanks and what cannot be seen before it do not keep every spreadsheet from running it
    return (
        f"'{text}"
        if text.startswith(("\t", "\r")) or UNSEEN.sub("", text).lstrip().startswith(FORMULA_STARTS)
        else text
    )


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match.group())[1:-1]


def write_parquet(store: Store, path: Path, *, leave_out: bool = False) -> None:
    """The same rows as a Parquet file, whole or not at all. Raises ConfigError without pyarrow, and MachineError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError("--format parquet needs pyarrow: pip install 'scsafety[parquet]'") from error
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pylist(list(rows(store, leave_out=leave_out)), schema=pa.schema(_parquet_fields(pa))), sink
    )
    write_whole(path, sink.getvalue().to_pybytes())


def _parquet_fields(pa: Any) -> list[Any]:
    """Column types by name, so that a column without a value has its type too."""
    known = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    return [pa.field(name, known[TYPES.get(name, str)]) for name in COLUMNS]


FORMATS: dict[str, Callable[..., Iterator[str]]] = {"jsonl": jsonl, "csv": csv_lines}
