from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scsafety.errors import ConfigError, MachineError
from scsafety.targets import embedded as subject
from scsafety.targets.embedded import REPEATABLE_BODY, EmbeddedServer, open_embedded, parse_local
from scsafety.targets.models import cached, models

MODEL = cached(models()[0])
needs_model = [
    pytest.mark.embedded,
    pytest.mark.skipif(MODEL is None, reason="the embedded model is not in the cache: `scsafety models pull`"),
]
# What an unwilling platform would leave running is looked for this long, in seconds.
GONE_S = 15.0


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCSAFETY_HOME", str(tmp_path))  # the logs; the model was looked up before


async def say(server: EmbeddedServer, text: str, **body: object) -> str:
    import aiohttp

    request = {"messages": [{"role": "user", "content": text}], "max_tokens": 24, **REPEATABLE_BODY, **body}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.base_url}/chat/completions", json=request) as response,
    ):
        assert response.status == 200
        return str((await response.json())["choices"][0]["message"]["content"])


def listens(base_url: str) -> bool:
    address = urlsplit(base_url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) == 0


def runs(pid: int) -> bool:
    """Whether the process is there; where signal 0 is not a question (Windows), the port alone must tell."""
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def is_gone(base_url: str, pid: int) -> bool:
    until = time.monotonic() + GONE_S
    while time.monotonic() < until:
        if not listens(base_url) and not runs(pid):
            return True
        time.sleep(0.02)
    return False


def open_once(path: Path, **options: float) -> None:
    async def main() -> None:
        async with open_embedded(path, **options):  # type: ignore[arg-type]
            pass

    asyncio.run(main())


# Names


def test_local_names_an_embedded_model() -> None:
    assert parse_local("local/qwen2.5-coder-0.5b") is models()[0]


def test_gguf_names_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/li")
    monkeypatch.setenv("USERPROFILE", "/home/li")

    assert parse_local("gguf:models/mine.gguf") == Path("models/mine.gguf")
    assert parse_local("gguf:~/mine.gguf") == Path("/home/li/mine.gguf")


@pytest.mark.parametrize("spec", ["openai/gpt", "local", "deepseek/local/x", ""])
def test_anything_else_is_not_local(spec: str) -> None:
    assert parse_local(spec) is None


@pytest.mark.parametrize("spec", ["local/qwen2.5-coder-7b", "local/", "gguf:", "gguf: "])
def test_a_local_name_of_nothing_is_a_mistake_on_the_command_line(spec: str) -> None:
    with pytest.raises(ConfigError):
        parse_local(spec)


# Files that cannot be served


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"there is no model file .*none\.gguf: .*models pull"):
        open_once(tmp_path / "none.gguf")


def test_a_file_that_is_not_gguf_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_text("<html>")

    with pytest.raises(MachineError, match="is not a GGUF file"):
        open_once(tmp_path / "page.gguf")


def test_a_missing_llama_cpp_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(MachineError, match=r"llama.cpp is missing: `pip install xllamacpp`"):
        open_once(tmp_path / "some.gguf")


def test_a_llama_cpp_that_cannot_be_imported_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('libgomp.so.1:\\n no such file')")
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(MachineError, match=r"cannot be loaded \(libgomp.so.1: no such file\)"):
        open_once(tmp_path / "some.gguf")


@pytest.mark.parametrize("code", ["import os; os._exit(7)", "import os, signal; os.kill(os.getpid(), 9)"])
def test_a_crash_while_loading_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (tmp_path / "xllamacpp.py").write_text(code)
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(MachineError, match=r"ended while it loaded some.gguf \((exit code 7|signal 9)\)"):
        open_once(tmp_path / "some.gguf")


def test_a_server_that_does_not_come_up_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "xllamacpp.py").write_text("import sys, time; sys.stderr.write('native words'); time.sleep(600)")
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    before = time.monotonic()

    with pytest.raises(MachineError, match="was not up within 1 s: ") as caught:
        open_once(tmp_path / "some.gguf", start_s=1)

    assert time.monotonic() - before < 5
    (log,) = (tmp_path / "logs").iterdir()
    assert str(log) in str(caught.value)
    assert log.read_text() == "native words"
    assert capfd.readouterr() == ("", "")


