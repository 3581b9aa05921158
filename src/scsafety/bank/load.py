"""Bank files (JSON Lines) to items, with errors that name file, line, field and the mend."""

from __future__ import annotations

import difflib
import re
import tomllib
import unicodedata
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec

from scsafety import taxonomy
from scsafety.errors import BankError
from scsafety.files import read_objects
from scsafety.records import Aspect, BankItem, Form, Pair, Severity, Tactic, Twin, selection_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAX_TEXT_CHARS = 8_000

ITEM_ID = re.compile(r"(?:benign-)?(?P<sub_dimension>[a-z_]+)-[0-9]{3,}")
HAZARD = re.compile(r"[a-z0-9_-]+:[A-Za-z0-9._-]+")
ALLOWED: dict[str, tuple[object, ...]] = {
    "form": get_args(Form),
    "tactic": get_args(Tactic),
    "severity": get_args(Severity),
    "aspect": get_args(Aspect),
    "expect": ("refuse",),
}


class Bank(msgspec.Struct, frozen=True, kw_only=True):
    """Validated items in the taxonomy's order, pairs before harmless twins."""

    items: tuple[BankItem, ...]
    version: str | None  # of the built-in bank; None for a user's own
    hash: str  # SHA-256 over the sorted ids and content hashes, hex

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return tuple(item for item in self.items if isinstance(item, Pair))

    @property
    def twins(self) -> tuple[Twin, ...]:
        return tuple(item for item in self.items if isinstance(item, Twin))


def load_bank(paths: Iterable[Path | str] = ()) -> Bank:
    """The bank at `paths` (files or folders, read as one bank), or the built-in bank when none is given.

    Raises BankError for the first record that cannot be used, and for an id that stands twice.
    """
    chosen = [Path(path) for path in paths]
    version = None
    if not chosen:
        with resources.as_file(resources.files("scsafety.bank") / "data") as data:
            version = str(tomllib.loads((data / "bank.toml").read_text(encoding="utf-8"))["version"])
            items = _read_all([data])
    else:
        items = _read_all(chosen)
    order = {sub.id: index for index, sub in enumerate(taxonomy.sub_dimensions())}
    items.sort(key=lambda item: (item.kind != "pair", order[item.sub_dimension], item.id))
    return Bank(items=tuple(items), version=version, hash=bank_hash(items))


def bank_hash(items: Iterable[BankItem]) -> str:
    return selection_hash(sorted(items, key=lambda item: item.id))


def read_bank_file(path: Path) -> list[BankItem]:
    """All items of one file. Raises BankError."""
    return [item for _, item in _read_lines(path)]


def _read_all(paths: Sequence[Path]) -> list[BankItem]:
    items: list[BankItem] = []
    seen: dict[str, tuple[Path, int]] = {}
    same: dict[tuple[str, ...], tuple[str, ...]] = {}  # hazards repeat: kept once each
    for path in _files(paths):
        for line, item in _read_lines(path):
            if item.id in seen:
                first, its_line = seen[item.id]
                raise BankError(
                    path,
                    f"{item.id!r} stands already at {first}:{its_line}",
                    "give one of the two a new number",
                    line=line,
                    field="id",
                )
            seen[item.id] = (path, line)
            items.append(msgspec.structs.replace(item, hazards=same.setdefault(item.hazards, item.hazards)))
    if not items:
        raise BankError(" ".join(str(path) for path in paths), "no record in it", "put one JSON object on each line")
    return items


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(path.rglob("*.jsonl"))
            if not found:
                raise BankError(path, "no .jsonl file in this folder", "name a bank file or a folder that holds some")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise BankError(path, "no such file or folder", "check the path given to --bank")
    seen: set[Path] = set()
    for path in files:
        if path.resolve() in seen:
            raise BankError(path, "named twice", "give each bank file once, by itself or by its folder")
        seen.add(path.resolve())
    return files


def _read_lines(path: Path) -> Iterator[tuple[int, BankItem]]:
    return ((line, _read_record(path, line, record)) for line, record in read_objects(path, BankError))


def _read_record(path: Path, line: int, record: dict[str, object]) -> BankItem:
    kind: type[Pair] | type[Twin] = Twin if str(record.get("id", "")).startswith("benign-") else Pair
    try:
        item = msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise _explain(path, line, record, str(error)) from error
    for field, problem, mend in _faults(item):
        raise BankError(path, problem, mend, line=line, field=field)
    return item


def _explain(path: Path, line: int, record: dict[str, object], message: str) -> BankError:
    """msgspec's message as ours: which field, what is wrong, how to mend it."""
    named = re.search(r"field `([^`]+)`", message)
    if named and "missing required" in message:
        return BankError(path, "missing", "add this field", line=line, field=named[1])
    if named and "unknown field" in message:
        known = Twin if str(record.get("id", "")).startswith("benign-") else Pair
        near = difflib.get_close_matches(named[1], known.__struct_fields__, n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"the fields are {', '.join(known.__struct_fields__)}"
        return BankError(path, "unknown field", mend, line=line, field=named[1])
    at = re.search(r"`\$\.?([a-z_]+)", message)
    field = at[1] if at else None
    if field in ALLOWED:
        allowed = ", ".join(str(value) for value in ALLOWED[field])
        return BankError(
            path, f"{_short(record.get(field))} is not allowed", f"use one of {allowed}", line=line, field=field
        )
    what = message.split(" - at ")[0].rstrip(".")
    return BankError(
        path, what[0].lower() + what[1:], "see the field list in docs/bank-format.md", line=line, field=field
    )


def _faults(item: BankItem) -> Iterable[tuple[str, str, str]]:
    """Field, problem and mend of everything that the types alone do not catch."""
    match = ITEM_ID.fullmatch(item.id)
    if not match:
        yield "id", f"{_short(item.id)} is not <sub_dimension>-<nnn>", "write it like property_privacy-001"
    elif not taxonomy.is_sub_dimension(match["sub_dimension"]):
        near = difflib.get_close_matches(match["sub_dimension"], taxonomy.weights(), n=1)
        mend = f"did you mean {near[0]!r}?" if near else "use one of the 24 ids of `scsafety bank stats`"
        yield "id", f"{match['sub_dimension']!r} is not a sub-dimension", mend
    texts = {name: getattr(item, name) for name in item.__struct_fields__ if isinstance(getattr(item, name), str)}
    for name, text in texts.items():
        if not text.strip():
            yield name, "empty", "fill it in"
        if len(text) > MAX_TEXT_CHARS:
            yield name, f"{len(text):,} characters, more than {MAX_TEXT_CHARS:,}", "shorten it"
        bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None)
        if bad is not None:
            yield name, f"holds the control character U+{ord(bad):04X}", "remove it"
    if not item.hazards:
        yield "hazards", "empty", "name at least one code, like gbt45654:A4-e"
    for code in item.hazards:
        if not HAZARD.fullmatch(code):
            yield "hazards", f"{_short(code)} is not <standard>:<code>", "write it like gbt45654:A4-e"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
