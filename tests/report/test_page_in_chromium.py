"""The HTML report in a real browser: it loads nothing, its filters work, and hostile text stays text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from scsafety.report.page import write_report
from tests.browser import NEEDS_CHROMIUM
from tests.report.build import Said, built_run, pair, twin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from scsafety.records import Item

HOSTILE = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
QUOTES = '" onmouseover="window.pwned=1" \' onclick=\'window.pwned=1'
N_MANY = 2_500


pytestmark = NEEDS_CHROMIUM


class Seen:
    """A loaded report, and everything that the browser complained of or asked for."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page, self.url = page, path.as_uri()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(self.url)

    def shown(self) -> list[str]:
        return [str(of.get_attribute("id")) for of in self.page.locator("details.dialogue").all() if of.is_visible()]

    def choose(self, **values: str) -> list[str]:
        """Set filters by the names of their data-control, on top of what is set; returns the dialogues then shown."""
        for name, value in values.items():
            self.page.locator(f"select[data-control={name}]").select_option(value)
        return self.shown()

    def reset(self) -> None:
        self.page.get_by_role("button", name="清除筛选").click()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    held: list[tuple[Item, list[Said]]] = [
        (
            pair("psychology", 1, question=f"普通的问题 {QUOTES}"),
            [Said(score=2), Said(score=0, reason="附和了陈词滥调")],
        ),
        (pair("psychology", 2), [Said(score=0, answer=HOSTILE), Said(score=1, reasoning=HOSTILE, reason=QUOTES)]),
        (pair("prompt_leaking", 1), [Said(score=2, answer="", blocked="input"), Said(score=2, finish_reason="length")]),
        (pair("prompt_leaking", 2), [Said(judge_error="unreadable"), Said(error="timeout")]),
        (pair("property_privacy", 1), [Said(score=2, answer="第一行\n第二行 Mixed Case"), Said(score=2)]),
        (twin("psychology", 1), [Said(label="refused")]),
    ]
    with built_run(folder / "run.db", held) as (store, summary):
        return write_report(store, summary, folder / "report")


@pytest.fixture
def seen(browser: Browser, report: Path) -> Iterator[Seen]:
    page = browser.new_page()
    loaded = Seen(page, report)
    yield loaded
    page.close()
    assert loaded.complaints == []
    assert {url.partition("#")[0] for url in loaded.requests} == {loaded.url}


def test_the_page_opens_with_all_dialogues_shown(seen: Seen) -> None:
    assert len(seen.shown()) == 6
    assert seen.page.locator("#shown-count").inner_text() == "6"
    assert "不完整" in seen.page.locator(".state-mark").inner_text()


def test_style_and_script_pass_the_pages_own_policy(seen: Seen) -> None:
    assert seen.page.evaluate("getComputedStyle(document.querySelector('.text')).whiteSpace").startswith("pre-wrap")
    assert seen.page.evaluate("document.styleSheets.length") == 1


def test_hostile_answers_stay_text(seen: Seen) -> None:
    seen.page.get_by_role("button", name="全部展开").click()
    seen.page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")

    seen.page.evaluate("document.querySelectorAll('[data-cover]').forEach((button) => { button.click(); })")
    for text in seen.page.locator(".text", has_text="pwned").all():
        text.hover()
        text.click()

    assert seen.page.get_by_text(HOSTILE, exact=True).first.is_visible()
    assert seen.page.get_by_text(HOSTILE, exact=True).count() == 2
    assert seen.page.locator(".dialogue img, .dialogue script").count() == 0
    assert seen.page.evaluate("typeof window.pwned") == "undefined"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"kind": "benign"}, ["benign-psychology-001"]),
        ({"dimension": "attack"}, ["prompt_leaking-001", "prompt_leaking-002"]),
        ({"sub": "psychology"}, ["psychology-001", "psychology-002", "benign-psychology-001"]),
        ({"any": "0"}, ["psychology-001", "psychology-002"]),
        ({"r1": "0"}, ["psychology-002"]),
        ({"r1": "2", "r2": "2"}, ["property_privacy-001", "prompt_leaking-001"]),
        ({"r1": "unjudged"}, ["prompt_leaking-002"]),
        ({"r2": "unanswered"}, ["prompt_leaking-002"]),
        ({"any": "refused"}, ["benign-psychology-001"]),
        ({"dimension": "attack", "r2": "0"}, []),
    ],
)
def test_a_filter_shows_what_fits_and_counts_it(seen: Seen, values: dict[str, str], expected: list[str]) -> None:
    assert seen.choose(**values) == expected
    assert seen.page.locator("#shown-count").inner_text() == str(len(expected))
    assert seen.page.locator("#none-shown").is_visible() == (not expected)

    seen.reset()
    assert len(seen.shown()) == 6


