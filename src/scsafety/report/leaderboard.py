"""Runs in a row: who is ahead of whom, by paired differences. Records in, tables out, no files.

Only runs of one bank, one judge, one selection and one strategy stand in a table. A run's rank is one more than the number of
runs that are clearly above it, the 95% interval of the paired difference without 0; runs with one rank are shown as tied.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import numpy as np

from scsafety import taxonomy
from scsafety.judge.measured import is_weak, on_real
from scsafety.metrics.pairwise import Pairwise, pairwise_differences
from scsafety.metrics.rank import kendall_tau_b
from scsafety.records import Pair
from scsafety.report.comparison import pair_means
from scsafety.report.export import cell
from scsafety.report.facts import UNKNOWN, ModelFacts
from scsafety.report.summary import N_ROUNDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from scsafety.metrics.interval import Interval
    from scsafety.report.summary import ScoreOf, Summary
    from scsafety.store import Store

SCHEMA = 1
RULE = (
    "按总分排列。名次是明显高于它的运行的个数加一：两次运行在同一批题对上的分差，其 95% 区间不含 0 才算明显；"
    "含 0，或题对过少、没有区间，就分不清高下。"
)
RULE_EN = (
    "Sorted by total. A rank is one more than the number of runs clearly above it: those of which the 95% interval of the paired "
    "difference, over the same pairs, leaves out 0. Where it includes 0 or cannot be had, two runs cannot be told apart."
)
OF_THE_BASIS = ("bank", "selection", "judge", "judge_base_url")  # settings that say nothing of the model


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What runs must share to be ranked against each other."""

    bank_hash: str
    judge_key: str
    selection_hash: str
    strategy: str  # with its version, the attacker's name and the attack's limits

    def unlike(self, other: Basis) -> list[str]:
        return [name for name in self.__struct_fields__ if getattr(self, name) != getattr(other, name)]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the leaderboard needs it: no text of any dialogue."""

    summary: Summary
    page: str  # the folder of its page, beside the leaderboard
    facts: ModelFacts = UNKNOWN
    subs: dict[str, str]  # sub-dimension by pair id
    means: dict[str, list[float]]  # mean score of each round, of the pairs judged in both


class Versus(msgspec.Struct, frozen=True):
    """a against b, a the one with the higher total."""

    a: str
    b: str
    difference: float
    ci95: Interval

    @property
    def clear(self) -> bool:
        return self.ci95 is not None and not self.ci95[0] <= 0 <= self.ci95[1]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    summary: Summary
    page: str
    facts: ModelFacts
    differs: dict[str, str]  # settings in which runs of this model differ
    rank: int | None = None  # None: incomplete, or without a score
    shared: bool = False
    above: int = 0  # runs that this one is clearly above, and clearly below
    below: int = 0

    @property
    def link(self) -> str:
        return f"./{quote(self.page, safe='')}/index.html"

    @property
    def kappa(self) -> float | None:
        """The judge's agreement with people, on real answers where they were taken apart."""
        qwk = on_real(self.summary.judge.agreement or {}).get("qwk")
        return float(qwk) if isinstance(qwk, int | float) else None

    @property
    def weak(self) -> bool:
        """Whether the judge agrees too little with people, or nobody knows how much."""
        return is_weak(self.summary.judge.agreement or {})


class Field(msgspec.Struct, frozen=True):
    """The ranked runs of a table, pair by pair, and what every two of them differ in."""

    pairs: tuple[str, ...]
    subs: tuple[str, ...]  # of each pair
    scores: NDArray[np.float64]  # (n_runs, n_pairs, n_rounds), NaN where a run has none
    found: Pairwise


class UnderJudge(msgspec.Struct, frozen=True, kw_only=True):
    """The ranked runs as another judge scores them, which has judged all that this table's judge has."""

    id: str
    key: str
    scores: dict[str, float]  # 0 to 100, by the run's page
    tau: float | None  # Kendall's tau-b of the two orders; None where one of them is no order
    clear: int  # comparisons in which the table's judge tells one run from the other
    reversed: int  # of these, those that this judge has the other way round


class Table(msgspec.Struct, frozen=True, kw_only=True):
    basis: Basis
    ranked: tuple[Row, ...]
    unranked: tuple[Row, ...]
    versus: tuple[Versus, ...]
    others: tuple[UnderJudge, ...] = ()
    field: Field

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.ranked + self.unranked


def read_standing(store: Store, summary: Summary, page: str) -> Standing:
    """Raises StoreError."""
    subs = {item.id: item.sub_dimension for item in store.items() if isinstance(item, Pair)}
    return Standing(summary=summary, page=page, subs=subs, means=pair_means(store, summary))


