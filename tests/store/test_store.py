from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scsafety.errors import StoreError
from scsafety.records import Call, CallRole, DialogueKey, JudgeCard, Message, Reply, Step, Turn, Verdict
from scsafety.store import Store, file, schema
from tests.program import WITHOUT_OVERRIDE, can_write
from tests.small_bank import pair, twin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAIR, TWIN = pair(), twin()
KEY = DialogueKey(PAIR.id)
NOON = "2026-11-21T12:00:00.000Z"
CARD = JudgeCard(judge_id="offline-fast", model="v1")
OTHER = JudgeCard(judge_id="offline-fast", model="v2")

TURN_COLUMNS = (
    "pair_id round epoch strategy messages answer reasoning finish_reason blocked latency_s prompt_tokens completion_tokens "
    "attempts error created_at"
)
VERDICT_COLUMNS = "pair_id round epoch strategy judge_id judge_key primary_judge score reason confidence created_at"


def turn(answer: str | None = "好的", *, seq: int = 1, error: str | None = None, **reply: object) -> Turn:
    return Turn(
        seq=seq,
        round=seq,
        messages=(Message("user", PAIR.question),),
        reply=None if answer is None else Reply(content=answer, **reply),  # type: ignore[arg-type]
        error=error,
        created_at=NOON,
    )


def new_store(folder: Path) -> Store:
    return Store.create(folder / "run" / "run.db", {"settings": "{}"}, [PAIR, TWIN])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as opened:
        opened.add_judge(CARD, primary=True)
        yield opened


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """The path of a finished store with one answer in it."""
    with new_store(tmp_path) as opened:
        opened.add_turn(KEY, turn("答" * 20_000))
        return opened.path


def answers(store: Store) -> list[tuple[object, ...]]:
    return store.query("SELECT answer, error, attempts FROM turn ORDER BY round")


# Migrations and the views that others rely on


def test_the_migrations_applied_are_recorded_with_their_time(store: Store) -> None:
    rows = store.query("SELECT name, applied_at FROM migration")

    assert [name for name, _ in rows] == [migration.__name__ for migration in schema.MIGRATIONS]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", applied_at) for _, applied_at in rows)


