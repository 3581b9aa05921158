"""The explorer of a run's dialogues: a page with a light index of all of them, their texts in shards that it loads when needed.

The same texts, covers and safety as in `page`: every text passes `visible` before it goes into a file, and the page's script puts
it nowhere but into text nodes. What a shard holds is written and forgotten before the next one is read.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety import taxonomy
from scsafety.errors import MachineError
from scsafety.files import write_whole
from scsafety.records import FORMS, TACTICS
from scsafety.report.html import content_policy, environment, source
from scsafety.report.lazy import lazy_script
from scsafety.report.page import RESULTS, SIDES, counts_of, stream_dialogues, without_risky
from scsafety.report.redact import Part, risky
from scsafety.report.tables import KINDS
from scsafety.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from scsafety.report.page import Dialogue, ShownTurn
    from scsafety.report.summary import Summary
    from scsafety.store import Store

TRANSCRIPTS, SHARDS, INDEX = "transcripts.html", "shards", "index"
SHARD_BYTES = 300_000  # at most, unless one dialogue alone is larger
START_CHARS = 60
COVERED: tuple[Part, ...] = ("question", "reasoning", "answer")  # bits 1, 2 and 4 of `cover`


class ToldTurn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A round as a shard has it: `visible` texts."""

    round: int
    question: str
    result: str
    sent: bool = True
    cover: int = 0  # which texts carry a risk
    answer: str | None = None
    reasoning: str | None = None
    blocked: str | None = None
    cut: bool = False
    finish_reason: str | None = None
    error: str | None = None
    reason: str = ""
    confidence: float | None = None
    others: tuple[tuple[str, str], ...] = ()


