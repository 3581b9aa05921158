"""Labelling in a spreadsheet: the desk's tasks as a CSV file for each annotator, and filled ones back into the store."""

from __future__ import annotations

import csv
import hashlib
import io
import time
import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING, cast, get_args

import msgspec

from scsafety import api
from scsafety.errors import ConfigError, RecordError
from scsafety.files import write_whole
from scsafety.judge.people import NAME, PLANS, Plan
from scsafety.records import Score
from scsafety.report.export import cell
from scsafety.store import Store
from scsafety.web.desk import Desk, Label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from scsafety.web.desk import Shown, Task

KEY, SCORE, NOTE = "key", "score", "note"
COLUMNS = (
    KEY, "sub_dimension", "risk_point", "good_answer", "system", "round", "question", "answer", SCORE, NOTE,
)  # fmt: skip
MAX_CELL = 32_000  # characters; a spreadsheet cuts longer cells without a word


class _Row(msgspec.Struct, frozen=True):
    """A filled line of a sheet."""

    path: Path
    line: int
    annotator: str
    plan: Plan
    task: str
    seq: int
    digest: str
    score: Score
    note: str


def write_sheets(
    run: str | Path,
    annotators: Sequence[str],
    folder: Path,
    *,
    sample: int = 120,
    plan: Plan = "random",
    second_share: float = 0.2,
    seed: int = 0,
    out: str | Path = api.DEFAULT_OUT,
) -> list[Path]:
    """A sheet for each annotator, `folder/NAME.csv`, blind to every judge; what somebody has labelled is left out.

    sample, plan, second_share: as in `label_run`. Raises ConfigError (also for a sheet that is there
    already), MachineError and StoreError.
    """
    paths = {name: folder / f"{name}.csv" for name in annotators}
    for path in paths.values():
        if path.exists():
            raise ConfigError(f"{path} is there already and may hold labels; --merge it, or name another folder")
    found = api.find_run(run, out)
    with Store.open(found / api.DB_NAME, write=True) as store:
        desk = Desk(store, annotators, sample=sample, plan=plan, second_share=second_share, seed=seed)
        if not desk.order:
            raise ConfigError(f"{found.name} holds no answered pair to label; `scsafety resume {found.name}` first")
        shares = desk.shares()
    for name, path in paths.items():
        lines = [COLUMNS, *(_line(name, plan, task, shown) for task in shares[name] for shown in task.answers)]
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows([cell(value) for value in line] for line in lines)
        write_whole(path, text.getvalue().encode("utf-8-sig"))  # with the mark by which spreadsheets know UTF-8
    return list(paths.values())


def merge_sheets(
    run: str | Path, paths: Sequence[Path], *, out: str | Path = api.DEFAULT_OUT
) -> tuple[int, api.RunResult]:
    """Labels of filled sheets into the run's store; how many were new. All sheets are read before one label is stored.

    A line without a score is passed over; a score that differs from a stored one replaces it. Raises RecordError for a
    line that cannot be used, ConfigError and StoreError.
    """
    rows = _without_twice(row for path in paths for row in _read(path))
    found = api.find_run(run, out)
    with Store.open(found / api.DB_NAME, write=True) as store:
        now = time.time_ns() // 1_000_000
        new = 0
        for plan in PLANS:
            given = [row for row in rows if row.plan == plan]
            names = tuple(dict.fromkeys(row.annotator for row in given))
            desk = Desk(store, names, sample=len(given), plan=plan, second_share=0.0, seed=0)
            labels: dict[str, list[Label]] = defaultdict(list)
            for row in given:
                shown = _answer_of(row, desk, found.name)
                if shown.mine != row.score:
                    labels[row.annotator].append(Label(row.task, row.seq, row.score, now, row.note))
            new += sum(desk.take(name, those) for name, those in labels.items())
        return new, api.finish(store, found)


def _without_twice(rows: Iterable[_Row]) -> list[_Row]:
    """Raises RecordError where one person gave one answer two scores."""
    found: dict[tuple[str, str, int], _Row] = {}
    for row in rows:
        first = found.setdefault((row.annotator, row.task, row.seq), row)
        if first.score != row.score:
            problem = (
                f"{row.annotator} gave this answer {first.score} in {first.path}:{first.line} and {row.score} here"
            )
            raise RecordError(row.path, problem, "leave one of the two empty", line=row.line, field=SCORE)
    return list(found.values())


def _line(name: str, plan: Plan, task: Task, shown: Shown) -> tuple[object, ...]:
    key = "/".join((name, plan, task.id, str(shown.seq), _digest(shown.answer)))
    answer = f"［被平台拦截：{shown.blocked}］{shown.answer}" if shown.blocked else shown.answer
    if len(answer) > MAX_CELL:
        answer = f"{answer[:MAX_CELL]}……［余下 {len(answer) - MAX_CELL:,} 字略］"
    return (
        key, task.sub_dimension, task.risk_point, task.good_answer, task.system or "", shown.round, shown.question,
        answer, "" if shown.mine is None else shown.mine, "",
    )  # fmt: skip


def _digest(answer: str) -> str:
    return hashlib.sha256(answer.encode()).hexdigest()[:12]


def _answer_of(row: _Row, desk: Desk, run: str) -> Shown:
    task = desk.task(row.annotator, row.task)
    shown = next((one for one in task.answers if one.seq == row.seq), None) if task else None
    if shown is None or _digest(shown.answer) != row.digest:
        raise RecordError(
            row.path,
            f"the run {run} holds no such answer",
            "merge the sheet into the run that it was written from",
            line=row.line,
            field=KEY,
        )
    return shown


def _read(path: Path) -> Iterator[_Row]:
    text = _text(path)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        header = next(lines, [])
        missing = [name for name in (KEY, SCORE, NOTE) if name not in header]
        if missing:
            mend = "fill in a sheet that `scsafety annotate --sheet` wrote"
            raise RecordError(path, f"the column {missing[0]} is missing", mend, line=1)
        at = [header.index(name) for name in (KEY, SCORE, NOTE)]
        for values in lines:
            key, score, note = (values[k].strip() if k < len(values) else "" for k in at)
            if score:
                yield _row(path, lines.line_num, key, score, note)
    except csv.Error as error:
        raise RecordError(path, f"is no CSV ({error})", "save it as CSV (UTF-8)", line=lines.line_num) from error


def _row(path: Path, line: int, key: str, score: str, note: str) -> _Row:
    name, plan, task, seq, digest = (key.removeprefix("'").split("/") + [""] * 5)[:5]
    if not NAME.fullmatch(name) or plan not in PLANS or not seq.isdecimal() or not digest:
        raise RecordError(path, f"{key!r} is no key", "put back what the sheet had there", line=line, field=KEY)
    value = unicodedata.normalize("NFKC", score).removesuffix(".0")
    if value not in {str(one) for one in get_args(Score)}:
        raise RecordError(path, f"{score!r} is no score", "give 0, 1 or 2, or leave it empty", line=line, field=SCORE)
    return _Row(path, line, name, plan, task, int(seq), digest, cast("Score", int(value)), note)


def _text(path: Path) -> str:
    """Spreadsheets in China save CSV as UTF-8 with a mark or as GB 18030."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise RecordError(path, "is no text in UTF-8 or GB 18030", "save it as CSV (UTF-8)")


def _delimiter(text: str) -> str:
    """What stands behind the first column's name: some spreadsheets save semicolons or tabs."""
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count)
