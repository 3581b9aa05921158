"""The embedded target: a GGUF file served by llama.cpp on loopback, in a child process of its own.

A child, because llama.cpp writes its log straight to the file descriptors of its process and a crash of native code
takes its process with it: neither may reach the run. The child watches its standard input and ends when that closes,
which the system sees to however the parent dies, on every platform.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from scsafety.errors import ConfigError, MachineError
from scsafety.targets.models import EmbeddedModel, cache_dir, embedded_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

START_S = 60.0
STOP_S = 5.0
POLL_S = 0.02
LOG_DAYS = 7

REPEATABLE_BODY: Mapping[str, object] = {"cache_prompt": False, "seed": 1}
"""What a request must hold so that the same request gets the same text, with one slot; what the user sets wins.

With `cache_prompt` the answer depends on what was asked before, and without a seed llama.cpp draws one.
"""


class EmbeddedServer:
    """A llama.cpp server that is up, as long as the block of `open_embedded` lasts."""

    def __init__(self, base_url: str, path: Path, slots: int, log: Path, process: asyncio.subprocess.Process) -> None:
        self.base_url = base_url  # OpenAI-compatible, with `/v1`
        self.path = path
        self.slots = slots  # requests that it works on at once
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """MachineError if the server's process has ended by itself."""
        if (code := self._process.returncode) is not None:
            raise MachineError(
                f"the embedded model's server ended by itself ({_how_it_ended(code)}): run `scsafety resume`; "
                f"if it happens again, report {self.log}"
            )


class _Order(msgspec.Struct, frozen=True):
    """What the child is to serve."""

    path: str
    slots: int
    n_ctx: int  # of all slots together
    threads: int | None
    parent: int


class _Report(msgspec.Struct, frozen=True):
    """The child's one line: where it listens, or what kept it from it."""

    url: str | None = None
    failed: str | None = None  # import, load
    why: str = ""


def parse_local(spec: str) -> EmbeddedModel | Path | None:
    """`local/ID` as the embedded model, `gguf:PATH` as the path, anything else as None."""
    if spec.startswith("local/"):
        return embedded_model(spec.removeprefix("local/"))
    if spec.startswith("gguf:"):
        if not (path := spec.removeprefix("gguf:").strip()):
            raise ConfigError("`gguf:` needs the path of a file: `gguf:PATH`")
        return Path(path).expanduser()
    return None


@asynccontextmanager
async def open_embedded(
    path: Path,
    *,
    slots: int = 1,
    n_ctx: int = 4096,
    threads: int | None = None,
    start_s: float = START_S,
    log_dir: Path | None = None,
) -> AsyncIterator[EmbeddedServer]:
    """Serves the GGUF file on a free port of loopback for as long as the block lasts.

    slots: requests worked on at once; only with one do answers repeat to the letter. n_ctx: tokens a slot, question and
    answer together. threads: None leaves it to llama.cpp. start_s: seconds until the server must be up.

    MachineError where the file cannot be served.
    """
    real = _check_file(path)
    if importlib.util.find_spec("xllamacpp") is None:
        raise MachineError("llama.cpp is missing: `pip install xllamacpp`, or use a model behind an endpoint")
    order = _Order(real, slots, n_ctx * slots, threads, os.getpid())
    log, log_file = _open_log(log_dir or cache_dir(os.environ).parent / "logs")
    with log_file:
        process = await _start_child(order, log_file)
    up = False
    try:
        try:
            async with asyncio.timeout(start_s):
                url = await _wait_until_up(process, path, log)
        except TimeoutError:
            raise MachineError(
                f"the server for {path.name} was not up within {start_s:g} s: close other programs, or take a smaller "
                f"model; its log is {log}"
            ) from None
        up = True
        yield EmbeddedServer(f"{url}/v1", path, slots, log, process)
    finally:
        crashed = process.returncode is not None
        await _stop(process, patience_s=STOP_S if up else 0)  # while it loads it hears nothing
        if up and not crashed:
            log.unlink(missing_ok=True)


