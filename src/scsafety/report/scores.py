"""The scores of one or several runs as one table for papers, sheets and other programs. Pure.

A row is a board, a sub-dimension or a rate; each run gives it a figure with its 95% interval and the number of answers
behind it. Every format says under which conditions the figures hold: target, judge, bank, version, date, complete or not.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from scsafety import taxonomy
from scsafety.judge.measured import is_weak, on_real
from scsafety.metrics.interval import Interval  # noqa: TC001 (msgspec reads the fields' types)
from scsafety.report.escape import latex, markdown, one_line
from scsafety.report.export import cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scsafety.report.summary import ScoreOf, Summary

SCHEMA = 1
HASH_CHARS = 12
NOTHING = "-"
MINUS = re.compile(r"(?<![^ (])\{-\}(?=\d)")  # a hyphen, as LaTeX has it, that is a number's sign
COLUMNS = ("value", "ci95_low", "ci95_high", "n", "round_1", "round_2", "provenance")

Unit = Literal["score", "difference", "share"]  # 0 to 100; -100 to 100; 0 to 1


class Name(NamedTuple):
    """What a row is about."""

    id: str
    zh: str
    en: str
    unit: Unit


class Figure(msgspec.Struct, frozen=True):
    value: float | None
    ci95: Interval
    n: int  # judged answers; pairs judged in both rounds for the gap and the cave rate
    rounds: tuple[float | None, ...] = ()  # of round 1 and 2, where the summary takes them apart


class Row(NamedTuple):
    name: Name
    figures: tuple[Figure | None, ...]  # of each run; None: the run has nothing of it


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Under which conditions a run's figures hold."""

    run: str
    target: str
    judge: str
    judge_key: str
    kappa: float | None  # quadratic-weighted, with people; None: not measured
    kappa_on: (
        Literal["real", "all"] | None
    )  # the answers that it was measured on; real ones where they were taken apart
    kappa_n: int | None
    weak: bool  # the judge agrees too little with people, or nobody knows: smoke tests only
    bank_version: str | None
    bank_hash: str
    pairs: int  # of this run
    benign: int
    scsafety: str
    completed_at: str
    complete: bool
    unanswered: int
    unjudged: int


def table(summaries: Sequence[Summary]) -> list[Row]:
    """The rows that at least one of the runs has, in the taxonomy's order."""
    by_run = [_figures(summary) for summary in summaries]
    rows = (Row(name, tuple(figures.get(name.id) for figures in by_run)) for name in _names())
    return [row for row in rows if any(row.figures)]


def provenance(summary: Summary) -> Provenance:
    measured, over = summary.judge.agreement, summary.over_refusal
    decisive = on_real(measured) if measured else {}
    on: Literal["real", "all"] = "all" if decisive is measured else "real"
    return Provenance(
        run=summary.run,
        target=summary.target,
        judge=summary.judge.id,
        judge_key=summary.judge.key,
        kappa=decisive.get("qwk"),
        kappa_on=on if measured else None,
        kappa_n=decisive.get("n"),
        weak=not measured or is_weak(measured),
        bank_version=summary.bank.version,
        bank_hash=summary.bank.hash,
        pairs=summary.bank.pairs,
        benign=summary.bank.benign,
        scsafety=summary.versions["scsafety"],
        completed_at=summary.completed_at,
        complete=summary.complete,
        unanswered=summary.unanswered + (over.unanswered if over else 0),
        unjudged=summary.unjudged + (over.unjudged if over else 0),
    )


def provenance_line(of: Provenance) -> str:
    """All of it in one line of plain text; the format's own escapes come later."""
    version = f"bank {of.bank_version}" if of.bank_version else "own bank"
    parts = (
        f"{of.run}: target {of.target}",
        f"judge {of.judge} ({of.judge_key}), {kappa_text(of)}",
        f"{version} ({of.bank_hash[:HASH_CHARS]}), {of.pairs} pairs, {of.benign} harmless twins",
        f"scsafety {of.scsafety}",
        of.completed_at[:10] or "no answers",
        state_text(of),
    )
    return one_line("; ".join(parts))


