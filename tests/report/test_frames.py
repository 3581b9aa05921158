"""A run as tables: every row and field of the store's own readers, with types that hold for empty columns."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from scsafety import api
from scsafety.errors import ConfigError
from scsafety.report.export import rows
from scsafety.report.frames import TABLES, pandas_frame, polars_frame
from tests.report.build import Said, built_run, pair, twin

if TYPE_CHECKING:
    from pathlib import Path

    from scsafety.records import Item

HELD: list[tuple[Item, list[Said]]] = [
    (pair("psychology"), [Said(score=2), Said(score=0, confidence=None)]),
    (pair("property_privacy"), [Said(score=1), Said(error="timed out")]),
    (twin("psychology"), [Said(label="partial")]),
]
N_ROWS = {"items": 3, "turns": 5, "verdicts": 4, "dialogues": 3}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_its_rows_and_columns_and_the_types_that_it_names(name: str, tmp_path: Path) -> None:
    pl = pytest.importorskip("polars", reason="the extra `notebook` is not installed")
    with built_run(tmp_path / "run.db", HELD) as (store, _):
        frame = polars_frame(store, name)
        listed = list(TABLES[name].rows(store))

    kinds = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}
    assert len(frame) == N_ROWS[name]
    assert dict(frame.schema) == {column: kinds[kind] for column, kind in TABLES[name].columns.items()}
    assert frame.to_dicts() == listed
    assert all(list(row) == list(TABLES[name].columns) for row in listed)


@pytest.mark.parametrize("name", TABLES)
def test_pandas_has_the_same_and_keeps_what_is_missing_apart_from_nought(name: str, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    with built_run(tmp_path / "run.db", HELD) as (store, _):
        frame = pandas_frame(store, name)
        listed = list(TABLES[name].rows(store))

    assert [
        {column: None if pd.isna(value) else value for column, value in row.items()} for row in frame.to_dict("records")
    ] == listed
    if name == "turns":
        assert str(frame["score"].dtype) == "Int64"


@pytest.mark.parametrize("name", TABLES)
def test_a_run_without_answers_has_empty_tables_with_all_columns(name: str, tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra `notebook` is not installed")
    with built_run(tmp_path / "run.db", [(pair("psychology"), [])], judged=False) as (store, _):
        frame = polars_frame(store, name)

    assert frame.columns == list(TABLES[name].columns)
    assert len(frame) == (1 if name == "items" else 0)


def test_the_tables_of_a_loaded_run_are_those_of_its_store(tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra `notebook` is not installed")
    (tmp_path / "r").mkdir()
    with built_run(tmp_path / "r" / "run.db", HELD) as (store, _):
        expected = list(rows(store))

    run = api.load_run(tmp_path / "r")

    assert run.turns().to_dicts() == expected
    assert run.items()["item_id"].to_list() == [item.id for item, _ in HELD]
    assert run.verdicts()["primary"].all()
    assert run.dialogues()["kept"].to_list() == [2, 1, 1]


@pytest.mark.parametrize(
    ("package", "mend"), [("polars", r"pip install 'scsafety\[notebook\]'"), ("pandas", "pip install pandas")]
)
def test_a_missing_package_is_named_with_the_command_that_mends_it(
    package: str, mend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "r").mkdir()
    with built_run(tmp_path / "r" / "run.db", HELD):
        pass
    run = api.load_run(tmp_path / "r")

    with pytest.raises(ConfigError, match=mend):
        run.turns() if package == "polars" else run.to_pandas()


def test_a_table_that_no_run_has_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    with (
        built_run(tmp_path / "run.db", HELD) as (store, _),
        pytest.raises(ConfigError, match="no table 'turn'; it has items, turns, verdicts, dialogues"),
    ):
        pandas_frame(store, "turn")