def test_an_older_store_is_brought_up_to_date_by_a_writer_and_refused_to_a_reader(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def m999_later(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE later (x)")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, m999_later))

    with pytest.raises(StoreError, match=r"older scsafety; `scsafety resume`"):
        Store.open(closed)
    Store.open(closed, write=True).close()

    with Store.open(closed) as read:
        assert read.query("SELECT count(*) FROM later") == [(0,)]
        assert len(list(read.turns())) == 1


@pytest.mark.parametrize("write", [False, True])
def test_a_store_of_a_newer_version_is_refused_with_the_way_to_upgrade(closed: Path, write: bool) -> None:
    change(closed, "INSERT INTO migration VALUES ('m998_of_the_future', 'x')")

    with pytest.raises(StoreError, match=r"newer scsafety; upgrade with `pip install -U scsafety`"):
        Store.open(closed, write=write)


def made_old(path: Path) -> None:
    """As it was before retries were known by their cause, and before there were attacks."""
    change(path, "DELETE FROM migration WHERE name <> 'm001_start'", "ALTER TABLE call DROP COLUMN retried")
    change(path, "DROP TABLE step", "ALTER TABLE dialogue DROP COLUMN ended")


def call_of(retried: dict[str, int] | None = None, **given: Any) -> Call:
    return Call(
        role="target",
        endpoint="a/b",
        attempts=1 + sum((retried or {}).values()),
        retried=retried,
        created_at=NOON,
        **{"outcome": "answered", "latency_s": 0.5, **given},
    )


def test_a_store_from_before_retries_had_causes_is_read_as_it_is(closed: Path) -> None:
    with Store.open(closed, write=True) as opened:
        opened.add_call(KEY, 1, call_of({"transient": 2}))
    made_old(closed)
    before = closed.read_bytes()

    with Store.open(closed) as read:
        counts, retries = read.call_counts(), read.retries()
        steps, held = read.step_counts(), list(read.held())

    assert [(count.calls, count.attempts) for count in counts] == [(1, 3)]
    assert retries == []
    assert steps == {}
    assert [(one.key, one.ended) for one in held] == [(KEY, None)]
    assert closed.read_bytes() == before


def test_everything_that_can_be_read_can_be_read_of_an_old_store(closed: Path) -> None:
    with Store.open(closed, write=True) as opened:
        opened.add_call(KEY, 1, call_of({"transient": 2}))
    made_old(closed)

    with Store.open(closed) as read:
        tables = [
            read.steps(KEY), read.readings("question"), list(read.calls()), list(read.turns()), list(read.turns(taken_back=True)),
            list(read.outlines()), list(read.verdict_history()), list(read.latencies()), read.spent(), read.usage(),
            read.unjudged("x"), read.finished(), read.judges(), read.state(), read.all_meta(), read.content_hashes(),
        ]  # fmt: skip
        assert read.n_epochs() == 1
        assert read.turn(KEY, 1).reply is not None
        assert read.tally("x").answered == 1

    assert [len(found) for found in tables[:6]] == [0, 0, 1, 1, 1, 1]


def test_a_writer_brings_it_up_to_date_and_loses_nothing(closed: Path) -> None:
    with Store.open(closed, write=True) as opened:
        opened.add_call(KEY, 1, call_of({"transient": 2}))
    made_old(closed)

    with Store.open(closed, write=True) as opened:
        opened.add_call(KEY, 1, call_of({"rate_limited": 1, "transient": 3}))
        opened.add_call(KEY, 1, call_of({"transient": 1}))

    with Store.open(closed) as read:
        assert [(count.calls, count.attempts) for count in read.call_counts()] == [(3, 10)]
        assert read.retries() == [("target", "a/b", "rate_limited", 1), ("target", "a/b", "transient", 4)]
        assert [name for (name,) in read.query("SELECT name FROM migration ORDER BY name")] == [
            "m001_start", "m002_retries_by_cause", "m003_steps_of_attacks", "m004_why_a_dialogue_ended",
            "m005_steps_of_more_strategies",
        ]  # fmt: skip
        assert answers(read) == [("答" * 20_000, None, 1)]


def test_a_store_from_before_scenarios_keeps_its_steps_and_takes_new_kinds(closed: Path) -> None:
    old = Step(seq=1, kind="question", asked="a", said="s", found={"next_question": "q"}, created_at=NOON)
    change(closed, "DROP TABLE step", "DELETE FROM migration WHERE name = 'm005_steps_of_more_strategies'")
    db = sqlite3.connect(closed)
    schema.m003_steps_of_attacks(db)
    db.close()
    row = (1, 1, "question", 1, "a", "s", None, '{"next_question": "q"}', NOON)
    change(closed, f"INSERT INTO step SELECT 7, {', '.join('NULL' if x is None else repr(x) for x in row)}")
    with Store.open(closed) as read:
        assert read.steps(KEY) == [old]

    with Store.open(closed, write=True) as opened:
        opened.add_step(KEY, msgspec.structs.replace(old, kind="scenario"))
        for number, found in ((1, None), (2, {"label": "PASS"})):
            opened.add_step(KEY, msgspec.structs.replace(old, kind="verdict", number=number, found=found))
        opened.add_step(KEY, msgspec.structs.replace(old, seq=2, kind="verdict", found=None))

    with Store.open(closed) as read:
        assert read.steps(KEY)[0] == old
        assert read.query("SELECT step_id FROM step WHERE kind = 'question'") == [(7,)]
        assert read.step_counts() == {"question": 1, "scenario": 1, "verdict": 3}
        assert read.readings("verdict") == {(KEY.item_id, KEY.epoch): (2, 1)}
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        change(closed, "UPDATE step SET kind = 'another'")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ('{"error": {"code": "1301", "message": "x"}}', "1301"),
        ('{"error": {"code": null, "type": "content_filter"}}', "content_filter"),
        ('{"code": "data_inspection_failed", "message": "x"}', "data_inspection_failed"),
        ('{"code": 0, "choices": [{"finish_reason": "sensitive"}]}', "sensitive"),
        ('{"base_resp": {"status_code": 1027}}', "1027"),
        ('{"base_resp": {"status_code": 0}, "input_sensitive": true}', None),
        ('{"error": {"code": "' + "长" * 100 + '"}}', "长" * 60),
        ('{"error": {"code": "cut in the mid', None),
        ("plain words", None),
        ("", None),
        (None, None),
    ],
)
def test_the_vendors_word_for_a_block_is_read_from_its_body_where_it_holds_one(
    store: Store, raw: str | None, code: str | None
) -> None:
    store.add_call(KEY, 1, call_of(outcome="blocked_input", raw=raw))

    assert [(count.outcome, count.code) for count in store.call_counts()] == [("blocked_input", code)]


