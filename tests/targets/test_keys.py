"""Where a key is found, in which order, and what is said when it is not."""

from __future__ import annotations

import logging
import os
import traceback
from typing import TYPE_CHECKING

import pytest

from scsafety.errors import ConfigError
from scsafety.targets.keys import DotenvKeys, EnvironmentKeys, KeyringKeys, exposed, find_key
from tests.keyring_in_memory import HELD, InMemory
from tests.program import scsafety
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "sk-planted-0123456789"
VAR = "DEEPSEEK_API_KEY"


@pytest.fixture
def _in_keyring(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import keyring

    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())
    monkeypatch.setenv(HELD, f"{VAR}={KEY}-ring")
    yield
    keyring.set_keyring(before)


def dotenv(folder: Path, text: str | bytes) -> DotenvKeys:
    path = folder / ".env"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return DotenvKeys(path)


@pytest.mark.usefixtures("_in_keyring")
def test_the_environment_comes_before_the_file_and_the_file_before_the_keyring(tmp_path: Path) -> None:
    file, ring = dotenv(tmp_path, f"{VAR}={KEY}-file"), KeyringKeys()
    stores = (EnvironmentKeys({VAR: f"{KEY}-env"}), file, ring)

    found = [find_key((VAR,), stores[n:]) for n in range(3)]

    assert [(f.secret.reveal(), f.source) for f in found if f] == [
        (f"{KEY}-env", f"{VAR} in the environment"),
        (f"{KEY}-file", f"{VAR} in .env"),
        (f"{KEY}-ring", f"{VAR} in the keyring"),
    ]


def test_a_provider_with_several_variables_takes_the_first_place_that_holds_any(tmp_path: Path) -> None:
    stores = (EnvironmentKeys({"ZAI_API_KEY": KEY}), dotenv(tmp_path, "ZHIPUAI_API_KEY=sk-from-the-file"))

    found = find_key(("ZHIPUAI_API_KEY", "ZHIPU_API_KEY", "ZAI_API_KEY"), stores)

    assert found is not None
    assert found.source == "ZAI_API_KEY in the environment"


@pytest.mark.parametrize(
    "text",
    [
        f"{VAR}={KEY}",
        f"export {VAR}='{KEY}'  # of the team",
        f'\r\n# a remark\r\n{VAR} = "{KEY}"\r\n',
        b"\xef\xbb\xbf" + f"{VAR}={KEY}".encode(),
        f"!! no assignment\n{VAR}={KEY}\n",
    ],
)
def test_the_usual_forms_of_a_file_are_read(
    text: str | bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        found = dotenv(tmp_path, text).get(VAR)

    assert found is not None
    assert found.reveal() == KEY
    assert VAR not in os.environ
    assert caplog.text == ""


def test_a_dollar_sign_in_a_key_is_one(tmp_path: Path) -> None:
    found = dotenv(tmp_path, f"{VAR}=sk-${{HOME}}-1").get(VAR)

    assert found is not None
    assert found.reveal() == "sk-${HOME}-1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'# keys\n{VAR}="{KEY}', "line 2: DEEPSEEK_API_KEY cannot be read; write DEEPSEEK_API_KEY="),
        (f"{VAR}={KEY}密钥".encode("gb18030"), "is not UTF-8; save it again as UTF-8"),
        (f"{VAR}={KEY} {KEY}", "holds a blank"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_nothing_of_it_is_shown(
    text: str | bytes, said: str, tmp_path: Path
) -> None:
    stores = (dotenv(tmp_path, text),)

    with pytest.raises(ConfigError) as caught:
        find_key((VAR,), stores)

    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    del text, stores
    assert said in str(caught.value)
    assert ".env" in str(caught.value)
    assert [line for line in told.format() if KEY in line and "test_keys.py" not in line] == []
    assert caught.value.__context__ is None


def test_no_file_and_an_empty_entry_hold_nothing(tmp_path: Path) -> None:
    assert DotenvKeys(tmp_path / ".env").get(VAR) is None
    assert dotenv(tmp_path, f"{VAR}=\n").get(VAR) is None


@pytest.mark.usefixtures("_in_keyring")
def test_a_keyring_that_is_locked_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HELD, "locked")

    assert KeyringKeys().get(VAR) is None


@pytest.mark.skipif(os.name != "posix", reason="the system has no such permissions")
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o644, True)])
def test_a_file_that_others_can_read_is_warned_of(mode: int, warned: bool, tmp_path: Path) -> None:
    dotenv(tmp_path, f"{VAR}={KEY}")
    path = tmp_path / ".env"
    path.chmod(mode)

    line = exposed((VAR,), path)

    assert (line is not None) is warned
    assert line is None or (f"mode {mode:o}" in line and f"chmod 600 {path}" in line and KEY not in line)


def test_a_file_without_a_key_of_ours_is_nobodys_business(tmp_path: Path) -> None:
    dotenv(tmp_path, "DATABASE_URL=postgres://x")
    (tmp_path / ".env").chmod(0o644)

    assert exposed((VAR,), tmp_path / ".env") is None
    assert exposed((VAR,), tmp_path / "none") is None


@pytest.mark.skipif(os.name != "posix", reason="the system has no such permissions")
def test_a_run_takes_the_key_from_the_file_and_warns_once(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"SCSAFETY_API_KEY={KEY}\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o644)
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1)])

    with ScriptedServer() as server:
        target = ("--model", "openai-compatible/x", "--base-url", server.base_url)
        ran = scsafety("run", *target, "--judge", "offline-fast", "--bank", bank, cwd=tmp_path)
        seen = scsafety("doctor", *target, cwd=tmp_path)

        assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert (ran.returncode, seen.returncode) == (0, 0)
    assert ran.stderr.count("chmod 600 .env") == 1
    assert "ok    target key: SCSAFETY_API_KEY in .env" in seen.stdout
    assert "note  target key: .env holds a key and others on this machine can read it (mode 644)" in seen.stdout