def _check_file(path: Path) -> str:
    """The absolute path of a file that begins like a GGUF."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise MachineError(f"there is no model file {path}: check the path, or `scsafety models pull`") from None
    except OSError as error:
        raise MachineError(f"cannot read the model file {path} ({error.strerror}): give a GGUF file to read") from error
    if magic != b"GGUF":
        raise MachineError(f"{path} is not a GGUF file: give a model in that format, or `scsafety models pull`")
    return os.path.realpath(path)


def _open_log(folder: Path) -> tuple[Path, BinaryIO]:
    """A fresh log file, in the system's temporary folder if ours is closed; logs that crashes left go after a week."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("llama-*.log"):
            with suppress(OSError):
                if old.stat().st_mtime < time.time() - LOG_DAYS * 86_400:
                    old.unlink()
        handle, name = tempfile.mkstemp(prefix="llama-", suffix=".log", dir=folder)
    except OSError:
        handle, name = tempfile.mkstemp(prefix="llama-", suffix=".log")
    return Path(name), os.fdopen(handle, "wb")


async def _start_child(order: _Order, log: BinaryIO) -> asyncio.subprocess.Process:
    # Like multiprocessing: the child finds the packages where this process does.
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        "from scsafety.targets.embedded import serve; serve()",
        msgspec.json.encode(order).decode(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environ,
        start_new_session=True,  # the terminal's Ctrl-C is the parent's to handle
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


async def _wait_until_up(process: asyncio.subprocess.Process, path: Path, log: Path) -> str:
    """The server's address, once it answers that it is healthy."""
    import aiohttp

    assert process.stdout is not None  # noqa: S101
    line = await process.stdout.readline()
    try:
        report = msgspec.json.decode(line, type=_Report)
    except msgspec.MsgspecError:
        code = await process.wait()
        raise MachineError(
            f"llama.cpp ended while it loaded {path.name} ({_how_it_ended(code)}): pull the model again, or take a "
            f"smaller one; its log is {log}"
        ) from None
    if report.failed == "import":
        raise MachineError(
            f"llama.cpp cannot be loaded ({report.why}): `pip install --force-reinstall xllamacpp`; the log is {log}"
        )
    if report.url is None:
        raise MachineError(
            f"llama.cpp cannot load {path} ({_reason(log)}): it may be damaged, cut short or too big for the memory; "
            f"fetch it again, or take another; its log is {log}"
        )
    timeout = aiohttp.ClientTimeout(total=STOP_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:  # without proxies: it is loopback
        while process.returncode is None:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"{report.url}/health") as response:
                    if response.status == 200:
                        return report.url
            await asyncio.sleep(POLL_S)
    raise MachineError(f"llama.cpp ended right after its start ({_how_it_ended(process.returncode)}); its log is {log}")


async def _stop(process: asyncio.subprocess.Process, *, patience_s: float) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(patience_s):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _how_it_ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _reason(log: Path) -> str:
    """What llama.cpp's log gives as the reason of a failed load, in its own words."""
    with suppress(OSError):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if found := re.search(r"error loading model: (?!.*failed to load model)(.+)", line):
                return found[1].strip()[:160]
    return "its contents cannot be read"


# What runs in the child


def serve() -> None:
    """The child's whole life: load, say where it listens, stay until the parent is gone."""
    order = msgspec.json.decode(sys.argv[1], type=_Order)
    threading.Thread(target=_end_with_parent, args=(order.parent,), daemon=True).start()
    # The report has the pipe for itself; whatever native code prints goes to the log.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        import xllamacpp
    except ImportError as error:
        return _tell(pipe, _Report(failed="import", why=" ".join(str(error).split())))
    params = xllamacpp.CommonParams()
    params.model.path = order.path
    params.hostnames, params.port = ["127.0.0.1"], 0  # a port that the system finds free
    params.n_parallel, params.n_ctx = order.slots, order.n_ctx
    params.fit_params = False  # the context is what was asked for, not what the memory suggests
    params.cache_prompt, params.cache_ram_mib = False, 0
    params.ui, params.endpoint_slots = False, False
    params.cors_origins = "http://127.0.0.1"  # no page in the user's browser may ask it
    params.verbosity = 2  # warnings and errors: the log stays small over thousands of answers
    if order.threads is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order.threads
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        return _tell(pipe, _Report(failed="load", why=str(error)))
    _tell(pipe, _Report(url=server.listening_address))
    threading.Event().wait()
    return None


def _tell(pipe: BinaryIO, report: _Report) -> None:
    pipe.write(msgspec.json.encode(report) + b"\n")
    pipe.close()


def _end_with_parent(parent: int) -> None:
    """Ends this process when its standard input closes, or (a forked sibling may hold that open) its parent changes."""
    closed = threading.Event()

    def read() -> None:
        with suppress(OSError):
            while os.read(0, 1024):
                pass
        closed.set()

    threading.Thread(target=read, daemon=True).start()
    while not closed.wait(1.0):
        if os.name == "posix" and os.getppid() != parent:
            break
    os._exit(0)
