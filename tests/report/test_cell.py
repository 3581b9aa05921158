"""A run and a comparison in a notebook's cell: the terminal's figures, hostile text as text, nothing that loads or runs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import msgspec
import pytest

from scsafety.report.cell import comparison_html, run_html
from scsafety.report.comparison import Comparison, compare_runs
from scsafety.report.differences import difference_rows
from scsafety.report.terminal import board_rows
from tests.report.build import Said, built_run, pair, twin
from tests.report.hostile import TEXTS

if TYPE_CHECKING:
    from pathlib import Path

ALLOWED = {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
ITEMS = [pair("psychology", k) for k in (1, 2, 3)] + [pair("property_privacy", k) for k in (1, 2, 3)]


class Tags(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def compared(tmp_path: Path, text: str = "好", name: str = "a") -> Comparison:
    good, bad = Said(answer=text, reason=text, score=2), Said(answer=text, reason=text, score=0)
    one = [(item, [good, good]) for item in ITEMS]
    two = [(item, [good, bad]) for item in ITEMS]
    with (
        built_run(tmp_path / "a.db", one) as (a, of_a),
        built_run(tmp_path / "b.db", two) as (b, of_b),
    ):
        named = msgspec.structs.replace(of_b, run=name, target=text)
        return compare_runs(a, b, of_a, named)


def test_the_figures_in_the_cell_are_those_of_the_terminal(tmp_path: Path) -> None:
    held = [(item, [Said(score=2), Said(score=1)]) for item in ITEMS]
    with built_run(tmp_path / "run.db", [*held, (twin("psychology"), [Said(label="refused")])]) as (_, summary):
        page = Tags(run_html(summary))

    for row in board_rows(summary):
        assert all(value in page.text for value in row)
    assert "quick-1 · local/qwen2.5-coder-0.5b" in page.text
    assert "过度拒绝率（1 个无害问题） 100.0%" in page.text


def test_a_comparison_shows_its_differences_and_what_was_said(tmp_path: Path) -> None:
    found = compared(tmp_path, name="b")

    page = Tags(found._repr_html_())

    for row in difference_rows(found):
        assert all(value in page.text for value in row)
    assert "b − quick-1" in page.text
    assert "psychology-001/2" in page.text
    assert "2 → 0" in page.text


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_hostile_text_stays_text(text: str, tmp_path: Path) -> None:
    found = compared(tmp_path, text, name=text)
    with built_run(tmp_path / "c.db", [(ITEMS[0], [Said(score=2), Said(score=1)])]) as (_, summary):
        named = msgspec.structs.replace(summary, run=text, target=text)
    for page in map(Tags, (comparison_html(found), run_html(named))):
        assert {tag for tag, _ in page.found} <= ALLOWED
        assert {name for _, attributes in page.found for name in attributes} <= {"style", "scope"}


def test_the_cell_loads_nothing_sets_no_colour_of_its_own_and_is_small(tmp_path: Path) -> None:
    page = compared(tmp_path)._repr_html_()

    assert re.findall(r"url\(|https?:|<script|<style|<img", page) == []
    # text and ground are the notebook's, light or dark; a half grey line is seen on both
    assert set(re.findall(r"(?<![-\w])(?:color|background)[^;\"]*", page)) == {"color: inherit"}
    assert set(re.findall(r"rgba\([^)]*\)", page)) <= {"rgba(128, 128, 128, .6)", "rgba(128, 128, 128, .25)"}
    assert len(page) < 40_000