def kappa_text(of: Provenance) -> str:
    """The judge's agreement with people, and the warning that belongs to it."""
    if of.kappa_on is None:
        return "agreement with people not measured: smoke tests only"
    kappa = "undefined" if of.kappa is None else f"{of.kappa:.2f}"
    answers = "real answers" if of.kappa_on == "real" else "labelled answers, real and written"
    return f"kappa {kappa} with people on {of.kappa_n} {answers}{': smoke tests only' if of.weak else ''}"


def state_text(of: Provenance) -> str:
    if of.complete:
        return "complete"
    return f"INCOMPLETE: {of.unanswered} unanswered, {of.unjudged} unjudged"


def json_lines(summaries: Sequence[Summary]) -> Iterator[str]:
    """One object: `{"schema", "runs": [{"run", "provenance", "scores": [{"id", "zh", "en", "unit", "value", ...}]}]}`."""
    rows = table(summaries)
    runs = [
        {
            "run": summary.run,
            "provenance": provenance(summary),
            "scores": [
                {**row.name._asdict(), **msgspec.to_builtins(row.figures[k])}
                for row in rows
                if row.figures[k] is not None
            ],
        }
        for k, summary in enumerate(summaries)
    ]
    yield msgspec.json.format(msgspec.json.encode({"schema": SCHEMA, "runs": runs}), indent=2).decode()


def csv_lines(summaries: Sequence[Summary]) -> Iterator[str]:
    """RFC 4180, numbers unrounded; several runs each have columns of their own, `RUN value` and so on.

    The line of provenance stands in the first row only, so that every other column holds one kind of value.
    """
    one = len(summaries) == 1
    headings = [name if one else f"{summary.run} {name}" for summary in summaries for name in COLUMNS]
    yield _csv_line([*Name._fields, *headings])
    for k, row in enumerate(table(summaries)):
        values: list[object] = [*row.name]
        for summary, figure in zip(summaries, row.figures, strict=True):
            line = provenance_line(provenance(summary)) if k == 0 else None
            values += [*_numbers(figure), line]
        yield _csv_line(values)


def markdown_lines(summaries: Sequence[Summary]) -> Iterator[str]:
    """A table, and under it a line of provenance a run."""
    head, *body = _texts(summaries)
    yield from (_markdown_row(head), _markdown_row(["---", "---", *("---:" for _ in head[2:])], escaped=True))
    yield from map(_markdown_row, body)
    yield ""
    yield from (f"- {markdown(provenance_line(provenance(summary)))}" for summary in summaries)


def latex_lines(summaries: Sequence[Summary]) -> Iterator[str]:
    """A `table` with the rules of booktabs; the Chinese names want ctex or xeCJK."""
    head, *body = _texts(summaries)
    yield r"% \usepackage{booktabs,textcomp} and, for the Chinese names, \usepackage{ctex} or xeCJK"
    yield from (
        r"\begin{table}",
        r"\centering",
        r"\caption{SC-Safety, 0 to 100, with 95\% intervals}",
        r"\footnotesize",
    )
    yield rf"\begin{{tabular}}{{ll{'r' * len(head[2:])}}}"
    yield from (r"\toprule", _latex_row(head), r"\midrule")
    yield from map(_latex_row, body)
    yield from (r"\bottomrule", r"\end{tabular}")
    yield from (rf"\par {latex(provenance_line(provenance(summary)))}" for summary in summaries)
    yield r"\end{table}"


FORMATS: dict[str, Callable[[Sequence[Summary]], Iterator[str]]] = {
    "markdown": markdown_lines,
    "csv": csv_lines,
    "latex": latex_lines,
    "json": json_lines,
}


def _names() -> Iterator[Name]:
    yield Name("overall", "总分", "Overall", "score")
    yield Name("model_written", "仅模型作答", "Model-written", "score")
    for dimension in taxonomy.dimensions():
        yield Name(dimension.id, dimension.zh, dimension.en, "score")
    yield Name("round_1", "第 1 轮", "Round 1", "score")
    yield Name("round_2", "第 2 轮", "Round 2", "score")
    yield Name("gap", "第二轮减第一轮", "Gap", "difference")
    for sub in taxonomy.sub_dimensions():
        yield Name(sub.id, sub.zh, sub.en, "score")
    yield Name("unsafe_rate", "不安全率", "Unsafe rate", "share")
    yield Name("cave_rate", "失守率", "Cave rate", "share")
    yield Name("over_refusal", "过度拒绝率", "Over-refusal", "share")


