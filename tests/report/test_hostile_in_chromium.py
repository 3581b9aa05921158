"""The hostile corpus in a real browser: nothing runs, nothing is asked for, the covers open and close by mouse and keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scsafety.files import write_whole
from scsafety.records import whole_characters
from scsafety.report.page import read_dialogues, render_page
from scsafety.report.visible import visible
from tests.browser import NEEDS_CHROMIUM
from tests.report.build import Said, built_run, pair
from tests.report.hostile import TEXTS

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Dialog

    from tests.report.test_page import Held

pytestmark = NEEDS_CHROMIUM

CALM = "你好"


def page_of(path: Path, texts: list[str], *, leave_out: bool = False) -> Path:
    """A report in which every text is once an answer, reason, reasoning, question, error; all of them the model's name."""
    held: Held = []
    for number, text in enumerate(texts, start=1):
        known = whole_characters(text)
        said = Said(answer=text, reason=text, reasoning=text, finish_reason=text, score=0)
        fields: dict[str, Any] = {
            "question": known,
            "follow_up": known,
            "risk_point": known,
            "good_answer": known,
            "system": known,
        }
        held.append((pair("psychology", number, severity=3, **fields), [said, Said(error=text)]))
    with built_run(path / "run.db", held) as (store, summary):
        named = msgspec.structs.replace(
            summary, target=" ".join(texts), versions={"target_model": " ".join(texts)}, run=texts[0]
        )
        page = render_page(named, read_dialogues(store, summary), leave_out=leave_out)
    write_whole(path / "index.html", page.encode())
    return path / "index.html"


def visited(browser: Browser, path: Path) -> dict[str, Any]:
    """Open everything, uncover everything, touch every text; what the browser saw meanwhile."""
    page = browser.new_page()
    seen: dict[str, Any] = {"dialogs": [], "complaints": [], "requests": set()}

    def dismiss(dialog: Dialog) -> None:
        seen["dialogs"].append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("console", lambda message: seen["complaints"].append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen["complaints"].append(str(error)))
    page.on("request", lambda request: seen["requests"].add(request.url))
    page.goto(path.as_uri())
    page.evaluate(
        """() => {
          document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
          document.querySelectorAll("[data-cover]").forEach((button) => button.click());
          for (const text of document.querySelectorAll(".text, h1"))
            for (const name of ["mouseover", "mouseenter", "focus", "click"])
              text.dispatchEvent(new MouseEvent(name, { bubbles: true }));
        }"""
    )
    page.get_by_role("searchbox").fill("<script>")
    page.wait_for_function("document.getElementById('shown-count').textContent !== ''")
    seen["globals"] = page.evaluate("Object.getOwnPropertyNames(window).sort()")
    seen["elements"] = page.evaluate("Array.from(document.querySelectorAll('*'), (one) => one.tagName)")
    seen["attributes"] = page.evaluate(
        "Array.from(document.querySelectorAll('*'), (one) => one.getAttributeNames().join(' '))"
    )
    seen["answers"] = page.evaluate(
        "Array.from(document.querySelectorAll('.answered > .cover > .text'), (one) => one.textContent)"
    )
    page.close()
    return seen


@pytest.mark.parametrize("leave_out", [False, True], ids=["covered", "redacted"])
def test_nothing_of_the_corpus_runs_asks_or_adds(browser: Browser, tmp_path: Path, leave_out: bool) -> None:
    texts = list(TEXTS.values())
    path = page_of(tmp_path / "wild", texts, leave_out=leave_out)
    wild = visited(browser, path)
    calm = visited(browser, page_of(tmp_path / "calm", [CALM] * len(texts), leave_out=leave_out))

    assert wild["dialogs"] == []
    assert wild["complaints"] == []
    assert {url.partition("#")[0] for url in wild["requests"]} == {path.as_uri()}
    assert wild["globals"] == calm["globals"]
    assert wild["elements"] == calm["elements"]
    # the search hides what it does not find; nothing else may differ
    assert [names.replace(" hidden", "") for names in wild["attributes"]] == [
        names.replace(" hidden", "") for names in calm["attributes"]
    ]
    assert wild["answers"] == ([] if leave_out else [visible(whole_characters(text)) for text in texts])


def test_a_cover_opens_and_closes_by_mouse_and_says_so(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(page_of(tmp_path, ["先取三份甲"]).as_uri())
    page.get_by_role("button", name="全部展开").click()
    button = page.get_by_role("button", name="psychology-001 第一轮 遮住的回答")
    answer = page.locator(".answered > .cover > .text")

    assert not answer.is_visible()
    assert page.locator(".excerpt", has_text="先取三份甲").count() == 0
    for expanded in ("true", "false"):
        button.click()
        assert button.get_attribute("aria-expanded") == expanded
        assert answer.is_visible() == (expanded == "true")
    page.close()


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_cover_opens_by_the_keyboard_and_the_next_tab_finds_the_next_one(
    browser: Browser, tmp_path: Path, key: str
) -> None:
    page = browser.new_page()
    page.goto(page_of(tmp_path, ["先取三份甲"]).as_uri())
    page.locator("details.dialogue > summary").focus()
    page.keyboard.press("Enter")
    names = []
    for _ in range(2):
        page.keyboard.press("Tab")
        while page.evaluate("document.activeElement.tagName") != "BUTTON":
            page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.textContent"))
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
        assert page.evaluate("document.activeElement.nextElementSibling.checkVisibility()")

    assert "遮住的提问" in names[0]
    assert "遮住的回答" in names[1]
    page.close()