class ToldDialogue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str  # its permalink
    turns: tuple[ToldTurn, ...]
    system: str | None = None
    risk_point: str | None = None
    good_answer: str | None = None
    why_harmless: str | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A dialogue as the index has it."""

    item_id: str
    kind: str
    sub_dimension: str
    epoch: int
    attempt: int
    results: dict[int, str]
    cave: bool
    split: bool
    sides: tuple[str, ...]
    tactic: str | None
    form: str | None
    severity: int | None
    start: str | None  # how the question begins; None: covered

    @property
    def flags(self) -> int:
        held = (self.cave, self.split, *(side in self.sides for side in SIDES))
        return sum(1 << k for k, is_so in enumerate(held) if is_so)


def write_explorer(store: Store, summary: Summary, folder: Path, *, leave_out: bool = False) -> Path:
    """Write `transcripts.html` and its shards into `folder`; returns the page's path. Raises MachineError and StoreError.

    The shards and the index that they belong to take the place of earlier ones together.
    """
    rows: list[Row] = []
    starts: list[int] = []
    with _replaced(folder / SHARDS) as half:
        for n, shard in enumerate(
            pack(_dialogues(store, summary, leave_out=leave_out), rows, summary.judge.id), start=1
        ):
            starts.append(len(rows) - len(shard))
            write_whole(half / f"{n:02d}.js", lazy_script(f"{n:02d}", shard))
        write_whole(half / f"{INDEX}.js", lazy_script(INDEX, index_of(rows, starts)))
    path = folder / TRANSCRIPTS
    write_whole(path, render_explorer(summary, rows, leave_out=leave_out).encode())
    return path


def _dialogues(store: Store, summary: Summary, *, leave_out: bool) -> Iterator[Dialogue]:
    for of_item in stream_dialogues(store, summary):
        yield from without_risky(of_item, summary.judge.id) if leave_out else of_item


def pack(
    dialogues: Iterable[Dialogue], rows: list[Row], judge_id: str = "", *, max_bytes: int = SHARD_BYTES
) -> Iterator[list[msgspec.Raw]]:
    """The dialogues in shards; a row of each is added to `rows` no later than its shard is yielded."""
    shard: list[msgspec.Raw] = []
    held: list[Row] = []
    size = 0
    for dialogue in dialogues:
        cover = partial(_cover, dialogue, judge_id)
        told = msgspec.json.encode(_told(dialogue, cover))
        if shard and size + len(told) > max_bytes:
            rows += held
            yield shard
            shard, held, size = [], [], 0
        shard.append(msgspec.Raw(told))
        held.append(_row(dialogue, judge_id))
        size += len(told) + 1
    if shard:
        rows += held
        yield shard


def index_of(rows: Sequence[Row], starts: Sequence[int]) -> dict[str, Any]:
    """All rows in columns, what is known of an item once for all its dialogues. starts: the first row of each shard."""
    items = {row.item_id: row for row in rows}
    place = {item_id: k for k, item_id in enumerate(items)}
    subs = [sub.id for sub in taxonomy.sub_dimensions()]
    codes = list(RESULTS)
    n_rounds = max((round_ for row in rows for round_ in row.results), default=0)
    of_items = list(items.values())
    return {
        "names": {
            "codes": codes,
            "results": RESULTS,
            "sides": SIDES,
            "subs": {sub.id: (sub.zh, sub.en, sub.dimension) for sub in taxonomy.sub_dimensions()},
            "tactics": [(name, *KINDS["tactic"][name]) for name in TACTICS],
            "forms": [(name, *KINDS["form"][name]) for name in FORMS],
        },
        "items": {
            "id": [visible(row.item_id) for row in of_items],
            "twin": [int(row.kind == "benign") for row in of_items],
            "sub": [subs.index(row.sub_dimension) for row in of_items],
            "tactic": [TACTICS.index(row.tactic) if row.tactic else -1 for row in of_items],
            "form": [FORMS.index(row.form) if row.form else -1 for row in of_items],
            "severity": [row.severity or 0 for row in of_items],
            "start": [row.start for row in of_items],
        },
        "item": [place[row.item_id] for row in rows],
        "epoch": [row.epoch for row in rows],
        "attempt": [row.attempt for row in rows],
        "rounds": [
            [codes.index(row.results[k]) if k in row.results else -1 for row in rows] for k in range(1, n_rounds + 1)
        ],
        "flags": [row.flags for row in rows],
        "starts": starts,
    }


def render_explorer(summary: Summary, rows: Sequence[Row], *, leave_out: bool = False) -> str:
    """The page without its dialogues. Pure."""
    style, script = source("page.css") + source("model.css"), source("lang.js") + source("explorer.js")
    return (
        environment()
        .get_template("transcripts.html.j2")
        .render(
            summary=summary,
            leave_out=leave_out,
            policy=content_policy(style, script, loads=True),
            style=style,
            script=script,
            counts=counts_of(rows),
            n_dialogues=len(rows),
            results=RESULTS,
            tactics=KINDS["tactic"],
            sub_dimensions=taxonomy.sub_dimensions(),
            dimensions=taxonomy.dimensions(),
        )
    )


def _row(dialogue: Dialogue, judge_id: str) -> Row:
    first = dialogue.turns[0] if dialogue.turns else None
    covered = first is not None and bool(_cover(dialogue, judge_id, first) & 1)
    return Row(
        item_id=dialogue.item_id,
        kind=dialogue.kind,
        sub_dimension=dialogue.sub_dimension,
        epoch=dialogue.epoch,
        attempt=dialogue.attempt,
        results=dialogue.results,
        cave=dialogue.cave,
        split=dialogue.split,
        sides=dialogue.sides,
        tactic=dialogue.tactic,
        form=dialogue.form,
        severity=dialogue.severity,
        start=None if covered or first is None else visible(first.question[:START_CHARS]),
    )


def _cover(dialogue: Dialogue, judge_id: str, turn: ShownTurn) -> int:
    rule = partial(risky, score=turn.score, label=turn.label, severity=dialogue.severity, judge_id=judge_id)
    return sum(1 << k for k, name in enumerate(COVERED) if rule(name) and (getattr(turn, name) or "").strip())


def _told(dialogue: Dialogue, cover: Callable[[ShownTurn], int]) -> ToldDialogue:
    return ToldDialogue(
        id=visible(dialogue.anchor),
        turns=tuple(_told_turn(turn, cover(turn)) for turn in dialogue.turns),
        system=_visible(dialogue.system),
        risk_point=_visible(dialogue.risk_point),
        good_answer=_visible(dialogue.good_answer),
        why_harmless=_visible(dialogue.why_harmless),
    )


def _told_turn(turn: ShownTurn, cover: int) -> ToldTurn:
    return ToldTurn(
        round=turn.round,
        question=visible(turn.question),
        result=turn.result,
        sent=turn.sent,
        cover=cover,
        answer=_visible(turn.answer),
        reasoning=_visible(turn.reasoning),
        blocked=turn.blocked,
        cut=turn.cut,
        finish_reason=_visible(turn.finish_reason),
        error=_visible(turn.error),
        reason=visible(turn.judge_error or turn.reason or ""),
        confidence=turn.confidence,
        others=tuple((visible(name), result) for name, result in turn.others),
    )


def _visible(text: str | None) -> str | None:
    return None if text is None else visible(text)


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A folder beside it to write into, which takes its place at the end, or vanishes. Raises MachineError."""
    half, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{what}") for what in ("part", "old"))
    try:
        half.mkdir(parents=True, exist_ok=True)
        try:
            yield half
            if folder.exists():
                folder.replace(old)
            half.replace(folder)
        finally:
            shutil.rmtree(half, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        problem = error.strerror or str(error)
        raise MachineError(
            f"{folder}: cannot be written: {problem}; choose a writable folder, or free the disk"
        ) from error