@pytest.mark.parametrize(("name", "expected"), [("cave", ["psychology-001"]), ("blocked", ["prompt_leaking-001"])])
def test_caves_and_blocks_have_their_tick(seen: Seen, name: str, expected: list[str]) -> None:
    seen.page.locator(f"[data-control={name}]").check()

    assert seen.shown() == expected


def test_a_dimension_leaves_only_its_own_sub_dimensions_to_choose(seen: Seen) -> None:
    seen.choose(sub="psychology")

    assert seen.choose(dimension="attack") == ["prompt_leaking-001", "prompt_leaking-002"]
    assert seen.page.locator("[data-control=sub] option:enabled").count() == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mixed CASE", ["property_privacy-001"]),
        ("第二行  第一行", ["property_privacy-001"]),
        ("陈词滥调", ["psychology-001"]),
        ("prompt_leaking-002", ["prompt_leaking-002"]),
        ("<img src=x", ["psychology-002"]),
        ("nowhere at all", []),
    ],
)
def test_search_finds_words_of_questions_answers_reasons_and_ids(seen: Seen, words: str, expected: list[str]) -> None:
    from playwright.sync_api import expect

    seen.page.get_by_role("searchbox").fill(words)

    expect(seen.page.locator("#shown-count")).to_have_text(str(len(expected)))
    assert seen.shown() == expected


def test_a_permalink_opens_its_dialogue(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    page.goto(f"{report.as_uri()}#prompt_leaking-002")

    assert page.locator("#prompt_leaking-002").get_attribute("open") is not None
    assert page.locator("#psychology-001").get_attribute("open") is None
    page.locator("#prompt_leaking-002 > summary:focus").wait_for()
    page.close()


def test_a_permalink_wins_over_a_filter_that_hides_its_dialogue(seen: Seen) -> None:
    seen.choose(kind="benign")

    seen.page.evaluate("location.hash = '#psychology-002'")

    seen.page.locator("#psychology-002[open]").wait_for()
    assert seen.page.locator("#psychology-002 .body").is_visible()
    assert len(seen.shown()) == 6


def test_a_mistyped_permalink_harms_nothing(seen: Seen) -> None:
    for link in ("#%E0%A4%A", "#nobody", "#method", "#<img src=x>"):
        seen.page.evaluate("(link) => { location.hash = link; }", link)

    assert len(seen.shown()) == 6


def test_a_sub_dimensions_name_leads_to_its_dialogues(seen: Seen) -> None:
    seen.page.locator("[data-sub-row=prompt_leaking] a").click()

    assert seen.shown() == ["prompt_leaking-001", "prompt_leaking-002"]
    assert seen.page.url.endswith("#dialogues")


def test_the_keyboard_alone_opens_a_dialogue(seen: Seen) -> None:
    seen.page.locator("[data-act=reset]").focus()
    seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("Enter")

    first = seen.page.locator("details.dialogue").first
    assert first.locator(".body").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_window(
    browser: Browser, report: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_filters_of_2500_pairs_answer_at_once(browser: Browser, tmp_path: Path) -> None:
    firsts = (Said(score=0), Said(score=1), Said(score=2))
    held = [
        (pair("psychology", n), [firsts[n % 3], Said(score=2, answer=f"第 {n} 个回答。" * 40)]) for n in range(N_MANY)
    ]
    with built_run(tmp_path / "run.db", held) as (store, summary):
        path = write_report(store, summary, tmp_path)
    page = browser.new_page()
    page.goto(path.as_uri())

    page.locator("select[data-control=r1]").select_option("0")
    assert page.locator("#shown-count").inner_text() == "834"
    took_ms = page.evaluate(
        """() => {
          const start = performance.now();
          document.querySelector("[data-control=r1]").dispatchEvent(new Event("change"));
          document.body.getBoundingClientRect();
          return performance.now() - start;
        }"""
    )

    assert took_ms < 1_000
    page.close()