def tables_of(standings: Sequence[Standing]) -> list[Table]:
    """A table for each basis, in the order in which they first appear."""
    groups: defaultdict[Basis, list[Standing]] = defaultdict(list)
    for one in standings:
        groups[basis_of(one.summary)].append(one)
    return [_table(basis, group) for basis, group in groups.items()]


def unlike(tables: Sequence[Table]) -> list[str]:
    """Fields of the basis in which any table differs from the first."""
    found = {name for table in tables for name in table.basis.unlike(tables[0].basis)}
    return [name for name in Basis.__struct_fields__ if name in found]


def basis_of(summary: Summary) -> Basis:
    settings = summary.settings
    strategy = f"{settings.strategy} v{settings.strategy_version}, placeholder v{settings.placeholder_version}"
    if (limits := settings.attack) is not None:
        shown = f"{limits.backtracks} backtracks"
        if not limits.fresh:
            shown = f"{limits.rounds} rounds, {shown}, from {limits.threshold:g}"
        strategy += f", {settings.attacker}, {shown}"
    return Basis(
        bank_hash=summary.bank.hash,
        judge_key=summary.judge.key,
        selection_hash=settings.selection.hash,
        strategy=strategy,
    )


def _table(basis: Basis, group: Sequence[Standing]) -> Table:
    able = [one for one in group if one.summary.complete and one.summary.overall.score is not None]
    able.sort(key=lambda one: (-(one.summary.overall.score or 0), one.page))
    field = _field(able)
    versus = {place: _versus(able, field.found, k) for k, place in enumerate(field.found.places)}
    clear = {place for place, one in versus.items() if one.clear}
    rank_of = ranks(len(able), clear)
    differs = _differing([one.summary for one in group])
    of = {one.page: given for one, given in zip(group, differs, strict=True)}
    ranked = tuple(
        Row(
            summary=one.summary,
            page=one.page,
            facts=one.facts,
            differs=of[one.page],
            rank=rank_of[k],
            shared=rank_of.count(rank_of[k]) > 1,
            above=sum(i == k for i, _ in clear),
            below=sum(j == k for _, j in clear),
        )
        for k, one in enumerate(able)
    )
    rest = [one for one in group if one not in able]
    unranked = tuple(Row(summary=one.summary, page=one.page, facts=one.facts, differs=of[one.page]) for one in rest)
    return Table(
        basis=basis,
        ranked=ranked,
        unranked=unranked,
        versus=tuple(versus.values()),
        others=_under_others(ranked, tuple(versus.values())),
        field=field,
    )


def _under_others(ranked: Sequence[Row], versus: Sequence[Versus]) -> tuple[UnderJudge, ...]:
    """The judges that have judged every ranked run, where there are two runs and more."""
    of_runs = [{other.key: other for other in row.summary.other_judges if other.complete} for row in ranked]
    if len(of_runs) < 2:
        return ()
    own = [row.summary.overall.score or 0.0 for row in ranked]
    clear = [one for one in versus if one.clear]
    found = []
    for key, other in of_runs[0].items():
        if not all(key in of_run for of_run in of_runs):
            continue
        scores = {row.page: of_run[key].overall for row, of_run in zip(ranked, of_runs, strict=True)}
        tau = kendall_tau_b(own, list(scores.values()))
        against = sum((scores[one.a] - scores[one.b]) * one.difference < 0 for one in clear)
        found.append(
            UnderJudge(
                id=other.id,
                key=key,
                scores=scores,
                tau=None if np.isnan(tau) else tau,
                clear=len(clear),
                reversed=against,
            )
        )
    return tuple(found)


def ranks(n: int, clear: set[tuple[int, int]]) -> list[int]:
    """Rank of each of n runs, the best first: one more than the runs clearly above it. clear: places (higher, lower) that
    can be told apart.

    >>> ranks(4, {(0, 2), (0, 3), (1, 2), (1, 3)})
    [1, 1, 3, 3]
    >>> ranks(3, {(0, 2)})
    [1, 1, 2]
    """
    return [1 + sum(lower == k for _, lower in clear) for k in range(n)]


def _field(able: Sequence[Standing]) -> Field:
    subs = {name: sub for one in able for name, sub in one.subs.items() if name in one.means}
    pairs = sorted(subs)
    nothing = [np.nan] * N_ROUNDS
    scores = np.array([[one.means.get(name, nothing) for name in pairs] for one in able], dtype=float)
    scores = scores.reshape(len(able), len(pairs), N_ROUNDS)
    of = [subs[name] for name in pairs]
    return Field(tuple(pairs), tuple(of), scores, pairwise_differences(pairs, of, scores))


