"""Two runs of one suite side by side: each metric over the records that both answered, shares with a paired test.

What a record adds to a share is had by scoring its answers alone. A metric of which these do not sum to the whole, such as a
mean of categories, gets both values and no test.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from scsafety.errors import ConfigError
from scsafety.metrics.permutation import holm, mcnemar_p, sign_flip_p
from scsafety.report.comparison import ALPHA
from scsafety.report.suite import read_answers
from scsafety.suites import suite_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scsafety.report.suite import SuiteOf
    from scsafety.report.summary import Summary
    from scsafety.store import Store
    from scsafety.suites import Answer, Metric, Suite

SAME = {"name": "suite", "version": "version of the suite", "variant": "--variant", "data_sha256": "data"}


class MetricDifference(msgspec.Struct, frozen=True, kw_only=True):
    """b - a of one metric, over the records that count for it in both runs."""

    name: str
    zh: str
    a: float | None
    b: float | None
    n: int  # records compared
    up: int | None = None  # records where b's share is the higher, and the lower; None: no share
    down: int | None = None
    p: float | None = None  # McNemar's exact test, or sign flips where a record has several answers; None: not tested
    p_holm: float | None = None
    higher_is_better: bool | None = None

    @property
    def value(self) -> float | None:
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def worse(self) -> bool:
        """Whether b is worse than chance allows, by the corrected p."""
        p = self.p if self.p_holm is None else self.p_holm
        if self.value is None or p is None or self.higher_is_better is None:
            return False
        return p < ALPHA and (self.value < 0) == self.higher_is_better


class SuiteComparison(msgspec.Struct, frozen=True, kw_only=True):
    run_a: str
    run_b: str
    target_a: str
    target_b: str
    suite: str
    variant: str
    judge_key: str
    n_units: int  # records that both answered and that are judged in both
    only_a: int  # records of one run alone, or judged in one alone
    only_b: int
    differences: tuple[MetricDifference, ...]
    notes: tuple[str, ...]  # what makes the two unlike beyond the model

    @property
    def regression(self) -> bool:
        return any(one.worse for one in self.differences)


def compare_suite_runs(a: Store, b: Store, summary_a: Summary, summary_b: Summary, *, seed: int = 0) -> SuiteComparison:
    """Raises ConfigError where the two are no runs of one suite, variant, data and judge, or share no record."""
    of = _alike(summary_a, summary_b)
    suite = suite_named(of.name)
    units_a, units_b = _units(a), _units(b)
    hashes_a, hashes_b = a.content_hashes(), b.content_hashes()

    def comparable(name: str) -> bool:
        one, two = units_a[name], units_b.get(name, [])
        return _places(one, hashes_a) == _places(two, hashes_b) and all(x.label is not None for x in (*one, *two))

    common = [name for name in units_a if comparable(name)]
    if not common:
        raise ConfigError(f"{summary_a.run} and {summary_b.run} share no item that both answered; run the same --limit")
    return SuiteComparison(
        run_a=summary_a.run,
        run_b=summary_b.run,
        target_a=summary_a.target,
        target_b=summary_b.target,
        suite=of.name,
        variant=of.variant,
        judge_key=summary_a.judge.key,
        n_units=len(common),
        only_a=len(units_a) - len(common),
        only_b=len(units_b) - len(common),
        differences=_corrected(
            metric_differences(suite, [units_a[name] for name in common], [units_b[name] for name in common], seed=seed)
        ),
        notes=tuple(_notes(summary_a, summary_b)),
    )


def metric_differences(
    suite: Suite, a: Sequence[Sequence[Answer]], b: Sequence[Sequence[Answer]], *, seed: int = 0
) -> list[MetricDifference]:
    """a, b: the answers of each record, in the same order."""
    whole_a, whole_b = (_metrics(suite, [one for unit in units for one in unit]) for units in (a, b))
    parts_a, parts_b = ([_metrics(suite, unit) for unit in units] for units in (a, b))
    found = []
    for name, one in whole_a.items():
        two = whole_b.get(name)
        if two is None:
            continue
        if not (_adds_up(one, parts_a) and _adds_up(two, parts_b)):
            found.append(
                MetricDifference(
                    name=name, zh=one.zh, a=one.value, b=two.value, n=len(a), higher_is_better=one.higher_is_better
                )
            )
            continue
        found.append(_share_difference(one, parts_a, parts_b, seed))
    return found


def _share_difference(
    metric: Metric, parts_a: Sequence[Mapping[str, Metric]], parts_b: Sequence[Mapping[str, Metric]], seed: int
) -> MetricDifference:
    """Over the records that have as many answers in the denominator in one run as in the other."""
    pairs = [(one.get(metric.name), two.get(metric.name)) for one, two in zip(parts_a, parts_b, strict=True)]
    counted = [(x.hits or 0, y.hits or 0, x.n) for x, y in pairs if x is not None and y is not None and x.n == y.n > 0]
    total = sum(n for *_, n in counted)
    apart = np.array([hits_b - hits_a for hits_a, hits_b, _ in counted], dtype=float)
    up, down = int((apart > 0).sum()), int((apart < 0).sum())
    p = None
    if len(counted) > 1:
        single = all(n == 1 for *_, n in counted)
        p = (
            mcnemar_p(up, down)
            if single
            else sign_flip_p(apart, np.full(apart.size, 100 / total), rng=np.random.default_rng(seed))
        )
    return MetricDifference(
        name=metric.name,
        zh=metric.zh,
        a=100 * sum(hits for hits, *_ in counted) / total if total else None,
        b=100 * sum(hits for _, hits, _ in counted) / total if total else None,
        n=len(counted),
        up=up,
        down=down,
        p=p,
        higher_is_better=metric.higher_is_better,
    )


def _alike(a: Summary, b: Summary) -> SuiteOf:
    suite_a, suite_b = a.suite, b.suite
    if suite_a is None or suite_b is None:
        one, other = (a, b) if suite_a is None else (b, a)
        raise ConfigError(
            f"{one.run} is no run of a suite and cannot be compared with {other.run}: they count different things"
        )
    for name, what in SAME.items():
        one_of, other_of = getattr(suite_a, name), getattr(suite_b, name)
        if one_of != other_of:
            both = f"{str(one_of)[:12] or '-'} and {str(other_of)[:12] or '-'}"
            raise ConfigError(
                f"{a.run} and {b.run} differ in the {what} ({both}); only runs of the same suite, variant and data compare"
            )
    if a.judge.key != b.judge.key:
        raise ConfigError(
            f"{a.run} was judged by {a.judge.key}, {b.run} by {b.judge.key}: judge both by one, "
            f"`scsafety judge {b.run} --judge {a.judge.id} --primary`"
        )
    return suite_a


def _units(store: Store) -> dict[str, list[Answer]]:
    """Answers by record."""
    units: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in read_answers(store, store.primary_judge())[1]:
        units[answer.item.group or answer.item.id].append(answer)
    return units


def _places(answers: Iterable[Answer], hashes: Mapping[str, str]) -> list[tuple[str, int, int]]:
    return [(hashes[one.item.id], one.round, one.epoch) for one in answers]


def _metrics(suite: Suite, answers: Sequence[Answer]) -> dict[str, Metric]:
    return {metric.name: metric for metric in suite.score(answers).metrics}


def _adds_up(whole: Metric, parts: Sequence[Mapping[str, Metric]]) -> bool:
    if whole.hits is None:
        return False
    of_parts = [part[whole.name] for part in parts if whole.name in part]
    return (whole.hits, whole.n) == (sum(one.hits or 0 for one in of_parts), sum(one.n for one in of_parts))


def _corrected(differences: Sequence[MetricDifference]) -> tuple[MetricDifference, ...]:
    by_name = holm({one.name: one.p for one in differences if one.p is not None})
    return tuple(msgspec.structs.replace(one, p_holm=by_name.get(one.name)) for one in differences)


def _notes(a: Summary, b: Summary) -> Iterable[str]:
    for name, one, two in (
        ("系统提示 system", a.settings.system, b.settings.system),
        ("攻击模型 attacker", a.settings.attacker, b.settings.attacker),
        ("采样 sampling", a.settings.sampling, b.settings.sampling),
        ("遍数 epochs", a.settings.epochs, b.settings.epochs),
    ):
        if one != two:
            yield f"{name} 不同"
    for run in (a, b):
        if run.suite is not None and not run.complete:
            yield f"{run.run} 不完整：未答 {run.suite.unanswered}，未评 {run.suite.unjudged}"
