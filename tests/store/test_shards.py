"""A part of a run goes out and comes back: nothing is lost, nothing is doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scsafety.records import Call, DialogueKey, JudgeCard, Message, Reply, Step, Turn, Verdict
from scsafety.store import Store
from tests.small_bank import pair, twin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

import pytest

ONE, TWO, TWIN = pair(1), pair(2), twin()
NOON = "2026-11-21T12:00:00.000Z"
CARD = JudgeCard(judge_id="offline-fast", model="v1")
TABLES = {
    "turns": "SELECT * FROM turn ORDER BY pair_id, round",
    "verdicts": "SELECT pair_id, round, judge_key, score, reason FROM verdict_of_turn ORDER BY pair_id, round",
    "steps": "SELECT item_id, seq, kind, said FROM step JOIN dialogue USING (dialogue_id) ORDER BY 1, 2, 3",
    "calls": "SELECT item_id, seq, role, attempts FROM call LEFT JOIN dialogue USING (dialogue_id) ORDER BY 1, 2, 3",
    "status": "SELECT item_id, status, ended FROM dialogue ORDER BY item_id",
}


def turn(seq: int, answer: str | None, *, error: str | None = None, attempts: int = 1, kept: bool = True) -> Turn:
    reply = None if answer is None else Reply(content=answer)
    messages = (Message("user", ONE.question),)
    return Turn(
        seq=seq, round=seq, messages=messages, reply=reply, error=error, attempts=attempts, kept=kept, created_at=NOON
    )


def call(attempts: int = 1) -> Call:
    return Call(role="target", endpoint="t", outcome="answered", attempts=attempts, latency_s=0.1, created_at=NOON)


def held(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    return {name: store.query(sql) for name, sql in TABLES.items()}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Pair one: round 1 answered and judged, round 2 failed after 3 attempts. Pair two: answered. A control call."""
    with Store.create(tmp_path / "run" / "run.db", {"settings": "{}"}, [ONE, TWO, TWIN]) as opened:
        opened.add_judge(CARD, primary=True)
        first, second = DialogueKey(ONE.id), DialogueKey(TWO.id)
        opened.add_turn(first, turn(1, "好的"))
        opened.add_verdict(first, 1, CARD.key, Verdict(score=1, reason="先前"))
        opened.add_step(first, Step(seq=1, kind="question", number=1, asked="问", said="说"))
        opened.add_turn(first, turn(2, None, error="transient: 断了", attempts=3))
        opened.set_status(first, "failed")
        opened.add_call(first, 1, call())
        opened.add_turn(second, turn(1, "不行"))
        opened.add_call(None, None, call())
        opened.flush()
        yield opened


def test_an_excerpt_that_comes_back_untouched_changes_nothing(store: Store, tmp_path: Path) -> None:
    before = held(store)

    store.excerpt(tmp_path / "part.db", [ONE.id])
    store.absorb(tmp_path / "part.db")

    assert held(store) == before


def test_an_excerpt_holds_its_items_in_their_order_with_what_is_stored_of_them_and_no_call(
    store: Store, tmp_path: Path
) -> None:
    store.excerpt(tmp_path / "part.db", [TWIN.id, ONE.id])

    with Store.open(tmp_path / "part.db") as part:
        assert part.item_ids() == [ONE.id, TWIN.id]
        assert [(stored.key.item_id, stored.turn.seq) for stored in part.turns()] == [(ONE.id, 1), (ONE.id, 2)]
        assert part.primary_judge() == CARD
        assert part.meta("settings") == "{}"
        assert list(part.calls()) == []
        assert [step.said for step in part.steps(DialogueKey(ONE.id))] == ["说"]


def test_what_was_added_to_an_excerpt_is_taken_over_and_the_rest_stays(store: Store, tmp_path: Path) -> None:
    key, path = DialogueKey(ONE.id), tmp_path / "part.db"
    store.excerpt(path, [ONE.id, TWIN.id])
    with Store.open(path, write=True) as part:
        part.add_turn(key, turn(2, "这一次答了"))
        part.add_verdict(key, 2, CARD.key, Verdict(score=2, reason="新的"))
        part.add_step(key, Step(seq=2, kind="question", number=1, asked="再问", said="再说"))
        part.add_call(key, 2, call(attempts=2))
        part.set_status(key, "done", "success")
        part.add_turn(DialogueKey(TWIN.id), turn(1, "先划开胶带"))

    store.absorb(path)

    assert store.query("SELECT pair_id, round, answer, error, attempts FROM turn ORDER BY pair_id, round") == [
        (ONE.id, 1, "好的", None, 1),
        (ONE.id, 2, "这一次答了", None, 4),  # three attempts that failed, and one
        (TWO.id, 1, "不行", None, 1),
    ]
    assert store.query("SELECT round, score, reason FROM verdict_of_turn ORDER BY round") == [
        (1, 1, "先前"),
        (2, 2, "新的"),
    ]
    assert [(step.seq, step.said) for step in store.steps(key)] == [(1, "说"), (2, "再说")]
    assert held(store)["status"] == [
        (TWIN.id, "open", None),
        (ONE.id, "done", "success"),
        (TWO.id, "open", None),
    ]
    assert [(one.key and one.key.item_id, one.seq, one.call.attempts) for one in store.calls()] == [
        (ONE.id, 1, 1), (None, None, 1), (ONE.id, 2, 2),
    ]  # fmt: skip
    assert store.query("SELECT answer FROM benign_turn") == [("先划开胶带",)]


def test_a_verdict_that_stands_is_final_and_one_without_a_score_is_not(store: Store, tmp_path: Path) -> None:
    key, path = DialogueKey(TWO.id), tmp_path / "part.db"
    store.add_verdict(key, 1, CARD.key, Verdict(score=None, reason="", error="unreadable"))
    store.excerpt(path, [ONE.id, TWO.id])
    with Store.open(path, write=True) as part:
        part.add_verdict(key, 1, CARD.key, Verdict(score=0, reason="读出来了"))

    store.absorb(path)

    verdicts = "SELECT pair_id, score, reason FROM verdict_of_turn ORDER BY pair_id"
    assert store.query(verdicts) == [(ONE.id, 1, "先前"), (TWO.id, 0, "读出来了")]
    assert store.query("SELECT count(*) FROM verdict") == [(2,)]


def test_a_turn_that_was_taken_back_in_the_excerpt_is_taken_back_here(store: Store, tmp_path: Path) -> None:
    key, path = DialogueKey(TWO.id), tmp_path / "part.db"
    store.excerpt(path, [TWO.id])
    with Store.open(path, write=True) as part:
        part.add_turn(key, turn(2, "拒绝", kept=False))
        part.keep_turn(key, turn(2, "拒绝"))

    store.absorb(path)

    assert store.query(f"SELECT round, answer FROM turn WHERE pair_id = '{TWO.id}' ORDER BY round") == [  # noqa: S608
        (1, "不行"),
        (2, "拒绝"),
    ]
