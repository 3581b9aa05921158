from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from scsafety.errors import ConfigError
from scsafety.inspect import import_log

if TYPE_CHECKING:
    from pathlib import Path


def test_without_inspect_ai_the_way_to_install_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai", None)  # as if it were not there

    with pytest.raises(ConfigError, match=r"import needs inspect-ai: pip install 'scsafety\[inspect\]'"):
        import_log(tmp_path / "log.eval", out=tmp_path)
