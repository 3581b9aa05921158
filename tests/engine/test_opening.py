"""From what the user wrote to an open target or judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scsafety.engine.opening import check_judge, check_target
from scsafety.errors import ConfigError
from scsafety.targets.reach import proxy_for

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example.com")


@pytest.mark.usefixtures("behind_a_proxy")
def test_the_environments_proxy_is_used_for_vendors_and_never_for_loopback() -> None:
    assert proxy_for("https://api.example.com/v1") == "http://proxy.example.com:3128"
    assert proxy_for("https://internal.example.com/v1") is None
    assert proxy_for("http://127.0.0.1:8000/v1") is None
    assert proxy_for("http://api.example.com/v1") is None


@pytest.mark.parametrize("judge", ["offline", "offline-fast", "offline+thinking", "openai-compatible/x+thinking"])
def test_a_judge_may_be_asked_to_see_the_thinking(judge: str) -> None:
    check_judge(judge, "http://127.0.0.1:9/v1", {})


def test_a_judge_that_is_no_judge_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="offline, offline-large, offline-fast, provider/model"):
        check_judge("ofline", None, {})


def test_an_embedded_target_takes_no_address(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no --base-url"):
        check_target("local/qwen2.5-coder-0.5b", "http://127.0.0.1:9/v1", {})
    with pytest.raises(ConfigError, match="no such file"):
        check_target(f"gguf:{tmp_path / 'none.gguf'}", None, {})
