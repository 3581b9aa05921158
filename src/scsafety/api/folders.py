"""Where runs are: found by folder or name, named when they are new, and what they say that they are."""

from __future__ import annotations

import hashlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from scsafety.engine.settings import RunSettings
from scsafety.errors import ConfigError, StoreError
from scsafety.store import Store
from scsafety.targets.models import cache_dir

DB_NAME = "run.db"
SUMMARY = "summary.json"
DEFAULT_OUT = "runs"
SLUG_CHARS = 60


def checks_dir() -> Path:
    """Where checks of judges are kept: beside the models."""
    return cache_dir(os.environ).parent / "checks"


def find_run(run: str | Path, out: str | Path = DEFAULT_OUT) -> Path:
    """The folder of a run given as folder, `run.db` or name below `out`. Raises StoreError."""
    given = Path(run)
    for folder in (given, given.parent if given.name == DB_NAME else given, Path(out) / given):
        if (folder / DB_NAME).is_file():
            return folder
    raise StoreError(f"{run}: no run there; `scsafety runs list` shows the runs of ./{out}")


def load_settings(run: str | Path, out: str | Path = DEFAULT_OUT) -> RunSettings:
    """What a stored run is. Raises StoreError."""
    with Store.open(find_run(run, out) / DB_NAME) as store:
        return settings_of(store)


def settings_of(store: Store) -> RunSettings:
    text = store.meta("settings")
    if text is None:
        raise StoreError(f"{store.path}: holds no settings; it was not made by `scsafety run`")
    try:
        return msgspec.json.decode(text, type=RunSettings)
    except msgspec.MsgspecError as error:
        raise StoreError(f"{store.path}: its settings cannot be read ({error}); was it edited?") from error


def new_folder(name: str | None, model: str, out: Path) -> Path:
    """Where a run goes that is called `name`, or after its model. Raises ConfigError where one is there."""
    if name is not None and not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(f"--name {name!r}: use letters, digits, dot, dash and underscore")
    folder = out / (name or _default_name(model, out))
    if (folder / DB_NAME).exists():
        raise ConfigError(
            f"{folder} exists already: `scsafety resume {folder.name}` goes on with it, or choose another --name"
        )
    return folder


def _default_name(model: str, out: Path) -> str:
    slug = re.sub(r"[^\w.-]+", "-", model.removeprefix("gguf:")).strip("-.").lower()
    if len(slug) > SLUG_CHARS:  # two long names with one ending stay apart
        slug = f"{slug[-SLUG_CHARS:].lstrip('-.')}-{hashlib.sha256(model.encode()).hexdigest()[:6]}"
    stem = f"{slug}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    taken = (name for n in range(1, 1_000) if not (out / (name := stem if n == 1 else f"{stem}-{n}")).exists())
    return next(taken)
