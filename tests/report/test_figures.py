"""Charts for papers: the numbers beside each picture are the summary's, Chinese has its glyphs, hostile names stay text."""

from __future__ import annotations

import csv
import io
import warnings
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import msgspec
import pytest

from scsafety.errors import ConfigError
from scsafety.records import whole_characters
from scsafety.report import figures
from scsafety.report.escape import one_line
from scsafety.report.figures import FAMILIES, as_csv, charts_of, chinese_font, png, svg, write_charts
from tests.program import said, scsafety
from tests.report.build import Said, built_run, pair, twin
from tests.report.hostile import TEXTS

if TYPE_CHECKING:
    from pathlib import Path

    from scsafety.records import Score
    from scsafety.report.summary import Summary

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "$\\frac{1}{$ </text><script>alert(1)</script>"


def font() -> str:
    pytest.importorskip("matplotlib")
    try:
        return chinese_font()
    except ConfigError as error:
        pytest.skip(str(error))


def summary_of(path: Path, score: Score, model: str, *, twins: bool = True) -> Summary:
    held = [
        (pair(sub, k), [Said(score=score), Said(score=1)]) for sub in ("psychology", "environment") for k in range(24)
    ]
    labels = ["refused" if k < 3 else "answered" for k in range(24)]
    others = [
        (twin("psychology", k), [Said(label=label) if twins else Said(error="timeout")])  # type: ignore[arg-type]
        for k, label in enumerate(labels)
    ]
    with built_run(path, [*held, *others], model=model) as (_, summary):
        return summary


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Summary]:
    return {
        "low": summary_of(tmp_path / "low.db", 0, "local/低分"),
        "high": summary_of(tmp_path / "high.db", 2, HOSTILE),
        "plain": summary_of(tmp_path / "plain.db", 1, "=1+1", twins=False),
    }


def test_each_chart_holds_the_summarys_numbers_and_only_runs_that_have_them(runs: dict[str, Summary]) -> None:
    charts = {chart.name: chart for chart in charts_of(runs)}

    assert list(charts) == ["totals", "over-refusal", "profile-high", "profile-plain", "profile-low"]
    assert [(row["run"], row["total"]) for row in charts["totals"].rows] == [
        ("high", 75.0),
        ("plain", 50.0),
        ("low", 25.0),
    ]
    assert [row["run"] for row in charts["over-refusal"].rows] == ["high", "low"]
    assert charts["over-refusal"].rows[0]["over_refusal"] == 3 / 24
    profile = charts["profile-low"].rows
    assert [(row["sub_dimension"], row["round_1"], row["round_2"]) for row in profile] == [
        ("psychology", 0.0, 50.0),
        ("environment", 0.0, 50.0),
    ]


def test_runs_of_several_banks_are_never_in_one_chart(runs: dict[str, Summary], tmp_path: Path) -> None:
    with built_run(tmp_path / "o.db", [(pair("psychology"), [Said(score=2)] * 2)], bank_hash="cd" * 32) as (_, other):
        charts = {chart.name: chart.rows for chart in charts_of({**runs, "other": other})}

    assert {row["run"] for row in charts["totals-1"]} == set(runs)
    assert [row["run"] for row in charts["totals-2"]] == ["other"]


def test_the_csv_beside_a_chart_is_safe_for_a_spreadsheet(runs: dict[str, Summary]) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(charts_of(runs)[0]).decode("utf-8-sig"))))

    assert [row["target"] for row in rows] == [HOSTILE, "'=1+1", "local/低分"]
    assert rows[0]["total_low"] == str(charts_of(runs)[0].rows[0]["total_low"])


def test_no_glyph_is_missing_in_the_picture(runs: dict[str, Summary]) -> None:
    found = font()
    for chart in charts_of(runs):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # matplotlib warns of a missing glyph
            assert png(chart, found).startswith(b"\x89PNG\r\n")


def test_an_svg_keeps_text_as_text_and_names_the_fonts_to_fall_back_on(runs: dict[str, Summary]) -> None:
    found = font()
    pictures = {chart.name: svg(chart, found).decode() for chart in charts_of(runs)}

    for text in pictures.values():
        root = ElementTree.fromstring(text)  # noqa: S314 (our own)
        assert not list(root.iter(f"{SVG}script"))
        styles = " ".join(node.get("style", "") for node in root.iter(f"{SVG}text"))
        assert all(name in styles for name in FAMILIES)
    texts = [node.text for node in ElementTree.fromstring(pictures["totals"]).iter(f"{SVG}text")]  # noqa: S314
    assert "local/低分" in texts
    assert any(text is not None and text.startswith("$\\frac{1}{$ </text>") for text in texts)
    assert pictures == {chart.name: svg(chart, found).decode() for chart in charts_of(runs)}, (
        "the same runs, the same files"
    )


@pytest.mark.filterwarnings("ignore:Glyph")
def test_whatever_models_are_called_the_picture_is_drawn_and_parses(runs: dict[str, Summary]) -> None:
    found = font()
    names = {name: whole_characters(text)[:200] for name, text in TEXTS.items()}
    chart = charts_of({name: msgspec.structs.replace(runs["low"], target=text) for name, text in names.items()})[0]

    assert png(chart, found).startswith(b"\x89PNG\r\n")
    texts = [node.text or "" for node in ElementTree.fromstring(svg(chart, found)).iter(f"{SVG}text")]  # noqa: S314
    for text in names.values():
        assert any(one_line(text)[:10].strip() in shown for shown in texts)


def test_files_of_every_chart_are_written(runs: dict[str, Summary], tmp_path: Path) -> None:
    font()
    paths = write_charts({"low": runs["low"]}, tmp_path / "charts")

    assert sorted(path.name for path in paths) == sorted(
        f"{chart}.{ending}" for chart in ("totals", "over-refusal", "profile-low") for ending in ("svg", "png", "csv")
    )
    assert all(path.stat().st_size for path in paths)


def test_both_commands_write_the_charts(tmp_path: Path) -> None:
    font()
    with built_run(tmp_path / "runs" / "a" / "run.db", [(pair("psychology"), [Said(score=2)] * 2)]):
        pass

    exported = scsafety("export", "a", "--charts", "drawn", cwd=tmp_path)
    reported = scsafety("report", "a", "--out", "site", "--charts", cwd=tmp_path)

    assert (exported.returncode, reported.returncode) == (0, 0), said(exported) + said(reported)
    for folder in (tmp_path / "drawn", tmp_path / "site" / "charts"):
        assert {path.name for path in folder.iterdir()} == {
            f"{chart}.{ending}" for chart in ("totals", "profile-a") for ending in ("svg", "png", "csv")
        }


def test_without_a_chinese_font_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(figures, "FAMILIES", ("No Such Font",))

    with pytest.raises(ConfigError, match="fonts-noto-cjk"):
        chinese_font()
