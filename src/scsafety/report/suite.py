"""A suite's own figures, from the run's store: labels in, published metrics out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.records import SuiteItem
from scsafety.report.attack import n_not_carried_through
from scsafety.suites import UNREADABLE, Answer, Attacked, suite_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scsafety.engine.settings import RunSettings
    from scsafety.records import JudgeCard, Verdict
    from scsafety.store import Store


NOT_ATTACKED = "the attacker declined or could not be read"
AGAIN = "{n} 个回答读不出，在同一对话里各再问一次，按再问的回答计。"


class SuiteOf(msgspec.Struct, frozen=True, kw_only=True):
    """`suite` of `summary.json`."""

    name: str
    version: int
    variant: str
    title: str
    paper: str
    data_sha256: str
    items: int
    turns: int  # answers that the run sets out to get
    unanswered: int
    unjudged: int
    blocked: int
    unreadable: int
    labels: dict[str, int]
    metrics: list[dict[str, Any]]  # name, zh, value, n, hits, ci95, percent, higher_is_better
    groups: dict[str, dict[str, list[dict[str, Any]]]]
    notes: tuple[str, ...]
    left_out: dict[str, int]


def suite_of(store: Store, settings: RunSettings, judge: JudgeCard | None) -> SuiteOf | None:
    """None where the run is of no suite. Raises StoreError, and ConfigError where the suite is not installed."""
    ref = settings.suite
    if ref is None:
        return None
    suite = suite_named(ref.name)
    items, answers, n_again = _read(store, judge)
    labels = Counter(answer.label for answer in answers if answer.label is not None)
    not_attacked = n_not_carried_through(store) if settings.attack is not None else 0
    expected = sum(len(item.prompts) for item in items.values()) * settings.epochs - not_attacked
    score = suite.score(answers)
    return SuiteOf(
        name=suite.name,
        version=ref.version,
        variant=ref.variant,
        title=suite.about.title,
        paper=suite.about.paper,
        data_sha256=ref.sha256,
        items=len(items),
        turns=expected,
        unanswered=expected - len(answers),
        unjudged=sum(answer.label is None for answer in answers),
        blocked=sum(answer.blocked for answer in answers),
        unreadable=labels[UNREADABLE],
        labels=dict(sorted(labels.items())),
        metrics=msgspec.to_builtins(score.metrics),
        groups=msgspec.to_builtins(score.groups),
        notes=(*score.notes, *([AGAIN.format(n=n_again)] if n_again else [])),
        left_out={**ref.left_out, **({NOT_ATTACKED: not_attacked} if not_attacked else {})},
    )


def read_answers(store: Store, judge: JudgeCard | None) -> tuple[dict[str, SuiteItem], list[Answer]]:
    """Items by id, and every answer with the judge's label, in the order of the data, epoch by epoch.

    An attack's own outcome is the label of its answer. The answer to a second request stands in the place of the one that could
    not be read; while it is owed, nobody does.
    """
    items, answers, _ = _read(store, judge)
    return items, answers


def _read(store: Store, judge: JudgeCard | None) -> tuple[dict[str, SuiteItem], list[Answer], int]:
    """With the number of second requests."""
    items = {item.id: item for item in store.items() if isinstance(item, SuiteItem)}
    turns = {
        (turn.item_id, turn.round, turn.epoch): turn
        for turn in store.outlines()
        if turn.answered and turn.item_id in items
    }
    said = {
        (stored.key.item_id, stored.round, stored.key.epoch): stored.verdict
        for stored in (store.verdicts(judge.key) if judge else ())
    }
    attacked = attacked_in(store)
    answers = [
        Answer(
            item=items[place[0]],
            round=place[1] or 1,
            epoch=place[2],
            label=label_of(items[place[0]], attacked.get(key := (place[0], place[2])), verdict := said.get(place)),
            blocked=bool(turn.blocked),
            remark=verdict.reason if verdict else "",
            attacked=attacked.get(key),
        )
        for place, turn in turns.items()
    ]
    again = _asked_again(store, items, said)
    answers = [
        msgspec.structs.replace(one, round=min(one.round, last)) if (one.item.id, last, one.epoch) in again else one
        for one in answers
        if (one.item.id, last := len(one.item.prompts), one.epoch) not in again or one.round != last
    ]
    order = {item_id: k for k, item_id in enumerate(items)}
    answers.sort(key=lambda answer: (answer.epoch, order[answer.item.id], answer.round))
    return items, answers, len(again)


def _asked_again(
    store: Store, items: Mapping[str, SuiteItem], said: Mapping[tuple[str, int | None, int], Verdict]
) -> set[tuple[str, int, int]]:
    """Item, round and epoch of the answers that could not be read and were asked for again, or still are to be."""
    suites = [suite_named(name) for name in {item.suite for item in items.values()}]
    if not any(suite.again for suite in suites):
        return set()
    attacks = {strategy for suite in suites for strategy in suite.attacks.values()}
    found = set()
    for one in store.held():
        item_id, epoch = one.key.item_id, one.key.epoch
        if one.key.strategy in attacks or item_id not in items:
            continue
        place = (item_id, len(items[item_id].prompts), epoch)
        verdict = said.get(place)
        owed = one.status not in ("done", "skipped") and verdict is not None and verdict.label == UNREADABLE
        if one.kept > place[1] or (one.kept == place[1] and owed):
            found.add(place)
    return found


def label_of(item: SuiteItem, attacked: Attacked | None, verdict: Verdict | None) -> str | None:
    """An attack's outcome where it has one, else the judge's word."""
    if attacked is not None and attacked.ended in (labels := suite_named(item.suite).attack_labels):
        return labels[attacked.ended]
    return verdict.label if verdict else None


def attacked_in(store: Store) -> dict[tuple[str, int], Attacked]:
    """By item and epoch, of the attacks that have ended."""
    ended = {(one.key.item_id, one.key.epoch): one for one in store.held() if one.ended}
    read = store.readings("verdict") if ended else {}
    return {
        place: Attacked(one.ended or "", one.kept + one.taken_back, *read.get(place, (0, 0)))
        for place, one in ended.items()
    }