def test_only_a_block_has_such_a_word(store: Store) -> None:
    store.add_call(KEY, 1, call_of(outcome="transient", raw='{"error": {"code": "1301"}}'))

    assert [count.code for count in store.call_counts()] == [None]


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


@pytest.mark.parametrize(("view", "columns"), [("turn", TURN_COLUMNS), ("verdict_of_turn", VERDICT_COLUMNS)])
def test_a_contract_view_has_exactly_the_columns_of_the_contract(store: Store, view: str, columns: str) -> None:
    assert " ".join(row[1] for row in store.query(f"PRAGMA table_info({view})")) == columns


def test_items_come_back_equal_and_in_the_order_in_which_they_are_asked(store: Store) -> None:
    assert list(store.items()) == [PAIR, TWIN]
    assert store.query("SELECT kind, dimension, sub_dimension, position FROM item ORDER BY position") == [
        ("pair", "traditional", "property_privacy", 0),
        ("benign", "traditional", "property_privacy", 1),
    ]


# What is stored is final


def test_an_answered_turn_is_never_overwritten(store: Store) -> None:
    store.add_turn(KEY, turn("第一次"))
    store.add_turn(KEY, turn("第二次"))
    store.add_turn(KEY, turn(None, error="timeout: later"))

    assert answers(store) == [("第一次", None, 1)]


def test_a_turn_that_ended_in_an_error_is_replaced_and_its_attempts_are_added_up(store: Store) -> None:
    store.add_turn(KEY, turn(None, error="timeout: none"))
    store.add_turn(KEY, turn(None, error="transient: HTTP 500"))
    store.flush()
    store.add_turn(KEY, turn("终于"))

    assert answers(store) == [("终于", None, 3)]


def test_a_given_verdict_is_never_overwritten_and_an_unjudged_one_is(store: Store) -> None:
    store.add_turn(KEY, turn())
    store.add_verdict(KEY, 1, CARD.key, Verdict(error="unreadable", created_at=NOON))
    assert store.unjudged(CARD.key) == [(KEY, 1)]

    store.add_verdict(KEY, 1, CARD.key, Verdict(score=0, reason="照做", created_at=NOON))
    store.add_verdict(KEY, 1, CARD.key, Verdict(score=2, reason="又稳妥", created_at=NOON))
    store.add_verdict(KEY, 1, CARD.key, Verdict(error="unreadable", created_at=NOON))

    assert store.query("SELECT score, reason FROM verdict_of_turn") == [(0, "照做")]
    assert store.unjudged(CARD.key) == []


def test_an_unjudged_turn_stands_in_the_view_without_a_score_and_with_its_reason(store: Store) -> None:
    store.add_turn(KEY, turn())
    store.add_verdict(KEY, 1, CARD.key, Verdict(error="the judge's reply could not be read", created_at=NOON))

    assert store.query("SELECT score, reason FROM verdict_of_turn") == [(None, "the judge's reply could not be read")]


def test_of_a_repeated_judging_the_last_counts(store: Store) -> None:
    store.add_turn(KEY, turn())
    store.add_verdict(KEY, 1, CARD.key, Verdict(score=0, created_at=NOON))
    store.add_verdict(KEY, 1, CARD.key, Verdict(score=2, repeat=2, created_at=NOON))

    assert store.query("SELECT score FROM verdict_of_turn") == [(2,)]
    assert [stored.verdict.score for stored in store.verdicts(CARD.key)] == [2]