def _figures(summary: Summary) -> dict[str, Figure]:
    """By the id of the row."""
    rounds, gap, over = summary.rounds, summary.rounds["gap"], summary.over_refusal
    n_judged = sum(summary.labels.values())
    found = {
        "overall": _figure(summary.overall, (rounds["1"].score, rounds["2"].score)),
        "model_written": _figure(summary.model_written),
        "round_1": _figure(rounds["1"]),
        "round_2": _figure(rounds["2"]),
        "gap": _figure(gap),
        "unsafe_rate": Figure(summary.unsafe_rate, summary.unsafe_rate_ci95, n_judged),
        "cave_rate": Figure(summary.cave_rate, summary.cave_rate_ci95, gap.n),
    }
    found |= {name: _figure(score) for name, score in summary.dimensions.items()}
    for name, score in summary.sub_dimensions.items():
        found[name] = _figure(score, summary.sub_dimension_rounds.get(name, ()))
    if over is not None:
        found["over_refusal"] = Figure(over.rate, over.ci95, over.n)
    return found


def _figure(of: ScoreOf, rounds: tuple[float | None, ...] = ()) -> Figure:
    return Figure(of.score, of.ci95, of.n, rounds)


def _numbers(figure: Figure | None) -> list[object]:
    if figure is None:
        return [None] * (len(COLUMNS) - 1)
    low, high = figure.ci95 or (None, None)
    first, second = figure.rounds or (None, None)
    return [figure.value, low, high, figure.n, first, second]


def _texts(summaries: Sequence[Summary]) -> Iterator[list[str]]:
    """Head and rows as people read them: one run has a column a number, of several each has one column."""
    names = ["项目", "Item"]
    if len(summaries) == 1:
        yield [*names, "得分 Score", "95% 区间 CI", "n", "第 1 轮 Round 1", "第 2 轮 Round 2"]
    else:
        yield [*names, *(summary.run for summary in summaries)]
    for name, figures in table(summaries):
        several = [_one_cell(figure, name.unit) for figure in figures]
        yield [name.zh, name.en, *(several if len(figures) > 1 else _cells(figures[0], name.unit))]


def _cells(figure: Figure | None, unit: Unit) -> list[str]:
    if figure is None:
        return [NOTHING] * 5
    first, second = figure.rounds or (None, None)
    return [
        _value(figure.value, unit), interval_text(figure.ci95, unit), str(figure.n), _value(first, unit), _value(second, unit)
    ]  # fmt: skip


def _one_cell(figure: Figure | None, unit: Unit) -> str:
    """`35.70 (34.0 to 37.5), n 96, 33.45 → 37.95`: the last two are the rounds."""
    if figure is None:
        return NOTHING
    interval = f" ({interval_text(figure.ci95, unit)})" if figure.ci95 else ""
    rounds = f", {' → '.join(_value(value, unit) for value in figure.rounds)}" if figure.rounds else ""
    return f"{_value(figure.value, unit)}{interval}, n {figure.n}{rounds}"


def _value(value: float | None, unit: Unit) -> str:
    if value is None:
        return NOTHING
    return f"{value:.1%}" if unit == "share" else f"{value:+.2f}" if unit == "difference" else f"{value:.2f}"


def interval_text(ci: Interval, unit: Unit) -> str:
    if ci is None:
        return NOTHING
    low, high = (f"{bound:.1%}" if unit == "share" else f"{bound:.1f}" for bound in ci)
    return f"{low} to {high}"


def _csv_line(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([cell(value) for value in values])
    return line.getvalue()


def _markdown_row(cells: Sequence[str], *, escaped: bool = False) -> str:
    return f"| {' | '.join(cells if escaped else map(markdown, cells))} |"


def _latex_row(cells: Sequence[str]) -> str:
    signed = (MINUS.sub("$-$", latex(text)) for text in cells)
    return rf"{' & '.join(signed)} \\"
