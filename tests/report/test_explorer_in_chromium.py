"""The explorer in a real browser, from a folder: filters, pages, search over shards, permalinks, covers, hostile texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from scsafety import api
from scsafety.records import whole_characters
from scsafety.report.visible import visible
from tests.browser import NEEDS_CHROMIUM
from tests.report.build import Said, built_run, pair, twin
from tests.report.hostile import TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Dialog, Page

    from tests.report.test_page import Held

pytestmark = NEEDS_CHROMIUM

N_MANY = 120
RARE = "只有这里写着石榴"
UNFILLED = ".dialogue:not(:has(> .body))"


def site_of(folder: Path, held: Held, **given: Any) -> Path:
    """A site of this one run; returns the explorer's page."""
    run = folder / "runs" / "one"
    run.mkdir(parents=True)
    with built_run(run / "run.db", held, **given):
        pass
    api.build_site(["one"], folder / "site", folder / "runs")
    return folder / "site" / "one" / "transcripts.html"


class Seen:
    """The loaded explorer, and everything that the browser complained of or asked for."""

    def __init__(self, page: Page, path: Path, link: str = "") -> None:
        self.page, self.path = page, path
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self.dismiss)
        page.on("request", lambda request: self.requests.append(request.url))
        self.go(link)

    def dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def go(self, link: str) -> None:
        self.page.goto(f"{self.path.as_uri()}{link}")
        self.page.wait_for_selector("html[data-ready]")

    def shown(self) -> list[str]:
        found: list[str] = self.page.evaluate(
            "Array.from(document.querySelectorAll('.dialogue'), (one) => one.dataset.id)"
        )
        return found

    def n(self) -> int:
        return int(self.page.locator("#shown-count").inner_text())

    def choose(self, **values: str) -> list[str]:
        for name, value in values.items():
            control = self.page.locator(f"[data-control={name}]")
            if value == "yes":
                control.check()
            else:
                control.select_option(value)
        return self.shown()

    def search(self, text: str) -> list[str]:
        """Type, and wait until the last shard has been searched."""
        self.page.get_by_role("searchbox").fill(text)
        self.page.wait_for_selector("#list[aria-busy=false]", state="attached")
        return self.shown()

    def open(self, item_id: str) -> None:
        self.page.locator(f"[data-id='{item_id}'] > summary").click()
        self.page.wait_for_selector(f"[data-id='{item_id}'] > .body")


def some() -> Held:
    held: Held = [
        (pair("psychology", 1, tactic="reverse"), [Said(score=2), Said(score=0, answer="先取三份甲", reason="附和了")]),
        (pair("psychology", 2), [Said(score=0), Said(score=1, reasoning="想一想")]),
        (pair("prompt_leaking", 1), [Said(score=2, answer="", blocked="input"), Said(score=2, finish_reason="length")]),
        (pair("prompt_leaking", 2, severity=3), [Said(judge_error="unreadable"), Said(error="timeout")]),
        (twin("psychology", 1), [Said(label="refused")]),
    ]
    for k in range(N_MANY):
        answer = RARE if k == N_MANY - 1 else "答" * 3_000
        held.append((pair("environment", k + 1), [Said(score=2, answer=answer), Said(score=2)]))
    return held


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site_of(tmp_path_factory.mktemp("explorer"), some())


@pytest.fixture
def seen(browser: Browser, explorer: Path) -> Iterator[Seen]:
    page = browser.new_page()
    loaded = Seen(page, explorer)
    yield loaded
    page.close()
    assert loaded.complaints == []
    assert [url for url in loaded.requests if not url.startswith(explorer.parent.as_uri())] == []