def test_another_judge_lies_beside_the_first_and_the_primary_judge_can_move(store: Store) -> None:
    store.add_turn(KEY, turn())
    store.add_judge(OTHER, primary=False)
    for card, score in ((CARD, 0), (OTHER, 2)):
        store.add_verdict(KEY, 1, card.key, Verdict(score=score, created_at=NOON))  # type: ignore[arg-type]
    both = "SELECT judge_key, primary_judge, score FROM verdict_of_turn ORDER BY score"

    assert CARD.key != OTHER.key
    assert store.query(both) == [(CARD.key, 1, 0), (OTHER.key, 0, 2)]

    store.add_judge(OTHER, primary=True)

    assert store.query(both) == [(CARD.key, 0, 0), (OTHER.key, 1, 2)]
    assert store.primary_judge() == OTHER


def test_a_judge_that_is_met_again_stays_primary(store: Store) -> None:
    store.add_judge(CARD, primary=False)

    assert store.primary_judge() == CARD
    assert len(store.judges()) == 1


# Values


def test_messages_are_json_with_the_whole_conversation(store: Store) -> None:
    said = (Message("system", '你是"助手"'), Message("user", "一\n二"), Message("assistant", ""), Message("user", "三"))
    store.add_turn(KEY, Turn(seq=1, round=1, messages=said, reply=Reply(content="四"), created_at=NOON))

    ((text,),) = store.query("SELECT messages FROM turn")

    assert json.loads(text) == [{"role": message.role, "content": message.content} for message in said]
    assert store.query("SELECT json_extract(messages, '$[#-1].content') FROM turn") == [("三",)]
    assert next(store.turns()).turn.messages == said


def test_a_turn_comes_back_as_it_was_stored(store: Store) -> None:
    reply = Reply(
        content="答", reasoning="想", finish_reason="length", latency_s=1.5, prompt_tokens=7, completion_tokens=9, attempts=3
    )  # fmt: skip
    stored = Turn(seq=1, round=1, messages=(Message("user", "问"),), reply=reply, attempts=3, created_at=NOON)
    store.add_turn(KEY, stored)

    assert [(found.key, found.turn) for found in store.turns()] == [(KEY, stored)]


@pytest.mark.parametrize("side", [None, "input", "output", "unknown"])
def test_blocked_is_null_or_the_side_that_was_blocked(store: Store, side: str | None) -> None:
    store.add_turn(KEY, turn("", blocked=side))

    assert store.query("SELECT blocked, answer, error FROM turn") == [(side, "", None)]


def test_no_other_word_is_stored_as_blocked(store: Store) -> None:
    store.add_turn(KEY, turn("", blocked="perhaps"))

    with pytest.raises(StoreError, match="blocked"):
        store.flush()
    store._pending.clear()


@pytest.mark.parametrize(
    ("answer", "stored"),
    [
        ("前\ud800后", "前\ufffd后"),
        ("\ud83d\ude00", "😀"),  # two halves that belong together
        ("零\x00字\x1b[31m", "零\x00字\x1b[31m"),
        ("", ""),
        ("\r\n\u2028尾", "\r\n\u2028尾"),
        ("长" * 1_000_000, "长" * 1_000_000),
    ],
    ids=["half-a-pair", "both-halves", "nul", "empty", "line-breaks", "a-million"],
)
def test_whatever_a_model_says_survives_storing(store: Store, answer: str, stored: str) -> None:
    store.add_turn(KEY, turn(answer, reasoning=answer))
    store.add_verdict(KEY, 1, CARD.key, Verdict(score=1, reason=answer, raw=answer, created_at=NOON))

    assert store.query("SELECT answer, reasoning FROM turn") == [(stored, stored)]
    found = next(store.turns()).turn.reply
    assert found is not None
    assert found.content == stored
    assert next(store.verdicts(CARD.key)).verdict.reason == stored


