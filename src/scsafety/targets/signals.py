"""`signals.toml`, typed: what an endpoint's words mean, one list for all vendors. That file says what each field means."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import msgspec

from scsafety.records import Side  # noqa: TC001 - msgspec reads the annotation


class CodePrefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prefix: str
    side: Side = "unknown"


class Pattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    regex: str
    side: Side = "unknown"


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    http_status: frozenset[int]
    finish_reason: frozenset[str]
    code: frozenset[str]
    code_prefix: tuple[CodePrefix, ...]
    type: frozenset[str]
    message: tuple[Pattern, ...]
    message_start: str
    param_of_input: frozenset[str]
    roles: dict[str, Side]
    not_a_block: frozenset[str]


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: frozenset[str] = frozenset()
    message_regex: str | None = None
    finish_reason: frozenset[str] = frozenset()


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    message_regex: str
    names: tuple[str, ...]
    never: frozenset[str]


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    message_regex: str


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cap_s: float
    resets: tuple[tuple[str, str], ...]


class Signals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    block: Block
    rate: Kind
    quota: Kind
    key: Kind
    not_found: Kind
    too_long: Kind
    transient: Kind
    loading: Words
    parameter: Parameter
    retry: Retry


@cache
def signals() -> Signals:
    text = resources.files("scsafety.targets").joinpath("signals.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Signals)
