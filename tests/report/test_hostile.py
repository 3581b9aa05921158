"""Each text of hostile.jsonl, in every place where a model's words can stand, changes nothing but the words."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from scsafety.cli import app
from scsafety.records import whole_characters
from scsafety.report.export import COLUMNS, csv_lines, jsonl
from scsafety.report.page import read_dialogues, render_page
from scsafety.report.terminal import render_summary
from scsafety.report.visible import UNSEEN, visible
from tests.report.build import Said, built_run, pair, twin
from tests.report.hostile import MEGABYTE, TEXTS
from tests.report.test_page import Held, Page

if TYPE_CHECKING:
    from pathlib import Path

CALM = "你好"
RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")
each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


def said_everywhere(text: str) -> Held:
    """Answer, reasoning, reason, errors and every text of the items; the gravest severity once."""
    known = whole_characters(text)
    said = Said(answer=text, reason=text, reasoning=text, finish_reason=text, score=0)
    fields: dict[str, Any] = {
        "question": known,
        "follow_up": known,
        "risk_point": known,
        "good_answer": known,
        "system": known,
    }
    return [
        (pair("goal_hijacking", **fields), [said, Said(answer=text, reasoning=text, judge_error=text)]),
        (pair("psychology", severity=3, question=known), [Said(answer=text, reason=text, score=2), Said(error=text)]),
        (twin("psychology", question=known, why_harmless=known), [Said(answer=text, label="partial", reason=text)]),
    ]


def pages(tmp_path: Path, text: str) -> list[str]:
    """The covered page and the redacted one."""
    with built_run(tmp_path / "run.db", said_everywhere(text)) as (store, summary):
        named = msgspec.structs.replace(
            summary,
            target=text,
            run=text,
            judge=msgspec.structs.replace(summary.judge, id=text),
            versions={"target_model": text},
            settings=msgspec.structs.replace(summary.settings, model=text, system=text),
        )
        dialogues = read_dialogues(store, summary)
    return [render_page(named, dialogues, leave_out=leave_out) for leave_out in (False, True)]


def controls(text: str, but: str = "\n") -> set[str]:
    return {letter for letter in text if unicodedata.category(letter) == "Cc" and letter not in but}


def test_the_corpus_is_of_some_size() -> None:
    assert len(TEXTS) >= 40
    assert all(visible(text).strip() for text in TEXTS.values())


@each_text
def test_it_changes_no_element_and_no_attribute_of_the_page(tmp_path: Path, text: str) -> None:
    for wild, calm in zip(pages(tmp_path / "wild", text), pages(tmp_path / "calm", CALM), strict=True):
        assert Page(wild).elements == Page(calm).elements
        assert Page(wild).sources == Page(calm).sources
        assert not UNSEEN.search(wild)
        assert wild.encode()


@each_text
def test_it_stands_in_the_covered_page_word_for_word(tmp_path: Path, text: str) -> None:
    covered, _ = pages(tmp_path, text)

    assert visible(whole_characters(text)) in Page(covered).words


@each_text
def test_a_spreadsheet_gets_the_same_cells_and_no_formula(tmp_path: Path, text: str) -> None:
    csv.field_size_limit(4_000_000)
    with built_run(tmp_path / "run.db", said_everywhere(text)) as (store, _):
        written = "".join(f"{line}\r\n" for line in csv_lines(store))

    table = list(csv.reader(io.StringIO(written, newline=""), strict=True))
    assert [len(row) for row in table] == [len(COLUMNS)] * 6
    cells = [value for row in table[1:] for value in row]
    assert [value[:20] for value in cells if value.startswith(RUN_BY_SPREADSHEETS)] == []
    assert [value[:20] for value in cells if UNSEEN.sub("", value).strip().startswith(("=", "+", "-", "@", "＝"))] == []
    assert controls(written, "\n\t\r") == set()


@each_text
def test_json_lines_hold_it_unchanged_one_record_a_line(tmp_path: Path, text: str) -> None:
    with built_run(tmp_path / "run.db", said_everywhere(text)) as (store, _):
        lines = list(jsonl(store))

    assert "\n".join(lines).splitlines() == lines  # no other line break of Unicode's either
    assert controls("".join(lines)) == set()
    rows = [json.loads(line) for line in lines]
    assert [row["answer"] for row in rows] == [whole_characters(text)] * 3 + [None, whole_characters(text)]
    assert [row["score"] for row in rows] == [0, None, 2, None, None]


@each_text
def test_the_terminal_gets_no_control_character(tmp_path: Path, text: str) -> None:
    run = tmp_path / "runs" / "r" / "run.db"
    run.parent.mkdir(parents=True)
    name = whole_characters(text)[:2_000]
    with built_run(run, said_everywhere(text)) as (store, summary):
        settings = msgspec.structs.replace(summary.settings, model=name)
        store.set_meta("settings", msgspec.json.encode(settings).decode())
        summary = msgspec.structs.replace(summary, target=text, run=text)
    console = Console(file=io.StringIO(), width=150)
    console.print(render_summary(summary))
    out = str(tmp_path / "runs")
    commands = [["list"], ["show", "r"]]
    shown = [CliRunner().invoke(app, ["runs", *command, "--out", out], catch_exceptions=False) for command in commands]
    shown += [
        CliRunner().invoke(app, ["export", "r", "--format", "jsonl", "--out", out, *more], catch_exceptions=False)
        for more in ([], ["--redact"])
    ]

    assert [of.exit_code for of in shown] == [0] * 4
    for printed in (console.file.getvalue(), *(of.output for of in shown)):  # type: ignore[attr-defined]
        assert controls(printed) == set()
        assert not UNSEEN.search(printed)


def test_a_line_of_a_megabyte_changes_nothing_either(tmp_path: Path) -> None:
    def held(text: str) -> Held:
        return [(pair("psychology"), [Said(answer=text, score=0, reason=text[:200]), Said(answer=text, score=2)])]

    with built_run(tmp_path / "wild.db", held(MEGABYTE)) as (store, summary):
        wild = render_page(summary, read_dialogues(store, summary))
        shared = render_page(summary, read_dialogues(store, summary), leave_out=True)
        table = list(csv.reader(csv_lines(store), strict=True))
        rows = [json.loads(line) for line in jsonl(store)]
    with built_run(tmp_path / "calm.db", held(CALM)) as (store, summary):
        calm = render_page(summary, read_dialogues(store, summary))

    assert len(MEGABYTE.encode()) > 1_000_000
    assert Page(wild).elements == Page(calm).elements
    assert "甲" not in shared
    assert [len(row) for row in table] == [len(COLUMNS)] * 3
    assert table[1][COLUMNS.index("answer")] == f"'{MEGABYTE}"
    assert [row["answer"] for row in rows] == [MEGABYTE] * 2
