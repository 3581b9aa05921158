"""The data of the comparison page without a browser: the ranks' own differences, telling pairs, files where it is much."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scsafety.report import side_by_side
from scsafety.report.leaderboard import tables_of
from scsafety.report.side_by_side import ORDER, page_data
from scsafety.report.site import render_compare, write_site
from tests.report.hostile import TEXTS
from tests.report.test_page import Page
from tests.report.test_site import BAD, GOOD, MIXED, MIXED_TOO, SUBS, N, standing

if TYPE_CHECKING:
    from pathlib import Path

RUNS = {"good": GOOD, "mixed": MIXED, "mixed-too": MIXED_TOO, "bad": BAD}


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


def test_the_totals_differences_are_those_that_the_ranks_rest_on(tmp_path: Path) -> None:
    tables = tables_of([standing(tmp_path, name, scores) for name, scores in RUNS.items()])
    data = data_of(render_compare(tables)[0])
    number = {run["page"]: str(k) for k, run in enumerate(data["runs"])}

    for one in tables[0].versus:
        held = data["held"][number[one.a]][number[one.b]]  # b minus a
        assert held["value"][0] == pytest.approx(-one.difference, abs=0.005)
        assert one.ci95 is not None
        assert (held["low"][0], held["high"][0]) == pytest.approx((-one.ci95[1], -one.ci95[0]), abs=0.005)
        shown = [data["runs"][int(number[name])]["scores"][0] for name in (one.a, one.b)]
        assert shown[1] - shown[0] == pytest.approx(held["value"][0], abs=0.011)


def test_the_pairs_shown_are_those_that_differ_most_on_either_side(tmp_path: Path) -> None:
    tables = tables_of([standing(tmp_path, "mixed", MIXED), standing(tmp_path, "mixed-too", MIXED_TOO)])
    data = data_of(render_compare(tables)[0])
    held, field = data["held"]["0"]["1"], tables[0].field

    one, other = field.scores.mean(axis=2)
    for side, sign in (("first", 1), ("second", -1)):
        ahead = (one - other) * sign
        assert held[f"n_{side}"] == (ahead > 0).sum() > 0
        gaps = [(a - b) * sign for _, _, a, b in held[side]]
        assert gaps == sorted(ahead[ahead > 0], reverse=True)[: len(gaps)]
        for name, row, a, b in held[side]:
            k = field.pairs.index(name)
            assert (ORDER[row], a, b) == (field.subs[k], one[k], other[k])


def test_rows_without_a_pair_are_null_and_the_data_has_no_nan(tmp_path: Path) -> None:
    tables = tables_of([standing(tmp_path, "good", GOOD), standing(tmp_path, "bad", BAD)])
    page = render_compare(tables)[0]
    held = data_of(page)["held"]["0"]["1"]

    asked = {"overall", "round_1", "round_2", "gap", "traditional", "responsible", "attack", *SUBS}
    assert {name for name, value in zip(ORDER, held["value"], strict=True) if value is not None} == asked
    assert held["n"][0] == N * len(SUBS)
    assert "NaN" not in page


def test_runs_of_other_tables_and_incomplete_ones_are_not_compared(tmp_path: Path) -> None:
    standings = [
        standing(tmp_path, "a", GOOD),
        standing(tmp_path, "b", BAD),
        standing(tmp_path, "part", BAD, missing=True),
    ]
    other = [standing(tmp_path, name, MIXED, bank_hash="cd" * 32) for name in ("c", "d")]
    data = data_of(render_compare(tables_of([*standings, *other]))[0])

    assert [(run["page"], run["table"]) for run in data["runs"]] == [("a", 1), ("b", 1), ("c", 2), ("d", 2)]
    assert {one: list(of) for one, of in data["held"].items()} == {"0": ["1"], "2": ["3"]}


def test_much_data_goes_into_files_that_hold_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = tables_of([standing(tmp_path, name, scores) for name, scores in RUNS.items()])
    in_page, none = page_data(tables)
    monkeypatch.setattr(side_by_side, "MAX_IN_PAGE", 1_000)

    paths = write_site([standing(tmp_path / "2", name, scores) for name, scores in RUNS.items()], tmp_path / "site")

    assert none == {}
    assert data_of((tmp_path / "site" / "compare.html").read_text("utf-8"))["held"] is None
    files = sorted((tmp_path / "site" / "compare").iterdir())
    assert [file.name for file in files] == ["0.js", "1.js", "2.js"]
    for name, file in zip("012", files, strict=True):
        text = file.read_text("utf-8").removeprefix(f'scsafetyReceive("{name}",').removesuffix(");\n")
        assert json.loads(text) == msgspec.to_builtins(in_page["held"][name])
    assert not any(path.parent.name == "compare" for path in paths), "one line a page is enough"


def test_hostile_names_end_no_script_and_stay_what_they_are(tmp_path: Path) -> None:
    name = "</script><script>window.pwned=1</script>\u2028" + TEXTS["handler_quotes"]
    tables = tables_of([standing(tmp_path, "a", GOOD, model=name), standing(tmp_path, "b", BAD)])
    page = render_compare(tables)[0]

    assert page.count("<script") == 2
    assert data_of(page)["runs"][0]["target"].startswith("</script><script>window.pwned=1</script>[U+2028]")


def test_a_single_run_has_a_page_that_says_so(tmp_path: Path) -> None:
    page, files = render_compare(tables_of([standing(tmp_path, "only", GOOD)]))

    assert "没有可比的两次运行" in Page(page).words
    assert files == {}
