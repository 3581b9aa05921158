"""What every test needs to be the same wherever it is started."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.browser import ARGS, chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


def pytest_configure() -> None:
    # A shell starts background jobs with SIGINT ignored and programs inherit that: the ones whose Ctrl-C is tested, too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=list(ARGS), headless=True)
        yield opened
        opened.close()
