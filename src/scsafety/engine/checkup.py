"""Is everything here that a run needs? Each check is a line: what is well, what is worth knowing, what to mend."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scsafety.engine.diagnosis import Finding
from scsafety.errors import ConfigError, GateError, MachineError, ScsafetyError
from scsafety.targets.providers import is_loopback, providers, resolve
from scsafety.targets.reach import proxy_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FREE_BYTES_WANTED = 1 << 30
# beside the model's own bytes: 8,192 tokens of context and llama.cpp's buffers; a guess on the high side
EMBEDDED_OVERHEAD_BYTES = 512 << 20
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def looked_at(name: str, check: Callable[[], str]) -> Finding:
    """What a check says; its error is the finding."""
    try:
        return Finding("ok", name, check())
    except ScsafetyError as error:
        return Finding("FAIL", name, str(error))


def machine_findings(out: Path) -> Iterator[Finding]:
    """Versions, bank, disk and the embedded model."""
    yield looked_at("versions", _versions)
    yield looked_at("bank", _bank)
    yield looked_at("disk", lambda: _disk(out))
    yield looked_at("embedded model", _embedded)


def offline_finding(rehearse: Callable[[Path], int]) -> Finding:
    return looked_at("offline", lambda: _offline(rehearse))


def memory_finding(name: str, wanted_bytes: int, free_bytes: int | None) -> Finding:
    """Whether an embedded model of that size fits into what is free.

    >>> memory_finding("memory", 400 << 20, 300 << 20).level
    'FAIL'
    """
    if free_bytes is None:
        return Finding(
            "note", name, f"how much is free is not known here; the model takes about {wanted_bytes >> 20} MiB"
        )
    said = f"{free_bytes >> 20} MiB free, the model and its context take about {wanted_bytes + EMBEDDED_OVERHEAD_BYTES >> 20} MiB"
    if free_bytes < wanted_bytes:
        return Finding("FAIL", name, f"{said}; close other programs, or choose a smaller model")
    tight = free_bytes < wanted_bytes + EMBEDDED_OVERHEAD_BYTES
    return Finding("note", name, f"{said}: it will be slow") if tight else Finding("ok", name, said)


def free_memory() -> int | None:
    """Bytes that this machine and the container, where there is one, can still give; None where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return _free_memory_elsewhere()
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no container, or `max`
        return free
    return min(free, max(limit - used, 0))


def _free_memory_elsewhere() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows, macOS
        return None


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    names = ("scsafety", "aiohttp", "msgspec", "numpy", "xllamacpp")
    try:
        found = ", ".join(f"{name} {version(name)}" for name in names)
    except PackageNotFoundError as error:
        raise MachineError(f"{error.name} is missing; `pip install {error.name}`") from error
    return f"Python {platform.python_version()}, {found}"


def _bank() -> str:
    from scsafety.bank import load_bank

    bank = load_bank()
    return f"{len(bank.pairs)} pairs, {len(bank.twins)} harmless twins, version {bank.version}, hash {bank.hash[:12]}"


def _disk(out: Path) -> str:
    folder = next(parent for parent in (out, *out.absolute().parents) if parent.exists())
    if not os.access(folder, os.W_OK):
        raise MachineError(f"{folder} cannot be written; choose another folder with --out")
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_WANTED:
        raise MachineError(f"{folder} has {free >> 20} MiB left; make room, or choose another disk with --out")
    return f"{folder} is writable, {free >> 30} GiB free"


def _embedded() -> str:
    from scsafety.targets.models import cached, models

    return "; ".join(f"{m.id} {'is here' if cached(m) else 'is fetched at first use'}" for m in models())


def _offline(rehearse: Callable[[Path], int]) -> str:
    """Watch every connection and name look-up of this process while bank, judge, metrics and report do their work."""
    called: list[str] = []
    sys.addaudithook(lambda event, details: called.extend(_outside(event, details)))
    with tempfile.TemporaryDirectory() as folder:
        n_turns = rehearse(Path(folder))
    if called:
        raise GateError(f"something called out: {', '.join(sorted(set(called)))}; please report this")
    if led_away := addresses_elsewhere(os.environ):
        raise GateError(f"the environment would lead calls to this machine elsewhere: {'; '.join(led_away)}; unset it")
    named = addresses_named(os.environ)
    only = f"; called only by a run that names such a model: {', '.join(named)}" if named else ""
    return (
        f"{n_turns} turns asked of a stand-in, judged, stored, reported; no connection or name look-up left this machine, "
        f"and no variable of the environment would make a run on it call out{only}"
    )


def _outside(event: str, details: tuple[object, ...]) -> Iterator[str]:
    if event == "socket.connect" and isinstance(details[1], tuple):
        host = str(details[1][0])
    elif event == "socket.getaddrinfo":
        host = str(details[0])
    else:
        return
    if not host.startswith("127.") and host not in ("localhost", "::1", "None"):
        yield host


def addresses_elsewhere(environ: Mapping[str, str]) -> list[str]:
    """What would send a question that is meant for this machine to another: a proxy, a self-hosted server's address."""
    found = [f"a proxy stands before {host}" for host in LOOPBACK_HOSTS if proxy_for(f"http://{host}:1/v1")]
    for row in providers():
        if row.local and row.base_url_var and environ.get(row.base_url_var):
            try:
                away = not is_loopback(resolve(f"{row.id}/x", environ=environ).base_url)
            except ConfigError:
                continue  # an address that cannot be used is not called
            if away:
                found.append(f"{row.base_url_var} is another machine's")
    return found


def addresses_named(environ: Mapping[str, str]) -> list[str]:
    """Variables that are set and hold an address which nothing calls until the user names a model that needs it."""
    from scsafety.targets.models import models

    names = {f"{scheme}_proxy" for scheme in ("http", "https")} | {row.base_url_var for row in providers()}
    names |= {hub.endpoint_var for model in models() for hub in model.hubs}
    return sorted(name for name in environ if environ[name].strip() and (name in names or name.lower() in names))
