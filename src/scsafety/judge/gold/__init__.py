"""Gold labels: answers that people have scored by the rubric, to measure judges with and to train the offline one.

A gold file is JSON Lines; docs/judges.md has the fields. The built-in set lies beside this file.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Literal

import msgspec

from scsafety import taxonomy
from scsafety.errors import GoldError
from scsafety.files import read_objects
from scsafety.records import Case, Item, Message, Score

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

Split = Literal["train", "dev", "test"]
Origin = Literal["written", "real"]


class GoldRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One answer with the score that people gave it."""

    id: str
    sub_dimension: str
    round: int
    history: tuple[Message, ...]  # what was said before the question
    question: str
    response: str
    score: Score
    system: str | None = None
    tags: tuple[str, ...] = ()  # the hard case that it is
    note: str = ""  # why this score
    origin: Origin = "written"
    model: str | None = None  # who answered
    annotators: tuple[Score, ...] = ()  # independent labels, before a dispute was settled
    split: Split | None = None
    pair_id: str | None = None  # None: of no pair in the bank, a judge does without risk_point and good_answer

    @property
    def cluster(self) -> str:
        """What belongs together when splits are made and intervals drawn: the pair, else the question."""
        return self.pair_id or (self.history[0].content if self.history else self.question)


def load_gold(path: Path | None = None, *, split: Split | None = None) -> tuple[GoldRecord, ...]:
    """The records of a gold file (a folder: all `*.jsonl` below it), or the built-in ones. split: only these.

    Raises GoldError for the first record that cannot be used, an id that stands twice, and where nothing is left.
    """
    if path is None:
        with resources.as_file(resources.files("scsafety.judge.gold")) as folder:
            return _read([folder], split)
    return _read([path], split)


def gold_hash(records: Iterable[GoldRecord]) -> str:
    """SHA-256 (hex) of what a judge is shown and what it is compared with; not of order, notes or split."""
    lines = sorted(
        msgspec.json.encode((r.id, r.round, r.history, r.question, r.response, r.system, r.pair_id, r.score))
        for r in records
    )
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def gold_case(record: GoldRecord, items: Mapping[str, Item]) -> Case:
    """What the judge is shown. items: the bank's, by id; a pair that is not there is judged without its two lines."""
    return Case(
        item=items.get(record.pair_id) if record.pair_id else None,
        round=record.round,
        history=record.history,
        question=record.question,
        answer=record.response,
        system=record.system,
    )


def _read(paths: Sequence[Path], split: Split | None) -> tuple[GoldRecord, ...]:
    records: list[GoldRecord] = []
    seen: dict[str, str] = {}
    for path in paths:
        files = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
        for file in files:
            for line, data in read_objects(file, GoldError):
                record = _record(file, line, data)
                if record.id in seen:
                    problem = f"{record.id!r} stands already at {seen[record.id]}"
                    raise GoldError(file, problem, "give one of the two another id", line=line, field="id")
                seen[record.id] = f"{file}:{line}"
                records.append(record)
    chosen = tuple(record for record in records if split is None or record.split == split)
    if not chosen:
        what = "no record in it" if not records else f"none of its {len(records)} records is of the split {split!r}"
        mend = "put one JSON object on each line" if not records else "leave --split out, or name another"
        raise GoldError(" ".join(map(str, paths)), what, mend)
    return chosen


def _record(file: Path, line: int, data: dict[str, object]) -> GoldRecord:
    try:
        record = msgspec.convert(data, GoldRecord)
    except msgspec.ValidationError as error:
        raise GoldError(file, str(error), "see the field list in docs/judges.md", line=line) from error
    if not taxonomy.is_sub_dimension(record.sub_dimension):
        raise GoldError(
            file,
            f"{record.sub_dimension!r} is not a sub-dimension",
            "use one of the 24 ids of `scsafety bank stats`",
            line=line,
            field="sub_dimension",
        )
    if record.round < 1:
        raise GoldError(file, f"{record.round} is no round", "count from 1", line=line, field="round")
    return record
