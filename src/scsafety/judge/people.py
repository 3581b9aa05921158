"""People as judges: which answers they label, what their labels come to, how far they agree. Pure.

A person is the judge `human/<name>`; each label is a verdict of the run's store, and a label that is changed or taken
back is another verdict behind it, so that nothing is ever lost.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from scsafety.errors import ConfigError
from scsafety.metrics.agreement import coincidence_matrix, count, figures, ordinal_alpha
from scsafety.records import JudgeCard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scsafety.records import Score

PREFIX = "human/"
NAME = re.compile(r"[\w.-]{1,40}")
Plan = Literal["random", "uncertain", "disagreement"]
PLANS: tuple[Plan, ...] = ("random", "uncertain", "disagreement")
WITHDRAWN = "taken back"


class LabelNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a human verdict's `raw` holds."""

    plan: Plan  # only labels of a random sample may correct a score
    at: int  # milliseconds since 1970 on the annotator's machine; an older label never replaces a newer one


def read_note(raw: str | None) -> LabelNote | None:
    """The note of a human verdict; None for any other."""
    try:
        return msgspec.json.decode(raw or "", type=LabelNote)
    except msgspec.MsgspecError:
        return None


class PeopleAgreement(msgspec.Struct, frozen=True):
    """How far people agree with each other, over answers that two or more have labelled."""

    n: int
    qwk: float | None  # mean over the pairs of annotators, weighted by their common answers
    alpha: float | None


def person(name: str) -> JudgeCard:
    """The card of an annotator. Raises ConfigError for a name that cannot stand in a file."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"annotator {name!r}: use letters, digits, dot, dash and underscore, 40 at most")
    return JudgeCard(judge_id=PREFIX + name, model="person")


def draw_sample(strata: Mapping[str, str], n: int, *, seed: int) -> list[str]:
    """`n` of the ids in random order, each stratum by its size and none without two where that is possible.

    strata: the stratum of each id. The order is drawn, so that any first part of it is a random sample too.
    """

    def draw(name: str) -> bytes:
        return hashlib.sha256(f"{seed} annotate {name}".encode()).digest()

    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(strata, key=draw):
        groups[strata[name]].append(name)
    n = min(n, len(strata))
    least = 2 if n >= 2 * len(groups) else 0
    quota = {group: min(least, len(names)) for group, names in groups.items()}
    while (left := n - sum(quota.values())) > 0:
        # one after the other to the stratum that is furthest below its share
        behind = max(
            (group for group in groups if quota[group] < len(groups[group])),
            key=lambda group: (n * len(groups[group]) / len(strata) - quota[group], group),
        )
        quota[behind] += 1
        if left == 1:
            break
    chosen = [name for group, names in groups.items() for name in names[: quota[group]]]
    return sorted(chosen, key=draw)


def second_labels(ids: Sequence[str], share: float, *, seed: int) -> set[str]:
    """The ids that two people label: `share` (0 to 1) of them, seeded."""
    ranked = sorted(ids, key=lambda name: hashlib.sha256(f"{seed} second {name}".encode()).digest())
    return set(ranked[: math.ceil(share * len(ids))])


def consensus(labels: Sequence[Score]) -> Score:
    """What people's labels of one answer come to: their median; of two that differ the lower, until a third decides."""
    return statistics.median_low(labels)


def agreement_of(labels: Mapping[str, Mapping[str, Score]]) -> PeopleAgreement:
    """labels: by annotator and answer."""
    names = sorted(labels)
    answers = sorted({answer for given in labels.values() for answer in given})
    ratings = np.array([[labels[name].get(answer, np.nan) for name in names] for answer in answers], dtype=float)
    if not answers or len(names) < 2:
        return PeopleAgreement(0, None, None)
    double = int(((~np.isnan(ratings)).sum(axis=1) >= 2).sum())
    weighted, total = 0.0, 0
    for a, b in itertools.combinations(names, 2):
        common = labels[a].keys() & labels[b].keys()
        table = count([labels[a][name] for name in common], [labels[b][name] for name in common])
        kappa = float(figures(table)["qwk"])
        if common and not math.isnan(kappa):
            weighted, total = weighted + kappa * len(common), total + len(common)
    alpha = float(ordinal_alpha(coincidence_matrix(ratings))) if double else float("nan")
    return PeopleAgreement(double, weighted / total if total else None, None if math.isnan(alpha) else alpha)
