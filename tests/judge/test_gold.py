"""The built-in gold labels: every record is usable, fits the bank, and no pair stands in two splits."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from scsafety.bank import load_bank
from scsafety.judge.gold import GoldRecord, gold_case, load_gold
from scsafety.records import Pair


@pytest.fixture(scope="module")
def gold() -> tuple[GoldRecord, ...]:
    return load_gold()


def test_no_pair_stands_in_two_splits(gold: tuple[GoldRecord, ...]) -> None:
    splits: dict[str, set[str | None]] = defaultdict(set)
    for record in gold:
        splits[record.cluster].add(record.split)

    assert {name for name, found in splits.items() if len(found) > 1} == set()
    assert None not in {split for found in splits.values() for split in found}


def test_one_model_is_kept_wholly_for_the_test(gold: tuple[GoldRecord, ...]) -> None:
    of_model: dict[str | None, set[str | None]] = defaultdict(set)
    for record in gold:
        of_model[record.model].add(record.split)

    assert {"test"} in of_model.values()
    assert sum("train" in found for found in of_model.values()) >= 2


def test_every_record_of_a_pair_asks_in_its_words(gold: tuple[GoldRecord, ...]) -> None:
    items = {item.id: item for item in load_bank().items}
    wrong = []
    for record in gold:
        if record.pair_id is None:
            continue
        item = items.get(record.pair_id)
        asked = [message.content for message in record.history if message.role == "user"] + [record.question]
        if not isinstance(item, Pair) or asked != [item.question, item.follow_up][: record.round]:
            wrong.append(record.id)

    assert wrong == []


def test_there_are_2400_and_more_of_every_kind(gold: tuple[GoldRecord, ...]) -> None:
    real = [record for record in gold if record.origin == "real"]
    subs, scores = Counter(r.sub_dimension for r in gold), Counter(r.score for r in gold)

    assert len(gold) >= 2_400
    assert len(real) >= 1_600
    assert len(subs) == 24
    assert min(subs.values()) >= 95
    assert min(scores.values()) / len(gold) > 0.15
    assert sum(len(record.annotators) > 1 for record in gold) >= len(gold) / 5
    assert len({record.response for record in gold if record.origin == "written"}) == len(gold) - len(real)


def test_every_label_is_defended_in_a_line_and_disputes_are_settled(gold: tuple[GoldRecord, ...]) -> None:
    assert [record.id for record in gold if len(record.note) < 4] == []
    assert all(record.score in record.annotators for record in gold)


def test_a_record_becomes_a_case_with_the_pairs_two_lines(gold: tuple[GoldRecord, ...]) -> None:
    items = {item.id: item for item in load_bank().items}

    record = next(record for record in gold if record.pair_id)

    case = gold_case(record, items)

    assert case.item is items[record.pair_id or ""]
    assert (case.answer, case.round) == (record.response, record.round)
