"""`verify` through the real program: a run that holds, and every kind of tampering."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from tests.program import scsafety
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from pathlib import Path

    from tests.program import Done


@pytest.fixture
def run(tmp_path: Path) -> Path:
    bank = write_bank(tmp_path / "bank.jsonl", [*(pair(k) for k in range(1, 5)), twin(1)])
    with ScriptedServer(faults={pair(2).question: ["content_filter"]}) as server:
        done = scsafety(
            "run", "--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast", "--bank", bank,
            "--name", "r", cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tmp_path / "runs" / "r"


def verify(run: Path) -> Done:
    return scsafety("verify", "r", cwd=run.parent.parent)


def test_a_run_as_it_was_written_holds_blocks_and_all(run: Path) -> None:
    done = verify(run)

    assert (done.returncode, done.stdout) == (0, "r: everything holds\n")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "UPDATE item SET json = replace(json, '拆开', '偷开') WHERE item_id = 'property_privacy-001'",
            "changed after it was frozen",
        ),
        (
            "UPDATE exchange SET messages = replace(messages, '邻居', '同学') WHERE seq = 1",
            "was not asked in the item's words",
        ),
        (
            "UPDATE exchange SET answer = '改过的回答' WHERE seq = 1 AND blocked IS NULL",
            "an earlier answer was changed",
        ),
        ("UPDATE verdict SET score = 2 WHERE score IS NOT NULL", "overall is not what the store gives"),
        (
            "DELETE FROM item WHERE item_id = 'benign-property_privacy-001'",
            "the items are not those that the run selected",
        ),
    ],
)
def test_what_was_edited_by_hand_is_found(run: Path, sql: str, said: str) -> None:
    with sqlite3.connect(run / "run.db") as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute(sql)
    db.close()

    done = verify(run)

    assert done.returncode == 3
    assert said in done.stdout
    assert "do not hold" in done.stderr


def test_a_summary_from_before_it_named_endpoints_and_epochs_holds(run: Path) -> None:
    path = run / "summary.json"
    summary = json.loads(path.read_text("utf-8"))
    older = {name: value for name, value in summary.items() if name not in ("endpoints", "epochs")}
    path.write_text(json.dumps(older), encoding="utf-8")
    held = verify(run)
    path.write_text(json.dumps({**summary, "endpoints": []}), encoding="utf-8")
    edited = verify(run)

    assert (held.returncode, edited.returncode) == (0, 3)
    assert "endpoints is not what the store gives" in edited.stdout


def test_a_summary_that_was_edited_or_lost_is_found(run: Path) -> None:
    path = run / "summary.json"
    summary = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**summary, "unsafe_rate": 0.0}), encoding="utf-8")
    edited = verify(run)
    path.unlink()
    lost = verify(run)

    assert "unsafe_rate is not what the store gives" in edited.stdout
    assert "summary.json: cannot be read" in lost.stdout
    assert (edited.returncode, lost.returncode) == (3, 3)


def test_a_run_that_is_judged_again_holds_and_keeps_what_was_there(run: Path) -> None:
    """What docs/versions.md promises."""

    def held(sql: str, *values: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(run / "run.db") as db:
            rows = db.execute(sql, values).fetchall()
        db.close()
        return rows

    def summary() -> dict[str, Any]:
        read: dict[str, Any] = json.loads((run / "summary.json").read_text("utf-8"))
        return read

    of_judge = "SELECT * FROM verdict WHERE judge_key = ?"
    before, asked = summary(), held("SELECT * FROM turn")
    old = before["judge"]["key"]
    verdicts = held(of_judge, old)
    assert verdicts

    again = scsafety("judge", "r", "--judge", "offline-fast", "--judge-epochs", 3, "--primary", cwd=run.parent.parent)

    after = summary()
    assert (again.returncode, verify(run).returncode) == (0, 0)
    assert after["judge"]["key"] != old
    assert after["judge"]["agreement"] is None
    assert after["settings"] == before["settings"]
    assert held("SELECT * FROM turn") == asked
    assert held(of_judge, old) == verdicts
    exported = scsafety("export", "r", cwd=run.parent.parent).stdout.splitlines()
    assert {json.loads(line)["judge_key"] for line in exported} == {after["judge"]["key"]}

    back = scsafety("judge", "r", "--judge", "offline-fast", "--primary", cwd=run.parent.parent)

    assert back.returncode == 0
    assert held(of_judge, old) == verdicts  # none was given anew
    assert summary()["overall"] == before["overall"]


def test_an_unfinished_run_whose_judge_has_changed_is_judged_anew_before_it_goes_on(run: Path) -> None:
    with sqlite3.connect(run / "run.db") as db:  # as a version with another judge of that name would have left it
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("UPDATE judge SET artefact_hash = 'of an older version', judge_key = 'offline-fast@0123456789ab'")
        db.execute("DELETE FROM verdict")
    db.close()

    refused = scsafety("resume", "r", cwd=run.parent.parent, env={"SCSAFETY_API_KEY": "sk-of-no-worth"})
    judged = scsafety("judge", "r", "--judge", "offline-fast", "--primary", cwd=run.parent.parent)
    resumed = scsafety("resume", "r", cwd=run.parent.parent)

    assert refused.returncode == 2
    assert "scsafety judge r --judge offline-fast --primary" in refused.stderr
    assert (judged.returncode, resumed.returncode) == (0, 0)