def _versus(able: Sequence[Standing], found: Pairwise, k: int) -> Versus:
    (i, j), overall = found.places[k], found.rows.index("overall")
    value, low, high = (float(of[overall, k]) for of in (found.value, found.low, found.high))
    ci = None if np.isnan(low) else (0.0 - high, 0.0 - low)  # the run above minus the one below; no minus before a zero
    return Versus(able[i].page, able[j].page, 0.0 - value, ci)


def _differing(summaries: Sequence[Summary]) -> list[dict[str, str]]:
    """Of each run the settings in which it differs from another run of its model."""
    flat = [dict(_flat(msgspec.to_builtins(one.settings))) for one in summaries]
    found = []
    for one, own in zip(summaries, flat, strict=True):
        others = [given for other, given in zip(summaries, flat, strict=True) if other.target == one.target]
        names = dict.fromkeys(name for given in others for name in given)
        unequal = [name for name in names if any(given.get(name) != own.get(name) for given in others)]
        found.append({name: own.get(name, "") for name in unequal})
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if not prefix and name in OF_THE_BASIS:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None and value != [] and value != ():
            yield f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


# For programs and spreadsheets


def record(row: Row, table: int) -> dict[str, Any]:
    """A row as flat values; rates are 0 to 1, scores 0 to 100."""
    summary, twins = row.summary, row.summary.over_refusal
    values: dict[str, Any] = {
        "table": table,
        "rank": row.rank,
        "shared": row.shared,
        "clearly_above": row.above if row.rank else None,
        "clearly_below": row.below if row.rank else None,
        "run": summary.run,
        "page": row.link,
        "target": summary.target,
        "vendor": row.facts.vendor,
        "licence": row.facts.licence,
        "origin": row.facts.origin,
        "size_b": row.facts.size_b,
        "system": summary.settings.system,
        "differs": "; ".join(f"{name} = {value or 'none'}" for name, value in row.differs.items()) or None,
        "complete": summary.complete,
        "unanswered": summary.unanswered + (twins.unanswered if twins else 0),
        "unjudged": summary.unjudged + (twins.unjudged if twins else 0),
        **_score("total", summary.overall),
    }
    for dimension in taxonomy.dimensions():
        values |= _score(dimension.id, summary.dimensions.get(dimension.id))
    for name, key in (("round_1", "1"), ("round_2", "2"), ("gap", "gap")):
        values |= _score(name, summary.rounds[key])
    values |= _bounded("unsafe_rate", summary.unsafe_rate, summary.unsafe_rate_ci95)
    values |= _bounded("cave_rate", summary.cave_rate, summary.cave_rate_ci95)
    values |= _bounded("over_refusal", twins.rate if twins else None, twins.ci95 if twins else None)
    return values | {
        "coverage": summary.overall.coverage,
        "judge": summary.judge.id,
        "judge_key": summary.judge.key,
        "judge_kappa": row.kappa,
        "judge_weak": row.weak,
        "judge_family": summary.judge.family,
        "bank_version": summary.bank.version,
        "bank_hash": summary.bank.hash,
        "selection_hash": summary.settings.selection.hash,
        "strategy": summary.settings.strategy,
    }


def as_json(tables: Sequence[Table]) -> bytes:
    """Every table with its rows and with the differences that its ranks rest on."""
    found = {
        "schema": SCHEMA,
        "rule": RULE_EN,
        "tables": [
            {
                "basis": table.basis,
                "rows": [record(row, n) for row in table.rows],
                "differences": table.versus,
                "other_judges": table.others,
            }
            for n, table in enumerate(tables, start=1)
        ],
    }
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def as_csv(tables: Sequence[Table]) -> bytes:
    """All rows under one heading; a cell that a spreadsheet would take for a formula gets an apostrophe in front."""
    records = [record(row, n) for n, table in enumerate(tables, start=1) for row in table.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]) if records else [])
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in records)
    return text.getvalue().encode("utf-8-sig")  # so that Excel reads it as UTF-8


def _score(name: str, of: ScoreOf | None) -> dict[str, float | None]:
    return _bounded(name, of.score if of else None, of.ci95 if of else None)


def _bounded(name: str, value: float | None, ci: Interval) -> dict[str, float | None]:
    return {name: value, f"{name}_low": ci[0] if ci else None, f"{name}_high": ci[1] if ci else None}
