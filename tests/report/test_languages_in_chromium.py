"""The language switch in a real browser: every page is whole in both languages, one at a time, and the choice is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scsafety.bank.standards import standard_named
from scsafety.records import SuiteItem
from scsafety.report.evidence import assess
from scsafety.report.evidence_files import write_evidence
from scsafety.report.leaderboard import read_standing
from scsafety.report.page import write_report
from scsafety.report.site import write_site
from tests.browser import NEEDS_CHROMIUM
from tests.report.build import Said, built_run, pair, twin

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from scsafety.records import Item

SWITCH = "[data-lang-switch]"
WEAK = {"n": 40, "accuracy": 0.5, "qwk": 0.1, "unsafe": {"recall": 0.4}, "by_origin": {"real": {"n": 20, "qwk": 0.1}}}
PAGES = ("index.html", "reference.html", "whole/index.html", "part/index.html", "part/evidence-gbt45654.html")

# What is read or announced in Chinese, but for what models, bank and vendors said and the name of the other language.
CHINESE_SEEN = """() => {
  const said =
    ".dialogue .text, .excerpt, .chart title, .published tbody th, .published .vendor, .model small, .chart .point, " +
    "[data-lang-switch]";
  const chinese = /[\\u3001-\\u303f\\u3400-\\u9fff\\uff01-\\uff5e]/;
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const of = node.parentElement;
    if (of.closest("script, style, noscript") || of.closest(said)) continue;
    if (of.closest("option") ? !chinese.test(of.text) : !of.checkVisibility()) continue;
    if (chinese.test(node.data)) found.push(node.data);
  }
  for (const element of document.querySelectorAll("*"))
    for (const name of ["title", "aria-label", "placeholder", "label", "alt"])
      if (!element.closest(said) && chinese.test(element.getAttribute(name) || "")) found.push(element.getAttribute(name));
  return found;
}"""
OPEN_ALL = """() => {
  document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
  document.querySelectorAll("[data-cover]").forEach((button) => button.click());
}"""

pytestmark = NEEDS_CHROMIUM


def everything(*, whole: bool) -> list[tuple[Item, Sequence[Said]]]:
    """Dialogues with all that a page can say of them, in two epochs; where not `whole` some answers are missing."""
    held: list[tuple[Item, Sequence[Said]]] = [
        (pair("psychology", 1, severity=3), [Said(score=2), Said(score=0, reasoning="想一想")]),
        (pair("prompt_leaking", 1), [Said(score=1, answer="", blocked="input"), Said(score=2, finish_reason="length")]),
        (pair("law_abiding", 1), [Said(score=1, answer="部分", blocked="output"), Said(score=1, blocked="unknown")]),
        (pair("property_privacy", 1), [Said(score=2), Said(score=1)]),
        (pair("environment", 1), [Said(score=0), Said(score=1)]),
        (twin("psychology", 1), [Said(label="refused")]),
    ]
    if not whole:
        held.append((pair("physical_harm", 1), [Said(judge_error="unreadable"), Said(error="timeout")]))
    return held * 2


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run and one that is not, of one model with two system prompts, and evidence; returns the folder."""
    folder, standings = tmp_path_factory.mktemp("site"), []
    for name in ("whole", "part"):
        with built_run(
            folder / f"{name}.db",
            everything(whole=name == "whole"),
            epochs=2,
            run=name,
            system="Be careful." if name == "part" else None,
            agreement=WEAK if name == "part" else None,
        ) as (store, summary):
            write_report(store, summary, folder / name)
            write_evidence(
                summary,
                assess(
                    store,
                    standard_named("gbt45654"),
                    [item for item in store.items() if not isinstance(item, SuiteItem)],
                ),
                standard_named("gbt45654"),
                folder / name,
            )
            standings.append(read_standing(store, summary, name))
    write_site(standings, folder)
    return folder


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a reader who has chosen nothing yet, that must stay without complaint."""
    context = browser.new_context()
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    context.close()
    assert complaints == []


def language(page: Page) -> tuple[str | None, str]:
    return page.locator("html").get_attribute("lang"), page.locator(SWITCH).inner_text()


@pytest.mark.parametrize("name", PAGES)
def test_each_page_is_chinese_first_and_whole_in_english_on_a_click(page: Page, site: Path, name: str) -> None:
    page.goto((site / name).as_uri())
    page.evaluate(OPEN_ALL)
    title = page.title()
    assert language(page) == ("zh-CN", "English")
    assert page.locator(".zh:visible").count() > 0
    assert page.locator(".en:visible").count() == 0

    page.locator(SWITCH).click()

    assert language(page) == ("en", "中文")
    assert page.evaluate(CHINESE_SEEN) == []
    assert page.locator(".zh:visible").count() == 0
    english = page.title()
    assert english != title
    assert not any("一" <= letter <= "鿿" for letter in english if letter not in standard_named("gbt45654").zh)

    page.locator(SWITCH).press("Enter")

    assert language(page) == ("zh-CN", "English")
    assert page.title() == title


def test_the_choice_survives_a_reload_and_a_way_through_the_site(page: Page, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    page.locator(SWITCH).click()
    page.reload()
    assert language(page)[0] == "en"

    page.locator("th.model a").first.click()
    assert page.locator("#dialogues-title").inner_text() == "Transcripts"
    page.get_by_role("link", name="Method", exact=True).click()
    assert page.url.endswith("?lang=en#method")

    page.locator(SWITCH).click()
    assert page.url.endswith("/index.html#method")
    page.reload()
    assert language(page)[0] == "zh-CN"


def test_a_link_carries_the_language_where_nothing_is_stored(browser: Browser, site: Path) -> None:
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused'); } });")
    page = context.new_page()
    page.goto(f"{(site / 'index.html').as_uri()}?lang=en")
    assert language(page)[0] == "en"

    page.get_by_role("link", name="The leaderboard published in 2024").click()
    assert page.locator("h1").inner_text() == "The leaderboard published on 2024-01-04"
    page.get_by_role("link", name="Back to the leaderboard").click()
    assert language(page)[0] == "en"

    page.locator(SWITCH).click()
    page.get_by_role("link", name="2024 年公布的榜单").click()
    assert language(page)[0] == "zh-CN"
    context.close()


@pytest.mark.parametrize("asked", ["?lang=fr", "?lang=__proto__", "?lang", "?lang=%E0%A4%A"])
def test_a_language_that_is_not_there_is_chinese(page: Page, site: Path, asked: str) -> None:
    page.goto((site / "index.html").as_uri() + asked)

    assert language(page) == ("zh-CN", "English")


def test_filters_count_and_cover_in_english_too(page: Page, site: Path) -> None:
    page.goto(f"{(site / 'part' / 'index.html').as_uri()}?lang=en")

    page.get_by_label("Kind").select_option(label="harmless twins (2)")
    assert page.locator("#shown-count").inner_text() == "2"
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("button", name="Open all").click()
    page.get_by_role("button", name="psychology-001 round 1 Covered question").click()
    assert page.locator("#psychology-001 .asked .text").first.is_visible()


def test_without_scripts_the_page_is_chinese_and_offers_no_switch(browser: Browser, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{(site / 'index.html').as_uri()}?lang=en")

    assert page.locator("h1").inner_text() == "榜单"
    assert not page.locator(SWITCH).is_visible()
    context.close()


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_window_in_english(browser: Browser, site: Path, name: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(f"{(site / name).as_uri()}?lang=en")
    page.evaluate(OPEN_ALL)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_what_is_printed_is_the_language_shown(page: Page, site: Path, name: str) -> None:
    a4_landscape = 1_047  # pixels between margins of 1 cm
    page.set_viewport_size({"width": a4_landscape, "height": 720})
    page.goto(f"{(site / name).as_uri()}?lang=en")

    page.emulate_media(media="print")

    assert not page.locator(SWITCH).is_visible()
    assert page.locator(".zh:visible").count() == 0
    assert page.locator(".en:visible").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= a4_landscape