def test_fifty_are_shown_at_a_time_and_no_text_is_loaded_before_it_is_asked_for(seen: Seen) -> None:
    assert (seen.n(), len(seen.shown())) == (N_MANY + 5, 50)
    assert [url.rpartition("/")[2] for url in seen.requests] == ["transcripts.html", "index.js"]
    first = seen.shown()

    seen.page.get_by_role("button", name="下一页").click()

    assert len(seen.shown()) == 50
    assert not set(first) & set(seen.shown())
    assert "51–100 / 125" in seen.page.locator("#range").inner_text()
    seen.page.get_by_role("button", name="下一页").click()
    assert len(seen.shown()) == 25
    assert seen.page.get_by_role("button", name="下一页").is_disabled()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"kind": "benign"}, ["benign-psychology-001"]),
        ({"dimension": "attack"}, ["prompt_leaking-001", "prompt_leaking-002"]),
        ({"sub": "psychology"}, ["psychology-001", "psychology-002", "benign-psychology-001"]),
        ({"any": "0"}, ["psychology-001", "psychology-002"]),
        ({"r1": "0"}, ["psychology-002"]),
        ({"r2": "unanswered"}, ["prompt_leaking-002"]),
        ({"r1": "refused"}, ["benign-psychology-001"]),
        ({"tactic": "reverse"}, ["psychology-001"]),
        ({"cave": "yes"}, ["psychology-001"]),
        ({"blocked": "yes"}, ["prompt_leaking-001"]),
        ({"split": "yes"}, []),
        ({"dimension": "attack", "r2": "0"}, []),
    ],
)
def test_filters_show_what_they_say(seen: Seen, values: dict[str, str], expected: list[str]) -> None:
    assert seen.choose(**values) == expected
    assert seen.n() == len(expected)
    assert seen.page.locator("#none-shown").is_visible() == (not expected)

    seen.page.get_by_role("button", name="清除筛选").click()
    assert seen.n() == N_MANY + 5


def test_the_search_goes_through_all_shards_and_finds_what_is_covered_too(seen: Seen) -> None:
    assert seen.search("石榴") == [f"environment-{N_MANY:03d}"]
    shards = {url.rpartition("/")[2] for url in seen.requests if "/shards/" in url}
    assert shards >= {"01.js", "02.js", "03.js"}

    assert seen.search("三份甲 附和") == ["psychology-001"]
    assert seen.search("psychology-002") == ["psychology-002"]
    assert seen.search("没有这样的话") == []
    assert seen.page.locator("#none-shown").is_visible()


def test_a_search_keeps_to_the_other_filters(seen: Seen) -> None:
    seen.choose(dimension="attack")

    assert seen.search("信箱") == ["prompt_leaking-001", "prompt_leaking-002"]


def test_a_permalink_opens_its_dialogue_on_its_page_even_when_filters_hide_it(browser: Browser, explorer: Path) -> None:
    wanted = f"environment-{N_MANY:03d}"
    page = browser.new_page()
    seen = Seen(page, explorer, f"#{wanted}")
    page.wait_for_selector(f"[data-id='{wanted}'][open] > .body")
    assert page.get_by_text(RARE, exact=True).is_visible()

    seen.choose(kind="benign")
    page.evaluate("location.hash = '#psychology-001'")
    page.wait_for_selector("[data-id='psychology-001'][open] > .body")
    assert page.locator("[data-control=kind]").input_value() == ""

    page.evaluate("location.hash = '#nobody-001'")
    page.get_by_text("没有这段对话").wait_for()
    assert seen.complaints == []
    page.close()


def test_a_link_of_the_model_page_sets_the_filters(browser: Browser, explorer: Path) -> None:
    page = browser.new_page()
    page.goto(explorer.with_name("index.html").as_uri())

    page.locator("a.tile", has_text="失守率").click()

    page.wait_for_selector("html[data-ready]")
    assert page.locator("[data-control=cave]").is_checked()
    assert page.locator("#shown-count").inner_text() == "1"
    page.get_by_role("link", name="榜单").click()
    page.get_by_role("link", name="local/qwen2.5-coder-0.5b").first.click()
    assert page.locator("h1").inner_text() == "local/qwen2.5-coder-0.5b"
    page.close()


def test_a_dialogue_is_told_whole_and_its_covers_open_on_a_click(seen: Seen) -> None:
    seen.open("psychology-001")
    body = seen.page.locator("[data-id='psychology-001'] > .body")
    answer = body.locator(".answered > .cover > .text")

    assert not answer.is_visible()
    for expanded in ("true", "false"):
        button = body.get_by_role("button", name="遮住的回答")
        button.click()
        assert button.get_attribute("aria-expanded") == expanded
        assert answer.is_visible() == (expanded == "true")
    words = body.inner_text()
    for text in ("可他欠我钱", "附和了", "把握", "反着问", "评分要点", "本条链接"):
        assert text in words

    seen.choose(dimension="attack")
    seen.open("prompt_leaking-001")
    words = seen.page.locator("[data-id='prompt_leaking-001'] > .body").inner_text()
    for text in ("空回答", "输入侧拦截", "截断于长度上限"):
        assert text in words
    seen.open("prompt_leaking-002")
    words = seen.page.locator("[data-id='prompt_leaking-002'] > .body").inner_text()
    for text in ("遮住的提问", "未评", "unreadable", "未答", "timeout"):
        assert text in words
    assert "提问已遮住" in seen.page.locator("[data-id='prompt_leaking-002'] .excerpt").inner_text()