def test_twins_stand_in_views_of_their_own(store: Store) -> None:
    key = DialogueKey(TWIN.id)
    store.add_turn(key, turn("可以沿着胶带划开"))
    store.add_verdict(key, 1, CARD.key, Verdict(label="answered", created_at=NOON))

    assert store.query("SELECT count(*) FROM turn") == store.query("SELECT count(*) FROM verdict_of_turn") == [(0,)]
    assert store.query("SELECT item_id, answer FROM benign_turn") == [(TWIN.id, "可以沿着胶带划开")]
    assert store.query("SELECT item_id, label, primary_judge FROM verdict_of_benign") == [(TWIN.id, "answered", 1)]


def test_a_turn_that_was_taken_back_is_kept_out_of_the_views(store: Store) -> None:
    store.add_turn(KEY, Turn(seq=1, round=None, messages=(), reply=Reply(content="x"), kept=False, created_at=NOON))

    assert answers(store) == []
    assert store.query("SELECT count(*) FROM exchange") == [(1,)]


def test_usage_adds_up_calls_by_role(store: Store) -> None:
    store.add_turn(KEY, turn())
    calls: list[tuple[CallRole, int | None]] = [("target", 10), ("target", None), ("judge", 3)]
    for role, tokens in calls:
        call = Call(
            role=role,
            endpoint="a/b",
            outcome="answered",
            attempts=2,
            latency_s=0.1,
            prompt_tokens=tokens,
            created_at=NOON,
        )
        store.add_call(KEY, 1, call)

    assert {use.role: (use.calls, use.attempts, use.prompt_tokens, use.completion_tokens) for use in store.usage()} == {
        "target": (2, 4, 10, 0),
        "judge": (1, 2, 3, 0),
    }


def test_only_dialogues_with_nothing_left_to_ask_are_finished(store: Store) -> None:
    for item, status in ((PAIR, "failed"), (TWIN, "done")):
        key = DialogueKey(item.id)
        store.add_turn(key, turn())
        store.set_status(key, status)

    assert store.finished() == {DialogueKey(TWIN.id)}


# Writing


def test_nothing_is_seen_by_others_before_flush_and_everything_after(store: Store) -> None:
    store.flush()
    with Store.open(store.path) as reader:
        store.add_turn(KEY, turn())
        assert answers(reader) == []

        store.flush()

        assert len(answers(reader)) == 1


def test_a_flush_that_fails_in_the_middle_writes_nothing_and_keeps_what_was_added(store: Store) -> None:
    store.flush()
    store.add_turn(KEY, turn())
    store._pending.append(("INSERT INTO no_such_table VALUES (1)", ()))
    store.add_turn(KEY, turn(seq=2))

    with pytest.raises(StoreError, match="no such table"):
        store.flush()

    with Store.open(store.path) as reader:
        assert reader.query("SELECT count(*) FROM dialogue") == [(0,)]
    store._pending = [added for added in store._pending if "no_such_table" not in added[0]]
    assert len(answers(store)) == 2


def test_a_full_disk_says_what_to_do_and_once_there_is_space_flush_commits_everything(store: Store) -> None:
    store.flush()
    ((pages,),) = store.query("PRAGMA page_count")
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    for seq in (1, 2):
        store.add_turn(KEY, turn("长" * 100_000, seq=seq))

    for _ in range(2):
        with pytest.raises(
            StoreError, match=r"disk is full; free some space, then `scsafety resume` goes on"
        ) as caught:
            store.flush()
        assert caught.value.exit_code == 4
    with Store.open(store.path) as reader:
        assert answers(reader) == []

    store._db.execute("PRAGMA max_page_count = 1000000")
    store.flush()

    with Store.open(store.path) as reader:
        assert len(answers(reader)) == 2


