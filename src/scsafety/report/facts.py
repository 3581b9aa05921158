"""What is known of a model beside its scores: who makes it, whether its weights are open, where it is from, how large it is.

Nothing of it is guessed: it is in `models.toml` here for the embedded models, or in a file of the user's.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path  # noqa: TC003 (read at run time)
from typing import TYPE_CHECKING, Literal

import msgspec

from scsafety.errors import ConfigError
from scsafety.report.lines import Both

if TYPE_CHECKING:
    from collections.abc import Mapping

Licence = Literal["open", "closed"]
Origin = Literal["china", "abroad"]
Size = Literal["small", "medium", "large"]

LICENCES: dict[str, Both] = {"open": Both("开放权重", "open weights"), "closed": Both("闭源", "closed")}
ORIGINS: dict[str, Both] = {"china": Both("中国", "China"), "abroad": Both("国外", "abroad")}
SIZES: dict[str, Both] = {
    "small": Both("至多 14B", "up to 14B"),
    "medium": Both("14B 以上至 72B", "above 14B, up to 72B"),
    "large": Both("72B 以上", "above 72B"),
}
SMALL_B, MEDIUM_B = 14.0, 72.0  # billions of parameters


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None: not known."""

    vendor: str | None = None
    licence: Licence | None = None
    origin: Origin | None = None
    size_b: float | None = None  # billions of parameters

    @property
    def size(self) -> Size | None:
        if self.size_b is None:
            return None
        return "small" if self.size_b <= SMALL_B else "medium" if self.size_b <= MEDIUM_B else "large"


UNKNOWN = ModelFacts()


def load_facts(path: Path | None = None) -> dict[str, ModelFacts]:
    """Facts by the model's name as `--model` has it; those of `path` win. Raises ConfigError.

    A file of one's own:

        ["deepseek/deepseek-chat"]
        vendor = "深度求索"
        licence = "open"
        origin = "china"
        size_b = 671
    """
    ours = (resources.files("scsafety.report") / "data" / "models.toml").read_text(encoding="utf-8")
    found = _read(tomllib.loads(ours), "models.toml")
    if path is None:
        return found
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--models {path}: {error.strerror}; give a TOML file") from error
    except ValueError as error:
        raise ConfigError(f"--models {path}: not TOML in UTF-8 ({error})") from error
    return found | _read(given, str(path))


def _read(tables: Mapping[str, object], where: str) -> dict[str, ModelFacts]:
    found = {}
    for name, table in tables.items():
        try:
            found[name] = msgspec.convert(table, ModelFacts)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f'--models {where}: ["{name}"]: {error}; a table may have vendor, licence (open, closed), origin '
                "(china, abroad), size_b (billions of parameters)"
            ) from error
    return found
