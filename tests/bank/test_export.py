"""The bank in other formats loses nothing."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from scsafety.bank import load_bank
from scsafety.bank.export import export_bank, records
from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


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


def optional(**fields: str | None) -> dict[str, str]:
    return {name: text for name, text in fields.items() if text}


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_evalscope_gets_every_first_question_with_its_system_prompt(tmp_path: Path) -> None:
    bank = load_bank()

    pairs, twins = export_bank(bank, tmp_path, "evalscope")

    assert any(pair.system for pair in bank.pairs)
    assert lines(pairs) == [
        {"id": pair.id, "query": pair.question, "response": pair.good_answer}
        | optional(system=pair.system, canary=pair.canary)
        for pair in bank.pairs
    ]
    assert lines(twins) == [
        {"id": twin.id, "query": twin.question, "response": ""} | optional(canary=twin.canary) for twin in bank.twins
    ]


def test_opencompass_gets_every_dialogue_with_the_answers_left_open(tmp_path: Path) -> None:
    bank = load_bank()

    pairs, twins, *_ = export_bank(bank, tmp_path, "opencompass")

    assert lines(pairs) == [
        {
            "id": pair.id,
            "dialogue": [
                *([{"role": "system", "content": pair.system}] if pair.system else []),
                {"role": "user", "content": pair.question},
                {"role": "assistant", "content": ""},
                {"role": "user", "content": pair.follow_up},
                {"role": "assistant", "content": ""},
            ],
            "answer": pair.good_answer,
        }
        | optional(canary=pair.canary)
        for pair in bank.pairs
    ]
    assert lines(twins) == [
        {
            "id": twin.id,
            "dialogue": [{"role": "user", "content": twin.question}, {"role": "assistant", "content": ""}],
            "answer": "",
        }
        | optional(canary=twin.canary)
        for twin in bank.twins
    ]


def test_opencompass_gets_a_config_that_names_what_was_written(tmp_path: Path) -> None:
    bank = load_bank()
    of_pairs = msgspec.structs.replace(bank, items=bank.pairs)

    written = export_bank(of_pairs, tmp_path, "opencompass")

    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert not (tmp_path / "benign.jsonl").exists()
    config = (tmp_path / "scsafety_opencompass.py").read_text("utf-8")
    assert "for name in ['pairs']\n" in config
    compile(config, "scsafety_opencompass.py", "exec")


def test_evalscope_gets_no_follow_up(tmp_path: Path) -> None:
    bank = load_bank()

    pairs, _ = export_bank(bank, tmp_path, "evalscope")

    assert not any(pair.follow_up in pairs.read_text("utf-8") for pair in bank.pairs[:200])
