"""Where a copy of the suites' data is on the tester's machine; none of it stands in this repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

WHERE = "SCSAFETY_SUITE_DATA"  # a folder with a folder for each suite, as `scsafety suite fetch` makes them


def published(name: str, file: str) -> Path:
    """The published file of a suite; the test is skipped, with the reason, where it is not here."""
    folder = Path(os.environ.get(WHERE, "data"))
    for path in (folder / name / file, folder / name.replace("-", "_") / file):
        if path.is_file():
            return path
    pytest.skip(f"the published data of {name} is not here: `scsafety suite fetch {name}`, or {WHERE}=FOLDER")
