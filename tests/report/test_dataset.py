"""What `datasets` makes of exported folders: the real package, offline, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from scsafety.bank import load_bank
from scsafety.bank.export import export_bank
from scsafety.judge.people import PREFIX
from scsafety.records import DialogueKey, JudgeCard, Verdict
from scsafety.report.dataset import export_run
from scsafety.report.export import COLUMNS
from scsafety.report.frames import TABLES
from tests.program import environment, said, scsafety
from tests.report.build import WHEN, Said, built_run, pair, twin
from tests.report.hostile import TEXTS
from tests.small_bank import pair as small_pair
from tests.small_bank import write_bank

if TYPE_CHECKING:
    from pathlib import Path

    from scsafety.records import Item

needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="the package `datasets` is not installed"
)
LOAD = """
import json, sys, datasets
folder, names = sys.argv[1], sys.argv[2:]
found = {}
for name in names:
    (split, rows), = datasets.load_dataset(folder, name).items()
    features = {key: json.dumps(kind) for key, kind in rows.features.to_dict().items()}
    found[name] = {"split": split, "features": features, "rows": rows.to_list()}
found["names"] = datasets.get_dataset_config_names(folder)
print(json.dumps(found))
"""
HELD: list[tuple[Item, list[Said]]] = [
    (pair("psychology"), [Said(score=2), Said(answer="拆开的办法", score=0, confidence=None)]),
    (pair("property_privacy"), [Said(score=1), Said(error="timed out")]),
    (twin("psychology"), [Said(label="partial")]),
]


def loaded(folder: Path, cache: Path, *names: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), *names], capture_output=True, text=True, check=False, timeout=200,
        env=environment(HF_HUB_OFFLINE="1", HF_HOME=str(cache), HOME=str(cache), PYTHONWARNINGS=""),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def dtypes(features: dict[str, str]) -> dict[str, str]:
    return {name: json.loads(kind).get("dtype", "list") for name, kind in features.items()}


@needs_datasets
def test_the_banks_folder_loads_with_every_item_and_field(tmp_path: Path) -> None:
    bank = load_bank()
    export_bank(bank, tmp_path / "bank", "hf")

    found = loaded(tmp_path / "bank", tmp_path / "cache", "pairs", "benign")

    assert sorted(found["names"]) == ["benign", "pairs"]
    pairs, twins = found["pairs"], found["benign"]
    assert (pairs["split"], twins["split"]) == ("test", "test")
    assert [row["id"] for row in pairs["rows"]] == [one.id for one in bank.pairs]
    assert [row["question"] for row in twins["rows"]] == [one.question for one in bank.twins]
    assert pairs["rows"][0]["hazards"] == list(bank.pairs[0].hazards)
    assert dtypes(pairs["features"]) == {
        **dict.fromkeys(("id", "dimension", "sub_dimension", "question", "follow_up", "risk_point", "good_answer"), "string"),
        **dict.fromkeys(("form", "tactic", "system", "expect", "canary", "content_hash"), "string"),
        "hazards": "list", "severity": "int64",
    }  # fmt: skip


@needs_datasets
def test_a_runs_folder_loads_with_its_turns_and_verdicts(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", HELD) as (store, summary):
        written = export_run(store, summary, tmp_path / "out")
        expected = {name: list(TABLES[name].rows(store)) for name in ("turns", "verdicts")}

    found = loaded(tmp_path / "out", tmp_path / "cache", "turns", "verdicts")

    assert {name: found[name]["rows"] for name in expected} == expected
    assert (len(expected["turns"]), len(expected["verdicts"])) == (5, 4)
    assert list(found["turns"]["features"]) == list(COLUMNS)
    kinds = {str: "string", int: "int64", float: "float64", bool: "bool"}
    for name in expected:
        assert dtypes(found[name]["features"]) == {key: kinds[kind] for key, kind in TABLES[name].columns.items()}
    assert [path.name for path in written] == ["turns.jsonl", "verdicts.jsonl", "README.md"]


def test_the_card_of_a_run_says_what_it_rests_on_and_whose_it_is(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", HELD) as (store, summary):
        export_run(store, summary, tmp_path / "out")

    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert 'license: "other"' in card
    assert f"`{summary.judge.key}`" in card
    assert "the built-in bank 1.0.0, CC BY 4.0" in card
    assert "| `turns` | 5 |" in card
    assert "| `verdicts` | 4 |" in card


def test_a_redacted_folder_holds_no_risky_text_no_reason_and_no_persons_label(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", HELD) as (store, summary):
        person = JudgeCard(judge_id=f"{PREFIX}li")
        store.add_judge(person, primary=False)
        store.add_verdict(DialogueKey(HELD[0][0].id), 1, person.key, Verdict(score=0, created_at=WHEN))
        store.flush()
        export_run(store, summary, tmp_path / "all")
        export_run(store, summary, tmp_path / "out", leave_out=True)

    assert "拆开的办法" in (tmp_path / "all" / "data" / "turns.jsonl").read_text("utf-8")
    assert '"human/li"' in (tmp_path / "all" / "data" / "verdicts.jsonl").read_text("utf-8")
    texts = "".join(path.read_text("utf-8") for path in sorted((tmp_path / "out").rglob("*.*")))
    assert "拆开的办法" not in texts
    assert "human/" not in texts
    verdicts = [
        json.loads(line) for line in (tmp_path / "out" / "data" / "verdicts.jsonl").read_text("utf-8").splitlines()
    ]
    assert [row["reason"] for row in verdicts] == [None] * 4


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_hostile_name_stays_in_its_line_of_the_card(text: str, tmp_path: Path) -> None:
    import msgspec

    with built_run(tmp_path / "run.db", HELD) as (store, summary):
        export_run(store, summary, tmp_path / "calm")
        export_run(store, msgspec.structs.replace(summary, run=text, target=text), tmp_path / "named")

    calm, named = ((tmp_path / name / "README.md").read_text("utf-8") for name in ("calm", "named"))
    assert named.count("\n") == calm.count("\n")
    assert "<" not in named


def test_a_bank_of_ones_own_is_not_given_our_licence(tmp_path: Path) -> None:
    bank = load_bank([write_bank(tmp_path / "mine.jsonl", [small_pair(1)])])

    written = export_bank(bank, tmp_path / "out", "hf")

    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "cc-by" not in card
    assert "config_name: benign" not in card
    assert [path.name for path in written] == ["pairs.jsonl", "README.md"]


def test_the_command_writes_beside_the_run_or_where_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs" / "r").mkdir(parents=True)
    with built_run(tmp_path / "runs" / "r" / "run.db", HELD):
        pass

    done = scsafety("export", "r", "--format", "hf", cwd=tmp_path)
    scsafety("export", "r", "--format", "hf", "--to", "elsewhere", "--redact", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r-dataset" / "data" / "turns.jsonl").is_file()
    assert "left out" in (tmp_path / "elsewhere" / "README.md").read_text("utf-8")
    wrong = scsafety("export", "r", "--format", "hfx", cwd=tmp_path)
    assert "give jsonl, csv, parquet, inspect or hf" in said(wrong)
