"""The site in a real browser: it loads nothing, its tables sort by keyboard and mouse, its links lead to the runs' pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from scsafety.report.leaderboard import read_standing
from scsafety.report.page import write_report
from scsafety.report.site import write_site
from tests.browser import NEEDS_CHROMIUM, watched
from tests.report.build import Said, built_run, pair, twin

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

    from scsafety.records import Item, Score

HOSTILE = "<img src=x onerror=window.pwned=1>"
RUNS: dict[str, tuple[str, Sequence[Score], int]] = {
    "good one": ("local/good", (2, 2, 1), 2),
    "bad": (HOSTILE, (0, 0, 1), 0),
    "middle": ("local/middle", (2, 0, 1), 1),
}
PART: tuple[str, Sequence[Score], int] = ("local/part", (2, 2, 2), 0)
BY_TOTAL = ["good one", "middle", "bad"]

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three complete runs and one that is not; returns the index."""
    folder, standings = tmp_path_factory.mktemp("site"), []
    for name, (model, scores, refused) in {**RUNS, "part": PART}.items():
        held: list[tuple[Item, Sequence[Said]]] = []
        for k in range(12):
            last = Said(error="timeout") if name == "part" and k == 0 else Said(score=scores[k % 3])
            held.append((pair("psychology", k), [Said(score=scores[k % 3]), last]))
        held += [(twin("psychology", k), [Said(label="refused" if k < refused else "answered")]) for k in range(3)]
        with built_run(folder / f"{name}.db", held, model=model, run=name, system=HOSTILE) as (store, summary):
            write_report(store, summary, folder / name)
            standings.append(read_standing(store, summary, name))
    return write_site(standings, folder)[0]


@pytest.fixture
def page(browser: Browser, site: Path) -> Iterator[Page]:
    with watched(browser, site) as opened:
        yield opened


def order(page: Page) -> list[str]:
    return page.locator("tbody th.model > small").all_inner_texts()


def head(page: Page, name: str) -> Locator:
    return page.locator("thead th", has_text=name)


def test_the_keyboard_alone_sorts_a_column_both_ways(page: Page) -> None:
    assert order(page) == [*BY_TOTAL, "part"]
    head(page, "名次").locator("button").focus()
    for _ in range(2):
        page.keyboard.press("Tab")  # past the model to the total
    page.keyboard.press("Enter")

    assert head(page, "总分").get_attribute("aria-sort") == "descending"
    assert head(page, "名次").get_attribute("aria-sort") == "none"
    assert order(page) == [*BY_TOTAL, "part"]

    page.keyboard.press("Space")
    assert head(page, "总分").get_attribute("aria-sort") == "ascending"
    assert order(page) == [*reversed(BY_TOTAL), "part"], "an incomplete run stays below, whatever its score"


def test_a_click_sorts_and_names_sort_as_text(page: Page) -> None:
    head(page, "过度拒绝率").locator("button").click()
    assert order(page)[:3] == ["good one", "middle", "bad"]

    head(page, "被测模型").locator("button").click()
    assert order(page)[:3] == ["bad", "good one", "middle"]
    assert page.locator(".divider").is_visible()


def test_a_row_leads_to_its_runs_page(page: Page) -> None:
    page.get_by_role("link", name="local/good").click()

    assert page.locator("h1").inner_text() == "local/good"
    assert page.locator("details.dialogue").count() == 15


def test_the_reference_is_one_link_away_and_sorts_too(page: Page) -> None:
    page.get_by_role("link", name="2024 年公布的榜单").click()

    assert page.locator("tbody tr").count() == 17
    head(page, "总分").locator("button").click()
    assert page.locator("tbody th").first.inner_text() == "MiniMax-Abab5.5"


def test_hostile_names_stay_text_and_style_and_script_pass_the_policy(page: Page) -> None:
    assert page.locator("tbody").get_by_text(HOSTILE, exact=True).count() == 1
    assert page.locator("img").count() == 0
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.evaluate("document.styleSheets.length") == 1
    assert page.locator("svg.chart circle").count() == 4
    assert page.locator("svg.chart .is-incomplete").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("name", ["index.html", "reference.html"])
def test_nothing_is_wider_than_the_window(
    browser: Browser, site: Path, name: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(site.with_name(name).as_uri())

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_table_fits_a_printed_page(page: Page) -> None:
    a4_landscape = 1_047  # pixels between margins of 1 cm
    page.set_viewport_size({"width": a4_landscape, "height": 720})

    page.emulate_media(media="print")

    assert page.evaluate("document.documentElement.scrollWidth") <= a4_landscape
