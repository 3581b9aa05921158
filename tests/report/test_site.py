"""The site without a browser: who shares a rank with whom, what is never ranked together, and that hostile names stay text."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from scsafety.errors import ConfigError
from scsafety.records import JudgeCard
from scsafety.report.chart import chart_of
from scsafety.report.leaderboard import Standing, as_csv, as_json, ranks, read_standing, tables_of
from scsafety.report.site import published, refuse_namesakes, render_leaderboard, render_reference, write_site
from scsafety.report.visible import visible
from tests.report.build import OTHER, Said, built_run, pair, twin
from tests.report.test_page import ATTACKS, Page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scsafety.records import Item, Score

SUBS = ("property_privacy", "law_abiding", "prompt_leaking")
N = 8  # pairs a sub-dimension
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx")
AGREEMENT = {"n": 100, "qwk": 0.9, "by_origin": {"real": {"n": 60, "qwk": 0.71}}}


def standing(
    tmp_path: Path,
    name: str,
    scores: Sequence[Score],
    *,
    refused: int | None = None,
    missing: bool = False,
    other: Sequence[Score | None] = (None,),
    **given: Any,
) -> Standing:
    """A run whose pairs get `scores` in turn in both rounds, from a second judge `other`; of four harmless twins `refused`
    are refused."""
    held: list[tuple[Item, Sequence[Said]]] = []
    for k in range(N * len(SUBS)):
        said = Said(score=scores[k % len(scores)], other=other[k % len(other)])
        last = Said(error="timeout") if missing and k == 0 else said
        held.append((pair(SUBS[k % len(SUBS)], k), [said, last]))
    if refused is not None:
        held += [(twin("law_abiding", k), [Said(label="refused" if k < refused else "answered")]) for k in range(4)]
    with built_run(tmp_path / f"{name}.db", held, run=name, **given) as (store, summary):
        return read_standing(store, summary, name)


GOOD: tuple[Score, ...] = (2, 2, 2, 2, 2)
MIXED: tuple[Score, ...] = (2, 1, 0, 2, 1)
MIXED_TOO: tuple[Score, ...] = (1, 2, 0, 1, 2)
BAD: tuple[Score, ...] = (0, 0, 0, 0, 0)


def test_runs_that_cannot_be_told_apart_share_a_rank_and_others_do_not(tmp_path: Path) -> None:
    runs = [("bad", BAD), ("mixed", MIXED), ("good", GOOD), ("mixed-too", MIXED_TOO)]
    (table,) = tables_of([standing(tmp_path, name, scores, model=f"local/{name}") for name, scores in runs])

    found = {row.page: (row.rank, row.shared, row.above, row.below) for row in table.ranked}

    assert found["good"] == (1, False, 3, 0)
    assert found["mixed"] == found["mixed-too"] == (2, True, 1, 1)
    assert found["bad"] == (4, False, 0, 3)
    for one in table.versus:
        totals = {row.page: row.summary.overall.score for row in table.ranked}
        assert one.difference == pytest.approx(totals[one.a] - totals[one.b])  # type: ignore[operator]
        assert one.ci95 is not None
        assert one.ci95[0] <= one.difference <= one.ci95[1]


@pytest.mark.parametrize(
    ("n", "clear", "expected"),
    [
        (0, set(), []),
        (1, set(), [1]),
        (3, {(0, 1), (0, 2), (1, 2)}, [1, 2, 3]),
        (3, {(0, 2), (1, 2)}, [1, 1, 3]),
        (3, {(0, 2)}, [1, 1, 2]),  # 0 ~ 1 and 1 ~ 2
        (4, {(0, 1), (0, 2), (1, 2), (1, 3), (0, 3)}, [1, 2, 3, 3]),
        (3, {(0, 1), (1, 2)}, [1, 2, 2]),  # 0 ~ 2, with 1 between them
    ],
)
def test_a_rank_is_one_more_than_the_runs_clearly_above(
    n: int, clear: set[tuple[int, int]], expected: list[int]
) -> None:
    assert ranks(n, clear) == expected


def test_another_judge_of_all_runs_shows_whether_the_order_is_the_same(tmp_path: Path) -> None:
    runs = [("good", GOOD, MIXED), ("mixed", MIXED, GOOD), ("bad", BAD, BAD)]  # the second judge swaps the first two
    standings = [standing(tmp_path, name, scores, other=other, model=f"local/{name}") for name, scores, other in runs]
    (table,) = tables_of(standings)

    (under,) = table.others
    assert under.id == OTHER.judge_id
    assert under.scores == {"good": pytest.approx(60, abs=3), "mixed": 100.0, "bad": 0.0}
    assert under.tau == pytest.approx(1 / 3)  # two of three comparisons one way, one the other
    assert (under.clear, under.reversed) == (3, 1)
    assert json.loads(as_json([table]))["tables"][0]["other_judges"][0]["reversed"] == 1
    words = Page(render_leaderboard([table])).words
    assert "Kendall tau-b 为 0.33；上表分得出高下的 3 对里，它反过来 1 对" in words


def test_a_judge_that_has_not_judged_every_run_whole_compares_nothing(tmp_path: Path) -> None:
    part = standing(tmp_path, "part", GOOD, other=(2, None), model="local/part")
    whole = standing(tmp_path, "whole", MIXED, other=GOOD, model="local/whole")
    (table,) = tables_of([part, whole])

    assert [one.complete for one in (*part.summary.other_judges, *whole.summary.other_judges)] == [False, True]
    assert table.others == ()


def test_too_few_pairs_for_an_interval_are_a_tie(tmp_path: Path) -> None:
    def lone(name: str, score: Score) -> Standing:
        with built_run(tmp_path / name, [(pair("psychology"), [Said(score=score)] * 2)], run=name) as (store, summary):
            return read_standing(store, summary, name)

    (table,) = tables_of([lone("low", 0), lone("high", 2)])

    assert [(row.page, row.rank) for row in table.ranked] == [("high", 1), ("low", 1)]


def test_an_incomplete_run_is_listed_and_marked_but_has_no_rank(tmp_path: Path) -> None:
    runs = [standing(tmp_path, "part", GOOD, missing=True), standing(tmp_path, "whole", MIXED)]
    (table,) = tables_of(runs)

    assert [(row.page, row.rank) for row in table.ranked] == [("whole", 1)]
    assert [(row.page, row.rank) for row in table.unranked] == [("part", None)]
    assert table.versus == ()
    words = Page(render_leaderboard([table])).words
    assert "⚠ 不完整" in words
    assert words.index("whole") < words.index("不参加排名") < words.rindex("part")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"bank_hash": "cd" * 32}, "题库"),
        ({"judge": JudgeCard(judge_id="offline", artefact_hash="1" * 64)}, "裁判"),
        ({"refused": 1}, "选题"),
    ],
)
def test_another_bank_judge_or_selection_has_its_own_table_and_the_page_says_which(
    tmp_path: Path, given: dict[str, Any], word: str
) -> None:
    tables = tables_of([standing(tmp_path, "a", GOOD), standing(tmp_path, "b", BAD, **given)])

    assert [[row.rank for row in table.ranked] for table in tables] == [[1], [1]]
    page = render_leaderboard(tables)
    assert f"这些运行的{word}不同，分数不能互比，所以分成 2 张表" in Page(page).words
    assert page.count("<table ") == 2


def test_runs_of_one_model_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    prompt = "你是一名谨慎的客服。" * 20
    (table,) = tables_of([standing(tmp_path, "plain", GOOD), standing(tmp_path, "careful", GOOD, system=prompt)])

    differs = {row.page: row.differs for row in table.rows}

    assert differs == {"plain": {"system": ""}, "careful": {"system": prompt}}
    assert prompt in Page(render_leaderboard([table])).words


def test_one_run_makes_an_index_too(tmp_path: Path) -> None:
    paths = write_site([standing(tmp_path, "only", GOOD, refused=1)], tmp_path / "site")

    data = ["leaderboard.csv", "leaderboard.json"]
    assert [path.name for path in paths] == ["index.html", "reference.html", *data, "compare.html", "method.html"]
    page = Page(paths[0].read_text(encoding="utf-8"))
    assert [attrs["href"] for tag, attrs in page.elements if tag == "a" and "only" in str(attrs["href"])] == [
        "./only/index.html"
    ]
    assert "分成" not in page.words


def test_every_figure_of_a_row_stands_in_page_csv_and_json(tmp_path: Path) -> None:
    tables = tables_of([standing(tmp_path, "a", MIXED, refused=1, agreement=AGREEMENT)])
    summary = tables[0].rows[0].summary
    words, (told,) = Page(render_leaderboard(tables)).words, json.loads(as_json(tables))["tables"]
    (cells,) = csv.DictReader(io.StringIO(as_csv(tables).decode("utf-8-sig"), newline=""))
    (row,) = told["rows"]

    figures = {"total": summary.overall.score, "round_1": summary.rounds["1"].score, **{
        name: of.score for name, of in summary.dimensions.items()
    }}  # fmt: skip
    for name, value in figures.items():
        assert row[name] == pytest.approx(value)
        assert float(cells[name]) == pytest.approx(value)
        assert f"{value:.2f}" in words
    rates = {"unsafe_rate": summary.unsafe_rate, "cave_rate": summary.cave_rate, "over_refusal": 0.25}
    for name, rate in rates.items():
        assert rate is not None
        assert row[name] == pytest.approx(rate)
        assert float(cells[name]) == pytest.approx(rate)
        assert f"{rate:.1%}" in words
    assert row["judge_kappa"] == 0.71, "on real answers, not on all"
    assert "kappa 0.71" in words
    assert row["rank"] == int(cells["rank"]) == 1


@pytest.mark.parametrize(
    ("agreement", "expected"),
    [(None, "尚未测定"), ({"n": 90, "qwk": 0.2}, "一致性低"), (AGREEMENT, "")],
)
def test_a_judge_that_agrees_too_little_with_people_is_pointed_out(
    tmp_path: Path, agreement: dict[str, Any] | None, expected: str
) -> None:
    tables = tables_of([standing(tmp_path, "a", GOOD, agreement=agreement)])

    words = Page(render_leaderboard(tables)).words

    assert [text for text in ("尚未测定", "一致性低") if text in words] == [expected] * bool(expected)


@pytest.mark.parametrize("start", FORMULAS)
def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(tmp_path: Path, start: str) -> None:
    tables = tables_of([standing(tmp_path, "a", GOOD, model=f"{start}|calc", system=f"{start}|prompt")])

    (row,) = csv.DictReader(io.StringIO(as_csv(tables).decode("utf-8-sig"), newline=""))

    assert (row["target"], row["system"]) == (f"'{start}|calc", f"'{start}|prompt")
    assert json.loads(as_json(tables))["tables"][0]["rows"][0]["target"] == f"{start}|calc"


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_names_and_prompts_change_no_element(tmp_path: Path, attack: str) -> None:
    def page_of(text: str, folder: Path) -> Page:
        folder.mkdir()
        runs = [
            standing(folder, "plain", GOOD, refused=0, model=text),
            standing(folder, "other", BAD, refused=2, model=text),
        ]
        runs += [standing(folder, "asked", MIXED, refused=1, model=text, system=f"{text} {'长' * 100}")]
        return Page(render_leaderboard(tables_of(runs)))

    calm, hostile = page_of("local/calm", tmp_path / "calm"), page_of(attack, tmp_path / "hostile")

    assert hostile.shape == calm.shape
    assert hostile.words.count(visible(attack)) >= 4  # three rows, one prompt
    assert hostile.sources == calm.sources


def test_a_hostile_folder_name_stays_a_link_to_this_site(tmp_path: Path) -> None:
    one = standing(tmp_path, "a", GOOD)
    name = 'javascript:alert(1)//"><script>'
    hostile = Standing(summary=one.summary, page=name, subs=one.subs, means=one.means)

    (row,) = tables_of([hostile])[0].rows

    assert row.link == "./javascript%3Aalert%281%29%2F%2F%22%3E%3Cscript%3E/index.html"


def test_the_pages_allow_their_one_style_and_script_and_nothing_from_outside(tmp_path: Path) -> None:
    for text in (
        render_leaderboard(tables_of([standing(tmp_path, "a", GOOD, refused=1)])),
        render_reference(published()),
    ):
        page = Page(text)
        policy = next(attrs["content"] for tag, attrs in page.elements if "http-equiv" in attrs)
        digests = (hashlib.sha256(page.sources[name].encode()).digest() for name in ("style", "script"))
        style, script = (f"sha256-{base64.b64encode(digest).decode()}" for digest in digests)

        assert policy == (
            f"default-src 'none'; style-src '{style}'; script-src '{script}'; base-uri 'none'; form-action 'none'"
        )
        assert not re.search(r"https?://", text)
        names = {name for _, attrs in page.elements for name in attrs}
        assert [name for name in names if name == "style" or name.startswith("on") or name == "src"] == []


def test_the_chart_shows_each_run_with_both_figures_inside_its_frame(tmp_path: Path) -> None:
    many = [standing(tmp_path, f"r{k}", MIXED, refused=k % 3, model=f"local/{'很长的名字' * 3}-{k}") for k in range(6)]
    rows = tables_of([*many, standing(tmp_path, "no-twins", GOOD)])
    chart, without = (chart_of(table.rows) for table in rows)

    assert without is None
    assert chart is not None
    assert len(chart.points) == 6
    assert len({(point.name_x, point.name_y) for point in chart.points}) == 6
    for point in chart.points:
        assert chart.left <= point.x <= chart.right
        assert chart.top <= point.y <= chart.bottom
        assert point.y_ends is not None
        assert point.y_ends[0] >= point.y >= point.y_ends[1], "a higher score stands higher"
        assert point.name_y < chart.height
    assert sorted({point.x for point in chart.points}) == [chart.x.at(value) for value in (0, 25, 50)]


def test_the_published_scores_stand_on_their_own_page_and_in_no_table(tmp_path: Path) -> None:
    words = Page(render_reference(published())).words

    assert len(published().models) == 17
    assert all(name in words and f"{of.overall:.2f}" in words for name, of in published().models.items())
    assert "另一套题库" in words
    assert "另一个裁判" in words
    page = render_leaderboard(tables_of([standing(tmp_path, "a", GOOD)]))
    assert 'href="reference.html"' in page
    assert "AndesGPT" not in page


def test_two_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    refuse_namesakes([tmp_path / "a" / "x", tmp_path / "a" / "y", tmp_path / "a" / "x"])

    with pytest.raises(ConfigError, match="two runs of one name"):
        refuse_namesakes([tmp_path / "a" / "x", tmp_path / "b" / "x"])
    with pytest.raises(ConfigError, match="rename the run's folder"):
        refuse_namesakes([tmp_path / "index.html"])
