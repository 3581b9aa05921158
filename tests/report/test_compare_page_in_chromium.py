"""The comparison page in a real browser: choosing, a permalink, data in files, names that stay text, nothing from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from scsafety.records import whole_characters
from scsafety.report import side_by_side
from scsafety.report.leaderboard import read_standing
from scsafety.report.page import write_report
from scsafety.report.site import write_site
from scsafety.report.visible import one_line
from tests.browser import NEEDS_CHROMIUM, watched
from tests.report.build import Said, built_run, pair
from tests.report.hostile import TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from scsafety.records import Score

HOSTILE = whole_characters(" ".join(TEXTS[name] for name in sorted(TEXTS) if len(TEXTS[name]) < 200))
RUNS: dict[str, tuple[str, Sequence[Score]]] = {
    "good one": ("local/good", (2, 2, 1)),
    "中 #1&": (HOSTILE, (2, 0, 1)),
    "bad": ("local/bad", (0, 0, 1)),
}
SUBS = ("psychology", "prompt_leaking", "property_privacy")

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module", params=[side_by_side.MAX_IN_PAGE, 0], ids=["in the page", "in files"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder, standings = tmp_path_factory.mktemp("site"), []
    for name, (model, scores) in RUNS.items():
        held = [(pair(SUBS[k % 3], k), [Said(score=scores[k // 3 % 3])] * 2) for k in range(72)]
        with built_run(folder / "run.db", held, model=model, run=name) as (store, summary):
            write_report(store, summary, folder / name)
            standings.append(read_standing(store, summary, name))
        (folder / "run.db").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "MAX_IN_PAGE", request.param)
        yield next(path for path in write_site(standings, folder) if path.name == "compare.html")


@pytest.fixture
def page(browser: Browser, site: Path) -> Iterator[Page]:
    with watched(browser, site) as opened:
        opened.locator("#rows tr").first.wait_for()
        yield opened


def shown(page: Page, row: str, column: int) -> str:
    return page.locator(f'tr[data-row="{row}"] td').nth(column).inner_text()


def choose(page: Page, a: str, b: str) -> None:
    for box, name in (("#run-a", a), ("#run-b", b)):
        page.locator(box).select_option(label=next(text for text in options(page, box) if text.endswith(f" · {name}")))
    page.locator("#brief .side").nth(1).get_by_text(b, exact=True).wait_for()


def options(page: Page, box: str) -> list[str]:
    return list(map(str, page.locator(f"{box} option").evaluate_all("of => of.map((one) => one.label)")))


def test_two_runs_are_chosen_and_their_difference_turns_with_them(page: Page) -> None:
    choose(page, "bad", "good one")
    assert shown(page, "overall", 0).startswith("+66.67")
    assert [shown(page, "overall", k) for k in (1, 3, 4)] == ["B", "16.67", "83.33"]

    page.locator("#swap").click()
    page.locator("#brief .side").first.get_by_text("good one", exact=True).wait_for()
    assert shown(page, "overall", 0).startswith("−66.67")
    assert [shown(page, "overall", k) for k in (1, 3, 4)] == ["A", "83.33", "16.67"]
    assert page.locator('tr[data-row="psychology"]').count() == 1
    assert page.locator('tr[data-row="environment"]').count() == 0, "what was not asked has no row"


def test_the_address_holds_the_choice_and_brings_it_back(page: Page, browser: Browser) -> None:
    choose(page, "中 #1&", "bad")
    for link in (page.url, page.evaluate("document.getElementById('permalink').href")):
        other = browser.new_page()
        other.goto(link)
        other.locator("#rows tr").first.wait_for()
        assert other.locator("#brief .side small").all_inner_texts() == ["中 #1&", "bad"]
        assert shown(other, "overall", 0) == shown(page, "overall", 0)
        other.close()


def test_a_pair_leads_to_the_place_on_each_runs_page(page: Page) -> None:
    choose(page, "bad", "中 #1&")
    line = page.locator("#pairs tr").first
    name = line.locator("th").inner_text()

    line.get_by_role("link").nth(1).click()

    page.locator(f'details.dialogue[id="{name}"][open]').wait_for()
    assert page.locator(".run .mono").inner_text() == "中 #1&"


def test_hostile_names_stay_text(page: Page) -> None:
    choose(page, "中 #1&", "bad")

    assert page.locator("#brief .side a").first.inner_text().split() == one_line(HOSTILE).split()
    assert page.locator("img, iframe, object, math").count() == 0
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.evaluate("document.styleSheets.length") == 1


def test_the_leaderboard_leads_here_and_to_the_method_and_back(page: Page) -> None:
    page.locator('nav a[href^="index.html"]').click()
    page.locator('nav a[href^="method.html"]').click()
    assert page.locator(".subs tbody tr").count() == 24
    page.locator('nav a[href^="compare.html"]').click()
    page.locator("#rows tr").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("name", ["compare.html", "method.html"])
def test_nothing_is_wider_than_the_window(
    browser: Browser, site: Path, name: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(site.with_name(name).as_uri())
    if name == "compare.html":
        page.locator("#rows tr").first.wait_for()

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_missing_data_are_said_to_be_missing(browser: Browser, site: Path, tmp_path: Path) -> None:
    (tmp_path / "compare.html").write_bytes(site.read_bytes())
    page = browser.new_page()
    page.goto((tmp_path / "compare.html").as_uri())

    in_files = (site.parent / "compare").is_dir()
    page.locator("#failed" if in_files else "#brief").wait_for(state="visible")
    page.close()
