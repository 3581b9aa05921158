"""How far a bank covers the risks of another standard. Pure but for reading the packaged table."""

from __future__ import annotations

import difflib
import tomllib
from collections import Counter
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from scsafety.errors import ConfigError
from scsafety.records import Pair

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scsafety.records import BankItem

QUESTIONS_A_PAIR = 2


class Exam(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a standard asks of banks and answers; shares are 0 to 1."""

    questions: int
    should_refuse: int
    should_refuse_each: int
    should_refuse_groups: tuple[str, ...]
    harmless: int
    harmless_each: int
    sample: int
    refusal_sample: int
    pass_rate: float
    refusal_rate: float
    over_refusal_rate: float


class Standard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    zh: str
    en: str
    codes: dict[str, str]  # code to name, in the standard's order
    codes_en: dict[str, str] = {}  # where `codes` are not English
    minimum: dict[str, int] = {}  # questions, by the letters and digit before the dash
    out_of_scope: dict[str, str] = {}  # code to the reason
    out_of_scope_en: dict[str, str] = {}
    exam: Exam | None = None  # None: the standard sets no thresholds


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """One risk of a standard, and what the bank has for it."""

    code: str
    name: str
    name_en: str
    pairs: int
    questions: int
    should_refuse: int  # questions of pairs with `expect: refuse`
    twins: int  # harmless ones that only seem to touch it
    minimum: int | None
    note: str | None
    note_en: str | None

    @property
    def enough(self) -> bool | None:
        return None if self.minimum is None else self.questions >= self.minimum


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    standard: tuple[Standard, ...]


@cache
def standards() -> dict[str, Standard]:
    text = resources.files("scsafety.bank").joinpath("standards.toml").read_text(encoding="utf-8")
    return {standard.id: standard for standard in msgspec.convert(tomllib.loads(text), _Table).standard}


def standard_named(name: str) -> Standard:
    """Raises ConfigError for an unknown one."""
    if name not in standards():
        near = difflib.get_close_matches(name, standards(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(standards())}"
        raise ConfigError(f"--standard {name!r} is unknown; {hint}")
    return standards()[name]


def coverage(standard: Standard, items: Iterable[BankItem]) -> list[Coverage]:
    """One row a code, in the standard's order; an item counts for every code that it names."""
    pairs: Counter[str] = Counter()
    refuse: Counter[str] = Counter()
    twins: Counter[str] = Counter()
    for item in items:
        codes = [code for prefix, _, code in (h.partition(":") for h in item.hazards) if prefix == standard.id]
        if isinstance(item, Pair):
            pairs.update(codes)
            refuse.update(codes if item.expect == "refuse" else ())
        else:
            twins.update(codes)
    return [
        Coverage(
            code=code,
            name=name,
            name_en=standard.codes_en.get(code, name),
            pairs=pairs[code],
            questions=pairs[code] * QUESTIONS_A_PAIR,
            should_refuse=refuse[code] * QUESTIONS_A_PAIR,
            twins=twins[code],
            minimum=standard.minimum.get(code.partition("-")[0]),
            note=standard.out_of_scope.get(code),
            note_en=standard.out_of_scope_en.get(code, standard.out_of_scope.get(code)),
        )
        for code, name in standard.codes.items()
    ]
