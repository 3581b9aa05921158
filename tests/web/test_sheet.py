"""Labelling in a spreadsheet: what is written is blind and harmless, what comes back is checked and lands whole or not at all."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest

from scsafety.store import Store
from scsafety.web.sheet import COLUMNS
from tests.program import said, scsafety
from tests.report.build import Said, built_run, pair

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N = 12
SECRET = "裁判说的理由"


def build(folder: Path, *, answer: str = "建议先商量") -> Path:
    subs = ("property_privacy", "environment", "goal_hijacking")
    held = [
        (
            pair(subs[k % 3], k + 1),
            [
                Said(f"=SUM({k})，{answer}\n第 {k} 对", score=2, reason=SECRET),
                Said(f"“{k}”, 再说;一次", score=0, reason=SECRET),
            ],
        )
        for k in range(N)
    ]
    with built_run(folder / "run.db", held):
        pass
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build(tmp_path / "runs" / "r")


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def filled(path: Path, score: Callable[[int], str], *, encoding: str = "utf-8-sig", delimiter: str = ",") -> None:
    """As a person and the spreadsheet would leave it."""
    rows = rows_of(path)
    text = io.StringIO(newline="")
    sheet = csv.DictWriter(text, COLUMNS, delimiter=delimiter)
    sheet.writeheader()
    sheet.writerows({**row, "score": score(k), "note": f"注{k}"} for k, row in enumerate(rows))
    path.write_bytes(text.getvalue().encode(encoding))


def write(run: Path, *names: str, second: str = "0") -> list[Path]:
    given = [part for name in names for part in ("--annotator", name)]
    done = scsafety("annotate", str(run), *given, "--sheet", "sheets", "--second", second, cwd=run.parent)
    assert done.returncode == 0, said(done)
    return [run.parent / line for line in done.stdout.split()]


def labels(run: Path) -> dict[tuple[str, str, int], tuple[int, str]]:
    with Store.open(run / "run.db") as store:
        found = store.query("SELECT judge_id, pair_id, round, score, reason FROM verdict_of_turn")
    return {
        (name, item, round_): (score, reason)
        for name, item, round_, score, reason in found
        if name.startswith("human/")
    }


def test_filled_sheets_become_the_labels_of_their_annotators_once(run: Path) -> None:
    li, wang = write(run, "li", "wang", second="1")
    filled(li, lambda k: str(k % 3))
    filled(wang, lambda k: str(k % 3 if k else 2))
    want = {
        (f"human/{path.stem}", row["key"].split("/")[2], int(row["round"])): (int(row["score"]), row["note"])
        for path in (li, wang)
        for row in rows_of(path)
    }

    merged = scsafety("annotate", str(run), "--merge", str(li), "--merge", str(wang), cwd=run.parent)
    again = scsafety("annotate", str(run), "--merge", str(li), cwd=run.parent)

    assert merged.returncode == 0, said(merged)
    assert f"{4 * N} new labels" in merged.stdout
    assert "0 new labels" in again.stdout
    assert len(want) == 4 * N
    assert labels(run) == want


def test_a_changed_score_replaces_the_label_and_an_empty_one_leaves_it(run: Path) -> None:
    (sheet,) = write(run, "li")
    filled(sheet, lambda _: "1")
    scsafety("annotate", str(run), "--merge", str(sheet), cwd=run.parent)
    filled(sheet, lambda k: "2" if k == 3 else "")
    merged = scsafety("annotate", str(run), "--merge", str(sheet), cwd=run.parent)

    assert "1 new labels" in merged.stdout
    assert sorted(score for score, _ in labels(run).values()) == [1] * (2 * N - 1) + [2]


def test_a_sheet_shows_no_judge_and_runs_no_formula(run: Path) -> None:
    (sheet,) = write(run, "li")
    text = sheet.read_text("utf-8-sig")

    assert SECRET not in text
    assert all(row["answer"].startswith("'=SUM(") for row in rows_of(sheet) if row["round"] == "1")
    assert {row["score"] for row in rows_of(sheet)} == {""}


def test_work_is_dealt_out_and_only_the_second_share_is_there_twice(run: Path) -> None:
    found = [
        {row["key"].split("/")[2] for row in rows_of(path)} for path in write(run, "li", "wang", "zhao", second="0.25")
    ]

    assert len(set.union(*found)) == N
    assert sum(map(len, found)) == N + N / 4
    assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize(("encoding", "delimiter"), [("gb18030", ","), ("utf-8", ";"), ("utf-8-sig", "\t")])
def test_what_spreadsheets_make_of_a_file_is_read(run: Path, encoding: str, delimiter: str) -> None:
    (sheet,) = write(run, "li")
    filled(sheet, lambda k: ("２", " 1 ", "0.0")[k % 3], encoding=encoding, delimiter=delimiter)
    merged = scsafety("annotate", str(run), "--merge", str(sheet), cwd=run.parent)

    assert f"{2 * N} new labels" in merged.stdout, said(merged)
    assert sorted(score for score, _ in labels(run).values()) == sorted([0, 1, 2] * (2 * N // 3))


def test_of_a_sheet_with_one_wrong_line_nothing_is_stored(run: Path) -> None:
    (sheet,) = write(run, "li")
    filled(sheet, lambda k: "3" if k == 1 else "1")
    merged = scsafety("annotate", str(run), "--merge", str(sheet), cwd=run.parent)

    assert merged.returncode == 2
    assert "li.csv:4: score: '3' is no score; give 0, 1 or 2, or leave it empty" in said(merged)
    assert labels(run) == {}


def test_a_sheet_of_another_run_is_refused(run: Path) -> None:
    other = build(run.parent / "other", answer="另一个模型的回答")
    (sheet,) = write(run, "li")
    filled(sheet, lambda _: "1")
    merged = scsafety("annotate", str(other), "--merge", str(sheet), cwd=run.parent)

    assert merged.returncode == 2
    assert "key: the run other holds no such answer; merge the sheet into the run that it was written from" in said(
        merged
    )
    assert labels(other) == {}


def test_two_scores_of_one_person_for_one_answer_are_refused(run: Path) -> None:
    (sheet,) = write(run, "li")
    filled(sheet, lambda _: "1")
    copy = sheet.with_name("copy.csv")
    copy.write_bytes(sheet.read_bytes())
    filled(copy, lambda k: "1" if k else "0")
    merged = scsafety("annotate", str(run), "--merge", str(sheet), "--merge", str(copy), cwd=run.parent)

    assert merged.returncode == 2
    assert "copy.csv:3: score: li gave this answer 1 in" in said(merged)
    assert labels(run) == {}


def test_a_sheet_that_may_hold_labels_is_not_written_over(run: Path) -> None:
    (sheet,) = write(run, "li")
    before = sheet.read_bytes()
    again = scsafety("annotate", str(run), "--annotator", "li", "--sheet", "sheets", cwd=run.parent)

    assert again.returncode == 2
    assert "is there already and may hold labels" in said(again)
    assert sheet.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\r\n1,2\r\n", "li.csv:1: the column key is missing"),
        (b"key,score,note\r\nli/random,1,\r\n", "li.csv:2: key: 'li/random' is no key"),
        (b"\xff\xff\xff", "is no text in UTF-8 or GB 18030"),
        (b'key,score,note\r\n"' + b"x" * 200_000, "is no CSV"),
    ],
)
def test_a_file_that_is_no_sheet_is_refused_with_its_place(run: Path, content: bytes, message: str) -> None:
    sheet = run.parent / "li.csv"
    sheet.write_bytes(content)
    merged = scsafety("annotate", str(run), "--merge", str(sheet), cwd=run.parent)

    assert merged.returncode == 2
    assert message in said(merged)
