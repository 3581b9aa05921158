"""The browser that pages are tested in: Debian's Chromium, or the one that SCSAFETY_CHROMIUM names."""

from __future__ import annotations

import importlib.util
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

ARGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def chromium() -> str | None:
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    known = (os.environ.get("SCSAFETY_CHROMIUM"), "/usr/bin/chromium", *found)
    return next((path for path in known if path and Path(path).is_file()), None)


NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
    pytest.mark.skipif(chromium() is None, reason="no Chromium found; SCSAFETY_CHROMIUM names one"),
]


@contextmanager
def watched(browser: Browser, path: Path) -> Iterator[Page]:
    """A page from a file; at the end it must have complained of nothing and asked for nothing outside its folder."""
    page = browser.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(path.parent.as_uri())] == []
