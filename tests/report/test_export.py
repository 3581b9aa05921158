"""The rows of a run for other programs: the same in every format, typed, hostile text as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scsafety.report.export import COLUMNS, FORMATS, rows, write_parquet
from tests.report.build import Said, built_run, pair, twin

if TYPE_CHECKING:
    from pathlib import Path

    from scsafety.records import Item

HELD: list[tuple[Item, list[Said]]] = [
    (pair("environment", 1), [Said(score=2, answer="=cmd|'/c calc'!A1"), Said(score=0, reasoning="想\n一想")]),
    (pair("environment", 2), [Said(score=1, answer="", blocked="input"), Said(error="timeout: no byte")]),
    (twin("environment", 1), [Said(label="answered")]),
]


def test_parquet_holds_the_rows_of_the_other_formats_with_types(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    with built_run(tmp_path / "run.db", HELD) as (store, _):
        write_parquet(store, tmp_path / "r.parquet")
        as_json = [json.loads(line) for line in FORMATS["jsonl"](store)]

    table = pq.read_table(tmp_path / "r.parquet")
    assert table.to_pylist() == as_json
    assert table.column_names == list(COLUMNS)
    assert table.schema.field("score").type == pa.int64()
    assert len(as_json) == 5
    assert {path.name for path in tmp_path.iterdir()} >= {"r.parquet"}
    assert not list(tmp_path.glob("*.part"))


def test_every_row_has_every_column(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", HELD) as (store, _):
        assert {tuple(row) for row in rows(store)} == {COLUMNS}