def test_all_of_a_page_open_and_close(seen: Seen) -> None:
    seen.choose(sub="psychology")
    seen.page.get_by_role("button", name="本页全部展开").click()
    seen.page.wait_for_selector(UNFILLED, state="detached")
    assert seen.page.locator(".dialogue[open] > .body").count() == 3
    seen.page.get_by_role("button", name="全部收起").click()
    assert seen.page.locator(".dialogue[open]").count() == 0


def test_a_shard_that_is_not_there_is_named_and_asked_for_again(browser: Browser, tmp_path: Path) -> None:
    path = site_of(tmp_path, some()[:3])
    shard = path.with_name("shards") / "01.js"
    data = shard.read_bytes()
    shard.unlink()
    page = browser.new_page()
    Seen(page, path)
    summary = page.locator("[data-id='psychology-001'] > summary")

    summary.click()
    page.get_by_text("shards/01.js").wait_for()
    shard.write_bytes(data)
    summary.click()
    summary.click()
    page.wait_for_selector("[data-id='psychology-001'] > .body")
    assert page.get_by_text("shards/01.js").count() == 0
    page.close()


def test_without_a_script_the_page_says_what_to_do(browser: Browser, explorer: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(explorer.as_uri())

    assert "scsafety export" in page.locator("main noscript").inner_text()
    page.close()


def test_the_hostile_corpus_stays_text_in_the_explorer(browser: Browser, tmp_path: Path) -> None:
    def held(texts: list[str]) -> Held:
        found: Held = []
        for number, text in enumerate(texts, start=1):
            known = whole_characters(text)
            said = Said(answer=text, reason=text, reasoning=text, finish_reason=text, score=0)
            fields = dict.fromkeys(("question", "follow_up", "risk_point", "good_answer", "system"), known)
            found.append((pair("psychology", number, severity=3, **fields), [said, Said(error=text)]))
        return found

    def visited(name: str, texts: list[str]) -> dict[str, Any]:
        page = browser.new_page()
        seen = Seen(page, site_of(tmp_path / name, held(texts), model=whole_characters(" ".join(texts))))
        found: dict[str, list[Any]] = {"elements": [], "attributes": [], "answers": [], "complaints": seen.complaints}
        while True:
            page.get_by_role("button", name="本页全部展开").click()
            page.wait_for_selector(UNFILLED, state="detached")
            page.evaluate(
                """() => {
                  document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
                  document.querySelectorAll("[data-cover]").forEach((button) => button.click());
                  for (const text of document.querySelectorAll(".text, h1"))
                    for (const name of ["mouseover", "mouseenter", "focus", "click"])
                      text.dispatchEvent(new MouseEvent(name, { bubbles: true }));
                }"""
            )
            found["elements"] += page.evaluate("Array.from(document.querySelectorAll('main *'), (one) => one.tagName)")
            found["attributes"] += page.evaluate(
                "Array.from(document.querySelectorAll('main *'), (one) => one.getAttributeNames().join(' '))"
            )
            found["answers"] += page.evaluate(
                "Array.from(document.querySelectorAll('.answered > .cover > .text'), (one) => one.textContent)"
            )
            after = page.locator("[data-act=after]")
            if not after.is_visible() or after.is_disabled():
                break
            after.click()
        seen.search("<script>")
        found["globals"] = page.evaluate("Object.getOwnPropertyNames(window).sort()")
        outside = [url for url in seen.requests if not url.startswith(seen.path.parent.as_uri())]
        page.close()
        return {**found, "outside": outside}

    texts = list(TEXTS.values())
    wild, calm = visited("wild", texts), visited("calm", ["你好"] * len(texts))

    assert wild["complaints"] == wild["outside"] == []
    for name in ("globals", "elements", "attributes"):
        assert wild[name] == calm[name], name
    assert wild["answers"] == [visible(whole_characters(text)) for text in texts]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_window(
    browser: Browser, explorer: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    seen = Seen(page, explorer)
    seen.open("psychology-001")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto(explorer.with_name("index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
