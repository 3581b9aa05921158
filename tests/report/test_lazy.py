"""Data that a page loads when it is asked for: hostile text in it stays data."""

from __future__ import annotations

import re

import msgspec

from scsafety.report.lazy import json_text
from scsafety.report.visible import visible
from tests.report.hostile import TEXTS

SHOWN = [*map(visible, TEXTS.values()), "a\u2028b\u2029c"]


def test_the_data_reads_back_and_nothing_in_it_ends_the_script() -> None:
    text = str(json_text(SHOWN))

    assert msgspec.json.decode(text) == SHOWN
    assert not re.search("[<>&\u2028\u2029]", text)
