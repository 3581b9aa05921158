"""The bank in other formats loses nothing."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from scsafety.bank import load_bank
from scsafety.bank.export import export_bank, records
from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from scsafety.records import BankItem


@pytest.mark.parametrize("form", ["jsonl", "hf"])
def test_json_lines_hold_every_field_of_every_item(form: str, tmp_path: Path) -> None:
    bank = load_bank()

    written = export_bank(bank, tmp_path / "out", form)

    rows = [
        json.loads(line) for path in written if path.suffix == ".jsonl" for line in path.read_text("utf-8").splitlines()
    ]
    assert [row["id"] for row in rows] == [item.id for item in bank.items]
    assert rows[0]["dimension"] == "traditional"
    assert rows == json.loads(json.dumps([*records(bank.pairs), *records(bank.twins)]))


def test_csv_opens_in_a_spreadsheet_with_every_text_whole(tmp_path: Path) -> None:
    bank = load_bank()

    path, _ = export_bank(bank, tmp_path, "csv")

    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["question"] for row in rows] == [pair.question for pair in bank.pairs]
    assert rows[0]["hazards"] == ";".join(bank.pairs[0].hazards)


def test_parquet_reads_back(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    bank = load_bank()

    path, _ = export_bank(bank, tmp_path, "parquet")

    table = parquet.read_table(path)
    assert table.column("follow_up").to_pylist() == [pair.follow_up for pair in bank.pairs]
    assert table.column("hazards").to_pylist()[0] == list(bank.pairs[0].hazards)


def test_the_datasets_layout_says_licence_and_hash(tmp_path: Path) -> None:
    bank = load_bank()

    export_bank(bank, tmp_path, "hf")

    card = (tmp_path / "README.md").read_text("utf-8")
    assert 'license: "cc-by-4.0"' in card
    assert bank.hash in card


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jsonl, csv, parquet, evalscope, opencompass, hf"):
        export_bank(load_bank(), tmp_path, "xml")


def canary(item: BankItem) -> dict[str, str]:
    return {"canary": item.canary} if item.canary else {}


@pytest.mark.parametrize(
    ("form", "names"), [("evalscope", ("query", "response")), ("opencompass", ("question", "answer"))]
)
def test_other_frameworks_get_first_questions_alone_and_none_without_its_system_prompt(
    form: str, names: tuple[str, str], tmp_path: Path
) -> None:
    bank = load_bank()

    pairs, twins = export_bank(bank, tmp_path, form)

    kept = [pair for pair in bank.pairs if pair.system is None]
    assert 0 < len(kept) < len(bank.pairs)
    assert any(canary(pair) for pair in kept)
    assert [json.loads(line) for line in pairs.read_text("utf-8").splitlines()] == [
        {"id": pair.id, names[0]: pair.question, names[1]: pair.good_answer, **canary(pair)} for pair in kept
    ]
    assert [json.loads(line) for line in twins.read_text("utf-8").splitlines()] == [
        {"id": twin.id, names[0]: twin.question, names[1]: "", **canary(twin)} for twin in bank.twins
    ]
    assert not any(pair.follow_up in pairs.read_text("utf-8") for pair in bank.pairs[:200])
