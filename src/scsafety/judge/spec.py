"""What a user may write behind `--judge`, read into a tree. Pure; nothing is opened here.

offline   offline-large   offline-fast       without an endpoint
offline:DIR                                  `offline` as `judge-train --out DIR` made it anew
deepseek/deepseek-chat   gguf:PATH           any model that can be a target
guard:qwen3guard   guard:qwen3guard/NAME   guard:FILE.toml
panel:A,B,C                                  median of the members
cascade:A,B   cascade:A@0.8,B                A decides where its confidence is enough, else B
chain:A,B                                    B where A is blocked or gives no verdict
J+thinking                                   J, shown the thinking too
J*3                                          J three times, median
match                                        of a suite whose answers are all read by rule
NAME                                         a plug-in, see plugin.py
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

OFFLINE_JUDGES = ("offline", "offline-large", "offline-fast")
MATCH = "match"
THINKING = "+thinking"
COMBINATIONS = ("panel", "cascade", "chain")
NAMES = (*OFFLINE_JUDGES, MATCH, *COMBINATIONS, "guard", "gguf", "human")  # no plug-in may take one
PLUGIN = re.compile(r"[A-Za-z][\w.-]*")
REPEATS = re.compile(r"\*([0-9]+)$")
THRESHOLD = re.compile(r"@([0-9.]+)$")
MAX_REPEATS = 25


class OfflineSpec(msgspec.Struct, frozen=True):
    text: str  # of each: as the user wrote it, which is the judge's id
    folder: Path | None = None  # of a judge that the user trained


class MatchSpec(msgspec.Struct, frozen=True):
    text: str


class PluginSpec(msgspec.Struct, frozen=True):
    text: str  # its name; whether there is one is not known here


class ModelSpec(msgspec.Struct, frozen=True):
    text: str  # `provider/model`, `local/NAME`, `gguf:PATH`


class GuardSpec(msgspec.Struct, frozen=True):
    text: str
    guard: str  # a name of guards.toml, or the path of a file of the user's
    model: str | None  # the name that the endpoint serves it under; None: the table's


class ThinkingSpec(msgspec.Struct, frozen=True):
    text: str
    inner: JudgeSpec


class RepeatedSpec(msgspec.Struct, frozen=True):
    text: str
    inner: JudgeSpec
    times: int


class CombinedSpec(msgspec.Struct, frozen=True):
    text: str
    how: Literal["panel", "cascade", "chain"]
    members: tuple[JudgeSpec, ...]
    threshold: float | None = None  # a cascade's, as the user set it


JudgeSpec = OfflineSpec | MatchSpec | PluginSpec | ModelSpec | GuardSpec | ThinkingSpec | RepeatedSpec | CombinedSpec


def parse_judge(text: str) -> JudgeSpec:
    """The tree of what the user wrote. Raises ConfigError, which says what can be written."""
    if found := REPEATS.search(text):
        times = int(found[1])
        if not 1 < times <= MAX_REPEATS:
            raise ConfigError(f"--judge {text!r}: repeat it 2 to {MAX_REPEATS} times, like J*3")
        return RepeatedSpec(text, parse_judge(text[: found.start()]), times)
    how, colon, rest = text.partition(":")
    if colon and how in COMBINATIONS:
        return _combined(text, how, rest)
    if text.endswith(THINKING):
        return ThinkingSpec(text, parse_judge(text.removesuffix(THINKING)))
    if text in OFFLINE_JUDGES:
        return OfflineSpec(text)
    if colon and how == "offline" and rest:
        return OfflineSpec(text, Path(rest).expanduser())
    if text == MATCH:
        return MatchSpec(text)
    if colon and how == "guard" and rest:
        if rest.endswith(".toml"):
            return GuardSpec(text, rest, None)
        name, _, model = rest.partition("/")
        return GuardSpec(text, name, model or None)
    if "/" in text or text.startswith("gguf:"):
        return ModelSpec(text)
    if PLUGIN.fullmatch(text):
        return PluginSpec(text)
    raise ConfigError(
        f"--judge {text!r} is unknown; give {', '.join(OFFLINE_JUDGES)}, offline:DIR, provider/model, guard:NAME, "
        "panel:A,B,C, cascade:A,B or chain:A,B"
    )


def models_of(spec: JudgeSpec) -> Iterator[str]:
    """Every model that the judge needs as `parse_local` and `resolve` know it, guards left out."""
    if isinstance(spec, ModelSpec):
        yield spec.text
    for member in members_of(spec):
        yield from (
            model for model in models_of(member) for _ in range(spec.times if isinstance(spec, RepeatedSpec) else 1)
        )


def networks_of(spec: JudgeSpec) -> Iterator[OfflineSpec]:
    """Every judge in this one that runs a model here by itself; a guard leaves 1 against 2 to `offline`."""
    if isinstance(spec, GuardSpec):
        yield OfflineSpec("offline")
    elif isinstance(spec, OfflineSpec) and spec.text != "offline-fast":
        yield spec
    for member in members_of(spec):
        yield from networks_of(member)


def members_of(spec: JudgeSpec) -> tuple[JudgeSpec, ...]:
    """The judges directly inside this one."""
    if isinstance(spec, ThinkingSpec | RepeatedSpec):
        return (spec.inner,)
    return spec.members if isinstance(spec, CombinedSpec) else ()


def _combined(text: str, how: str, rest: str) -> CombinedSpec:
    names = [name.strip() for name in rest.split(",")]
    if len(names) < 2 or not all(names) or (how == "cascade" and len(names) > 2):
        raise ConfigError(f"--judge {text!r}: write {'cascade:FIRST,SECOND' if how == 'cascade' else f'{how}:A,B,C'}")
    threshold = None
    if how == "cascade" and (found := THRESHOLD.search(names[0])):
        names[0] = names[0][: found.start()]
        try:
            threshold = float(found[1])
        except ValueError:
            threshold = -1.0
        if not 0 <= threshold <= 1:
            raise ConfigError(f"--judge {text!r}: the threshold behind @ is a confidence from 0 to 1")
    if any(name.partition(":")[0] in COMBINATIONS for name in names):
        raise ConfigError(f"--judge {text!r}: a {how} holds single judges, not another panel, cascade or chain")
    if len(set(names)) < len(names):
        raise ConfigError(f"--judge {text!r}: the same judge stands twice; J*3 asks one judge several times")
    members = tuple(parse_judge(name) for name in names)
    return CombinedSpec(text, cast("Literal['panel', 'cascade', 'chain']", how), members, threshold)
