"""The scores of runs for papers, sheets and programs: the same figures in every format, hostile names as text."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from scsafety import taxonomy
from scsafety.report.badge import badge
from scsafety.report.scores import FORMATS, Figure, interval_text, table
from tests.program import said, scsafety
from tests.report.build import Said, built_run, pair, twin

if TYPE_CHECKING:
    from pathlib import Path

    from scsafety.records import Item
    from scsafety.report.summary import Summary

HELD: list[tuple[Item, list[Said]]] = [
    *((pair("environment", k), [Said(score=2), Said(score=0 if k < 6 else 1)]) for k in range(1, 25)),
    *((pair("goal_hijacking", k), [Said(score=1), Said(score=2)]) for k in range(1, 5)),
    *((twin("environment", k), [Said(label="refused" if k == 1 else "answered")]) for k in range(1, 5)),
]
GOOD = {"qwk": 0.7, "n": 900, "by_origin": {"real": {"qwk": 0.61, "n": 589}}}
WEAK = {"qwk": 0.7, "n": 900, "by_origin": {"real": {"qwk": 0.35, "n": 9}}}
HOSTILE = "=cmd|x\n| <b>`50%_of~{A}$\\end{table}&#[1]\x1b[31m\u202e\uffff\"'"


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    with built_run(tmp_path_factory.mktemp("run") / "run.db", HELD, agreement=GOOD) as (_, found):
        return found


def text(form: str, *summaries: Summary) -> str:
    return "\n".join(FORMATS[form](summaries))


def scores(*summaries: Summary) -> dict[str, Any]:
    run = json.loads(text("json", *summaries))["runs"][0]
    return {row["id"]: row for row in run["scores"]}


def test_every_figure_of_the_summary_is_there_with_interval_n_and_rounds(summary: Summary) -> None:
    found = scores(summary)

    assert set(found) == {
        "overall", "model_written", "responsible", "attack", "round_1", "round_2", "gap", "environment", "goal_hijacking",
        "unsafe_rate", "cave_rate", "over_refusal",
    }  # fmt: skip
    own, wanted = found["environment"], summary.sub_dimensions["environment"]
    assert (own["value"], tuple(own["ci95"]), own["n"]) == (wanted.score, wanted.ci95, 48)
    assert own["rounds"] == [100.0, pytest.approx(100 * 19 / 48)]
    assert (own["zh"], own["en"]) == (
        taxonomy.sub_dimension("environment").zh,
        taxonomy.sub_dimension("environment").en,
    )
    assert found["overall"]["rounds"] == [summary.rounds["1"].score, summary.rounds["2"].score]
    assert (found["unsafe_rate"]["value"], found["unsafe_rate"]["n"]) == (5 / 56, 56)
    assert (found["cave_rate"]["value"], found["cave_rate"]["n"]) == (5 / 28, 28)  # of pairs judged in both rounds
    assert (found["over_refusal"]["value"], found["over_refusal"]["n"]) == (0.25, 4)


def test_all_24_sub_dimensions_stand_in_the_taxonomys_order(tmp_path: Path) -> None:
    held: list[tuple[Item, list[Said]]] = [
        (pair(sub.id, 1), [Said(score=1), Said(score=1)]) for sub in reversed(taxonomy.sub_dimensions())
    ]
    with built_run(tmp_path / "run.db", held) as (_, found):
        ids = [row.name.id for row in table([found])]

    assert [name for name in ids if taxonomy.is_sub_dimension(name)] == [sub.id for sub in taxonomy.sub_dimensions()]
    assert ids[2:5] == ["traditional", "responsible", "attack"]
    assert ids[-2:] == ["unsafe_rate", "cave_rate"]  # no twins were asked: no row for over-refusal


def test_the_csv_has_the_numbers_of_the_json_unrounded(summary: Summary) -> None:
    rows = list(csv.DictReader(text("csv", summary).splitlines()))

    for row, wanted in zip(rows, scores(summary).values(), strict=True):
        low, high = wanted["ci95"] or (None, None)
        first, second = wanted["rounds"] or (None, None)
        given = [
            float(row[name]) if row[name] else None for name in ("value", "ci95_low", "ci95_high", "round_1", "round_2")
        ]
        assert given == [wanted["value"], low, high, first, second]
        assert (row["id"], row["zh"], int(row["n"])) == (wanted["id"], wanted["zh"], wanted["n"])
    assert [bool(row["provenance"]) for row in rows] == [True, *[False] * (len(rows) - 1)]


@pytest.mark.parametrize("form", ["markdown", "csv", "latex", "json"])
def test_every_format_says_what_the_figures_rest_on(summary: Summary, form: str) -> None:
    found = text(form, summary).replace("\\", "").replace("{-}", "-").replace("{", "").replace("}", "")

    for part in (summary.target, summary.judge.key, "0.61", "589", "1.0.0", "abababababab", "0.1.0", "2026-11-21"):
        assert part in found, part


@pytest.mark.parametrize(
    ("agreement", "line"),
    [
        (GOOD, "kappa 0.61 with people on 589 real answers;"),
        ({"qwk": 0.7, "n": 900}, "kappa 0.70 with people on 900 labelled answers, real and written;"),
        (WEAK, "kappa 0.35 with people on 9 real answers: smoke tests only;"),
        (None, "agreement with people not measured: smoke tests only;"),
    ],
)
def test_the_judges_agreement_on_real_answers_decides(
    summary: Summary, agreement: dict[str, Any] | None, line: str
) -> None:
    judge = msgspec.structs.replace(summary.judge, agreement=agreement)

    (found,) = text("markdown", msgspec.structs.replace(summary, judge=judge)).splitlines()[-1:]

    assert line in found


def test_an_incomplete_run_says_so_everywhere(tmp_path: Path) -> None:
    held: list[tuple[Item, list[Said]]] = [*HELD, (pair("law_abiding", 1), [Said(score=1), Said(error="timeout")])]
    with built_run(tmp_path / "run.db", held, agreement=GOOD) as (_, found):
        for form in ("markdown", "csv", "latex"):
            assert "INCOMPLETE: 1 unanswered, 0 unjudged" in text(form, found), form
        record = json.loads(text("json", found))["runs"][0]["provenance"]
        picture = badge(found)

    assert (record["complete"], record["unanswered"]) == (False, 1)
    assert "incomplete</text>" in picture
    assert "INCOMPLETE" in str(ET.fromstring(picture)[0].text)  # noqa: S314 (our own)


def test_several_runs_stand_side_by_side_and_a_row_that_one_lacks_stays_empty(summary: Summary, tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", [(pair("law_abiding", 1), [Said(score=1), Said(score=1)])]) as (_, small):
        other = msgspec.structs.replace(small, run="small-1")

    head, _, *body = text("markdown", summary, other).splitlines()
    assert head.endswith(r"| quick-1 | small-1 |")
    of = {line.split(" | ")[1]: line.strip("| ").split(" | ")[2:] for line in body if line.startswith("|")}
    environment = taxonomy.sub_dimension("environment").en
    assert of[environment][1] == r"\-" or of[environment][1] == "-"
    assert re.fullmatch(r"69\.79 \(\d+\.\d to \d+\.\d\), n 48, 100\.00 → 39\.58", of[environment][0])
    assert len([line for line in body if line.startswith("- ")]) == 2  # a line of provenance each

    rows = {row["id"]: row for row in csv.DictReader(text("csv", summary, other).splitlines())}
    assert (rows["environment"]["small-1 value"], rows["law_abiding"]["small-1 value"]) == ("", "50.0")
    assert float(rows["overall"]["quick-1 value"]) == summary.overall.score


def test_a_hostile_name_is_text_in_every_format(summary: Summary) -> None:
    judge = msgspec.structs.replace(summary.judge, id=HOSTILE, key=HOSTILE)
    found = msgspec.structs.replace(summary, run=HOSTILE, target=HOSTILE, judge=judge)

    both = text("markdown", found, found).splitlines()
    n_bars = [len(re.findall(r"(?<!\\)\|", line)) for line in both if line.startswith("|")]
    assert set(n_bars) == {5}
    assert "<b>" not in "".join(both)
    assert not any("\x1b" in line or "\u202e" in line for line in both)

    tex = text("latex", found, found)
    assert tex.count(r"\end{table}") == 1
    for special in "%_&#$":
        lines = [line for line in tex.splitlines() if "50" in line and "cmd" in line]
        assert lines
        assert not any(re.search(rf"(?<![\\]){re.escape(special)}", line) for line in lines if special != "&"), special

    cells = [value for row in csv.reader(text("csv", found, found).splitlines()) for value in row]
    assert not [value for value in cells if value[:1] in ("=", "+", "@", "\t", "\r")]
    assert not [value for value in cells if value.startswith("-") and not re.fullmatch(r"-[\d.]+(e-\d+)?", value)]

    picture = ET.fromstring(badge(found))  # noqa: S314 (our own)
    assert "<b>" in str(picture[0].text)
    assert [one.tag.partition("}")[2] for one in picture.iter()] == [
        "svg",
        "title",
        "rect",
        "path",
        "g",
        "text",
        "text",
    ]


def test_a_negative_number_is_no_formula_and_has_a_minus_in_latex(summary: Summary) -> None:
    gap = next(row for row in csv.DictReader(text("csv", summary).splitlines()) if row["id"] == "gap")

    assert float(gap["value"]) == summary.rounds["gap"].score
    assert float(gap["value"]) < 0
    assert re.search(r"Gap & \$-\$\d+\.\d\d & \$-\$", text("latex", summary))


@pytest.mark.skipif(shutil.which("xelatex") is None, reason="xelatex is not here")
def test_the_table_compiles(summary: Summary, tmp_path: Path) -> None:
    named = msgspec.structs.replace(summary, run=HOSTILE)
    page = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}%s\\end{document}"
    (tmp_path / "page.tex").write_text(page % text("latex", summary, named), encoding="utf-8")

    done = subprocess.run(["xelatex", "-halt-on-error", "page.tex"], cwd=tmp_path, capture_output=True, check=False)

    assert done.returncode == 0, done.stdout


def test_a_badge_has_score_interval_and_judge_and_claims_no_more_than_the_judge_can(summary: Summary) -> None:
    score = msgspec.structs.replace(summary.overall, score=35.68, ci95=(34.02, 37.49))
    sound = msgspec.structs.replace(summary, overall=score)
    weak = msgspec.structs.replace(sound, judge=msgspec.structs.replace(summary.judge, agreement=None))
    none = msgspec.structs.replace(sound, overall=msgspec.structs.replace(score, score=None, ci95=None))

    tree = ET.fromstring(badge(sound))  # noqa: S314 (our own)
    assert [one.text for one in tree.iter() if one.tag.endswith("}text")] == ["SC-Safety", "35.7 (34.0~37.5)"]
    assert tree.attrib["aria-label"] == "SC-Safety 35.7 (34.0~37.5)"
    assert summary.judge.key in str(tree[0].text)
    assert badge(sound).count("#767676") == 0
    assert badge(weak).count("#767676") == 1
    assert "no score" in badge(none)


def test_what_cannot_be_told_is_a_dash() -> None:
    assert interval_text(None, "score") == "-"
    assert interval_text((0.021, 0.34), "share") == "2.1% to 34.0%"
    assert Figure(None, None, 0).rounds == ()


def test_the_command_prints_scores_of_several_runs_and_writes_a_badge(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with built_run(tmp_path / "runs" / name / "run.db", HELD):
            pass

    several = scsafety("export", "a", "b", "--scores", "json", cwd=tmp_path)
    assert [run["run"] for run in json.loads(several.stdout)["runs"]] == ["a", "b"]

    one = scsafety("export", "a", "--scores", "markdown", "--badge", "out/a.svg", cwd=tmp_path)
    assert (one.returncode, one.stderr) == (0, "wrote out/a.svg\n")
    assert one.stdout.startswith("| 项目 | Item | 得分 Score |")
    assert ET.parse(tmp_path / "out/a.svg").getroot().attrib["height"] == "20"  # noqa: S314 (our own)

    assert len(scsafety("export", "a", cwd=tmp_path).stdout.splitlines()) == 60  # without either: turns, as ever


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["a", "--scores", "xls"], "--scores 'xls' is unknown; give markdown, csv, latex, json"),
        (["a", "b"], "turns are exported run by run; give one RUN, or --scores"),
        (["a", "b", "--badge", "x.svg"], "--badge is of one run"),
        (["a", "--scores", "csv", "--format", "csv"], "--format and --to are for turns"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(tmp_path: Path, options: list[str], line: str) -> None:
    done = scsafety("export", *options, cwd=tmp_path)

    assert done.returncode == 2
    assert line in said(done)