@pytest.mark.embedded
@pytest.mark.skipif(MODEL is None, reason="the embedded model is not in the cache: `scsafety models pull`")
@pytest.mark.parametrize("n_bytes", [4, 100_000, 60_000_000])
def test_a_file_that_was_cut_short_is_one_line(tmp_path: Path, n_bytes: int) -> None:
    assert MODEL is not None
    with MODEL.open("rb") as whole:
        (tmp_path / "cut.gguf").write_bytes(whole.read(n_bytes))

    with pytest.raises(
        MachineError, match=r"llama.cpp cannot load .*cut\.gguf .*fetch it again.*its log is "
    ) as caught:
        open_once(tmp_path / "cut.gguf")

    assert "\n" not in str(caught.value)


# The real server


class TestServer:
    pytestmark = needs_model

    @pytest.fixture
    def model(self) -> Path:
        assert MODEL is not None
        return MODEL

    def test_the_same_request_gets_the_same_text(self, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
        async def main() -> tuple[str, str, str]:
            async with open_embedded(model) as server:
                first = await say(server, "长城有多长？", temperature=0.8)
                other = await say(server, "长城有多高？", temperature=0.8)
                server.check()
                return first, other, await say(server, "长城有多长？", temperature=0.8)

        first, other, again = asyncio.run(main())

        assert first
        assert first == again
        assert first != other
        assert capfd.readouterr() == ("", "")

    def test_every_slot_has_the_whole_context(self, model: Path) -> None:
        long = " ".join(str(n) for n in range(200))  # about 700 tokens: more than half of the context

        async def main() -> tuple[str, ...]:
            async with open_embedded(model, slots=2, n_ctx=1024) as server:
                assert server.slots == 2
                return tuple(await asyncio.gather(*(say(server, long) for _ in range(2))))

        assert all(asyncio.run(main()))

    def test_the_server_and_its_log_are_gone_after_the_block(self, model: Path) -> None:
        async def main() -> EmbeddedServer:
            async with open_embedded(model) as server:
                assert listens(server.base_url)
                assert server.log.exists()
            return server

        server = asyncio.run(main())

        assert is_gone(server.base_url, server.pid)
        assert not server.log.exists()

    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, asyncio.CancelledError])
    def test_the_server_is_gone_after_an_exception(self, model: Path, error: type[BaseException]) -> None:
        seen: list[EmbeddedServer] = []

        async def main() -> None:
            async with open_embedded(model) as server:
                seen.append(server)
                raise error

        with pytest.raises(error):
            asyncio.run(main())

        assert is_gone(seen[0].base_url, seen[0].pid)

    @pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
    def test_the_server_is_gone_when_its_parent_is_killed(self, model: Path, name: str) -> None:
        code = (
            "import asyncio, sys\nfrom pathlib import Path\nfrom scsafety.targets.embedded import open_embedded\n"
            "async def main():\n"
            "    async with open_embedded(Path(sys.argv[1])) as server:\n"
            "        print(server.base_url, server.pid, flush=True)\n"
            "        await asyncio.sleep(600)\n"
            "asyncio.run(main())\n"
        )
        command = [sys.executable, "-c", code, str(model)]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ
        ) as parent:
            assert parent.stdout is not None
            base_url, pid = parent.stdout.readline().split()
            assert listens(base_url)

            parent.send_signal(getattr(signal, name))

            assert is_gone(base_url, int(pid))

    @pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
    def test_a_server_that_crashed_is_told(self, model: Path) -> None:
        async def main() -> None:
            async with open_embedded(model) as server:
                os.kill(server.pid, signal.SIGKILL)
                async with asyncio.timeout(GONE_S):
                    while True:
                        server.check()
                        await asyncio.sleep(subject.POLL_S)

        with pytest.raises(MachineError, match=r"ended by itself \(signal 9\): run `scsafety resume`"):
            asyncio.run(main())
