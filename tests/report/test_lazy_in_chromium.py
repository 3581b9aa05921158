"""Data beside a page, under the page's own strict policy, in a real browser and from `file:`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsafety.files import write_whole
from scsafety.report.html import content_policy
from scsafety.report.lazy import RECEIVER, lazy_script
from tests.browser import NEEDS_CHROMIUM
from tests.report.test_lazy import SHOWN

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = NEEDS_CHROMIUM


def test_a_page_loads_its_data_under_its_own_policy_and_nothing_from_outside(browser: Browser, tmp_path: Path) -> None:
    script = f"""window.got = []; window.{RECEIVER} = (...data) => got.push(data);
window.ask = (src) => new Promise((done) => {{
  const asked = Object.assign(document.createElement("script"), {{ src }});
  asked.onload = () => done(true);
  asked.onerror = () => done(false);
  document.head.append(asked);
}});"""
    policy = content_policy("", script, loads=True)
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
    write_whole(tmp_path / "index.html", f"{head}<script>{script}</script>".encode())
    write_whole(tmp_path / "data" / "1.js", lazy_script("texts", SHOWN))
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())

    assert page.evaluate("ask('data/1.js')")
    assert page.evaluate("got") == [["texts", SHOWN]]
    assert not page.evaluate("ask('http://127.0.0.1:9/x.js')")
    assert not page.evaluate("ask('data:text/javascript,got.push(1)')")
    assert page.evaluate("got.length") == 1
    assert page.evaluate("typeof window.pwned") == "undefined"
    page.close()
