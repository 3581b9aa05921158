"""The browser that pages are tested in: Debian's Chromium, or the one that SCSAFETY_CHROMIUM names."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

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
