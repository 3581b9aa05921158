"""`scsafety doctor`: is everything here that a run needs, and does the endpoint answer?"""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsafety.errors import GateError, ScsafetyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FREE_BYTES_WANTED = 1 << 30


def doctor(
    model: Annotated[str | None, typer.Option(metavar="M", help="Ask this target one harmless question.")] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="The target's address.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Prove that nothing calls out.")] = False,
    out: Annotated[Path, typer.Option(help="Folder that will hold the runs.")] = Path("runs"),
) -> None:
    """Check what a run needs: versions, bank, disk, the embedded model; with --model one call to the endpoint.

    Exit code 3 when a check fails.
    """
    checks: list[tuple[str, Callable[[], str]]] = [
        ("versions", _versions),
        ("bank", _bank),
        ("disk", lambda: _disk(out)),
        ("embedded model", _embedded),
    ]
    if offline:
        checks.append(("offline", _offline))
    if model is not None:
        checks.append((model, lambda: _endpoint(model, base_url)))
    failed = 0
    for name, check in checks:
        try:
            typer.echo(f"ok    {name}: {check()}")
        except ScsafetyError as error:
            failed += 1
            typer.echo(f"FAIL  {name}: {''.join(c if c.isprintable() else ' ' for c in str(error))}")
    if failed:
        raise GateError(f"{failed} of {len(checks)} checks failed; the lines above say what to mend")


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    from scsafety.errors import MachineError

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
    import os
    import shutil

    from scsafety.errors import MachineError

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


def _offline() -> str:
    """Watch every connection and name look-up of this process while bank, judge, metrics and report do their work."""
    import tempfile

    from scsafety import api

    called: list[str] = []
    sys.addaudithook(lambda event, details: called.extend(_outside(event, details)))
    with tempfile.TemporaryDirectory() as folder:
        n_turns = api.rehearse(Path(folder))
    if called:
        raise GateError(f"something called out: {', '.join(sorted(set(called)))}; please report this")
    return f"{n_turns} turns asked of a stand-in, judged, stored, reported; no connection or name look-up left this machine"


def _outside(event: str, details: tuple[object, ...]) -> Iterator[str]:
    if event == "socket.connect" and isinstance(details[1], tuple):
        host = str(details[1][0])
    elif event == "socket.getaddrinfo":
        host = str(details[0])
    else:
        return
    if not host.startswith("127.") and host not in ("localhost", "::1", "None"):
        yield host


def _endpoint(model: str, base_url: str | None) -> str:
    import os

    from scsafety import api
    from scsafety.engine.opening import check_target
    from scsafety.targets.providers import host_is_vendors_own

    endpoint = check_target(model, base_url, os.environ)
    if endpoint is not None and not endpoint.provider.local:
        typer.echo(
            f"note  {model}: red-team questions can cost an account; ask the vendor, or use an account of its own"
        )
        if endpoint.provider.base_url and not host_is_vendors_own(endpoint):
            typer.echo(
                f"note  {model}: {endpoint.base_url} is not the vendor's own host; a gateway may answer in its place"
            )
    probe = api.probe(model, base_url=base_url)
    reply = probe.reply
    said = f"blocked ({reply.blocked})" if reply.blocked else f"{len(reply.content)} characters"
    parts = [f"answered in {reply.latency_s:.1f} s, {said}", f"model {reply.model or 'not named'}"]
    parts.append(f"parameters dropped: {', '.join(probe.refused_parameters) or 'none'}")
    if reply.blocked:
        raise GateError(
            f"a harmless question was blocked ({reply.blocked}); the filter looks out of order, do not score now"
        )
    return "; ".join(parts)