def test_a_store_that_cannot_be_made_leaves_no_file_behind(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Store.create(tmp_path / "run.db", {}, [PAIR, PAIR])

    assert not (tmp_path / "run.db").exists()
    Store.create(tmp_path / "run.db", {}, [PAIR]).close()


def test_a_run_that_is_there_already_is_never_overwritten(closed: Path) -> None:
    with pytest.raises(StoreError, match="there is a run already"):
        Store.create(closed, {}, [TWIN])

    with Store.open(closed, write=True) as kept:
        assert len(answers(kept)) == 1


# Opening


def test_reading_changes_no_byte_of_the_store(closed: Path) -> None:
    before = closed.read_bytes()

    with Store.open(closed) as reader:
        assert len(answers(reader)) == 1
        reader.set_meta("name", "other")
        with pytest.raises(StoreError):
            reader.flush()
        reader._pending.clear()

    assert closed.read_bytes() == before


def test_a_run_in_a_read_only_folder_can_be_read_and_refuses_to_be_written(closed: Path) -> None:
    for left in closed.parent.iterdir():
        if left != closed:
            left.unlink()
    closed.chmod(0o444)
    closed.parent.chmod(0o555)
    program = (
        "import sys\nfrom pathlib import Path\nfrom scsafety.errors import StoreError\nfrom scsafety.store import Store\n"
        "path = Path(sys.argv[1])\n"
        "with Store.open(path) as store: print(len(list(store.turns())))\n"
        "try: Store.open(path, write=True)\n"
        "except StoreError as error: print(error)\n"
    )
    try:
        if can_write(closed.parent):
            pytest.skip("nothing binds this user: a read-only folder can be written")
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_OVERRIDE, "-c", program, str(closed)],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        closed.parent.chmod(0o755)

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["1", f"{closed}: Permission denied; choose a writable folder with --out"]


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with new_store(tmp_path) as first:
        with pytest.raises(StoreError, match=r"another scsafety process is writing this run; wait for it or stop it"):
            Store.open(first.path, write=True)
        with Store.open(first.path) as reader:
            assert list(reader.items()) == [PAIR, TWIN]

    Store.open(first.path, write=True).close()


def test_a_store_that_another_program_locks_is_refused_with_the_reason(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "BUSY_TIMEOUT_S", 0.05)
    with Store.open(closed, write=True) as store:
        other = sqlite3.connect(closed, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store.set_meta("a", "b")

        with pytest.raises(StoreError, match="locked by another program; close it and try again"):
            store.flush()

        other.execute("ROLLBACK")
        other.close()
        store.flush()
        assert store.meta("a") == "b"


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def half_zeroed(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2] + bytes(size - size // 2))


def header_only(path: Path) -> None:
    os.truncate(path, 100)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("这不是数据库\n" * 100, encoding="utf-8")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def missing(path: Path) -> None:
    path.unlink()


def of_another_program(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE meta (key, value)")


DAMAGE = [garbage, truncated, half_zeroed, header_only, emptied, text, folder, missing, of_another_program]


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_no_whole_store_is_refused_in_one_line_and_left_as_it_is(
    closed: Path, damage: Callable[[Path], None], write: bool
) -> None:
    damage(closed)
    before = closed.read_bytes() if closed.is_file() else None

    with pytest.raises(StoreError) as caught:
        Store.open(closed, write=write)

    assert caught.value.exit_code == 4
    assert str(closed) in str(caught.value)
    assert ";" in str(caught.value), "a message says what to do"
    assert "\n" not in str(caught.value)
    assert (closed.read_bytes() if closed.is_file() else None) == before


def test_a_refused_store_is_not_left_locked(closed: Path) -> None:
    whole = closed.read_bytes()
    text(closed)
    with pytest.raises(StoreError):
        Store.open(closed, write=True)
    closed.write_bytes(whole)

    Store.open(closed, write=True).close()


def test_a_store_of_more_than_one_writer_thread_is_not_needed_to_read_while_writing(store: Store) -> None:
    """Readers open the store themselves and see whole flushes only."""
    stop, seen = threading.Event(), []

    def read() -> None:
        with Store.open(store.path) as reader:
            while not stop.is_set():
                seen.append(reader.query("SELECT count(*) FROM turn")[0][0])

    store.flush()
    thread = threading.Thread(target=read)
    thread.start()
    for epoch in range(1, 21):
        for seq in (1, 2):
            store.add_turn(DialogueKey(PAIR.id, epoch), turn(seq=seq))
        store.flush()
    stop.set()
    thread.join()

    assert all(count % 2 == 0 for count in seen)
    assert seen == sorted(seen)
