"""The store of a run: one SQLite file, one writer, and the only SQL of the project.

Tables are our own and change by migrations; the views `turn`, `verdict_of_turn`, `benign_turn`, `verdict_of_benign`
and `usage` are a contract for other people's scripts. Writes are buffered and committed together by `flush`, which the
engine calls every 20 ms, so that storing never stands in the way of asking.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from filelock import FileLock, Timeout

from scsafety import taxonomy
from scsafety.errors import StoreError
from scsafety.records import (
    Call,
    DialogueKey,
    Item,
    JudgeCard,
    Message,
    Pair,
    Reply,
    Score,
    Side,
    Step,
    SuiteItem,
    Turn,
    Twin,
    Verdict,
    content_hash,
    item_json,
    utc_now,
    whole_characters,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

BUSY_TIMEOUT_S = 5.0
ROWS_AT_ONCE = 200
QUICK_CHECK_BYTES = 64 * 2**20  # a larger store is checked as it is read


def m001_start(db: sqlite3.Connection) -> None:
    for statement in TABLES.split(";\n"):
        db.execute(statement)


TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE item (
  item_id TEXT PRIMARY KEY, content_hash TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('pair', 'benign', 'suite', 'control')),
  dimension TEXT, sub_dimension TEXT, position INTEGER NOT NULL UNIQUE, json TEXT NOT NULL);
CREATE TABLE dialogue (
  dialogue_id INTEGER PRIMARY KEY, item_id TEXT NOT NULL REFERENCES item, epoch INTEGER NOT NULL,
  strategy TEXT NOT NULL, attempt INTEGER NOT NULL,
  status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'done', 'failed', 'skipped')),
  UNIQUE (item_id, epoch, strategy, attempt));
CREATE TABLE exchange (
  exchange_id INTEGER PRIMARY KEY, dialogue_id INTEGER NOT NULL REFERENCES dialogue, seq INTEGER NOT NULL,
  round INTEGER, kept INTEGER NOT NULL DEFAULT 1, messages TEXT NOT NULL, answer TEXT, reasoning TEXT,
  finish_reason TEXT, blocked TEXT CHECK (blocked IN ('input', 'output', 'unknown')), latency_s REAL,
  prompt_tokens INTEGER, completion_tokens INTEGER, attempts INTEGER NOT NULL, error TEXT, created_at TEXT NOT NULL,
  CHECK ((answer IS NULL) = (error IS NOT NULL)), UNIQUE (dialogue_id, seq));
CREATE TABLE call (
  call_id INTEGER PRIMARY KEY, dialogue_id INTEGER REFERENCES dialogue, seq INTEGER,
  role TEXT NOT NULL CHECK (role IN ('target', 'attacker', 'judge')), judge_key TEXT, endpoint TEXT NOT NULL,
  outcome TEXT NOT NULL, attempts INTEGER NOT NULL, latency_s REAL, prompt_tokens INTEGER, completion_tokens INTEGER,
  model TEXT, request_id TEXT, fingerprint TEXT, raw TEXT, created_at TEXT NOT NULL);
CREATE TABLE judge (
  judge_key TEXT PRIMARY KEY, judge_id TEXT NOT NULL, model TEXT, prompt_hash TEXT, parameters TEXT NOT NULL,
  artefact_hash TEXT, primary_judge INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX one_primary_judge ON judge (primary_judge) WHERE primary_judge = 1;
CREATE TABLE verdict (
  verdict_id INTEGER PRIMARY KEY, exchange_id INTEGER NOT NULL REFERENCES exchange,
  judge_key TEXT NOT NULL REFERENCES judge, repeat INTEGER NOT NULL DEFAULT 1,
  score INTEGER CHECK (score IN (0, 1, 2)), label TEXT, value REAL, reason TEXT NOT NULL, confidence REAL,
  error TEXT, raw TEXT, created_at TEXT NOT NULL, UNIQUE (exchange_id, judge_key, repeat));
CREATE VIEW kept_exchange AS
  SELECT e.*, d.item_id, d.epoch, d.strategy, i.kind FROM exchange e JOIN dialogue d USING (dialogue_id)
  JOIN item i USING (item_id) WHERE e.kept;
CREATE VIEW last_verdict AS
  SELECT v.*, j.judge_id, j.primary_judge FROM verdict v JOIN judge j USING (judge_key)
  WHERE v.repeat = (SELECT max(w.repeat) FROM verdict w WHERE w.exchange_id = v.exchange_id AND w.judge_key = v.judge_key);
CREATE VIEW turn AS
  SELECT item_id AS pair_id, round, epoch, strategy, messages, answer, reasoning, finish_reason, blocked, latency_s,
    prompt_tokens, completion_tokens, attempts, error, created_at FROM kept_exchange WHERE kind = 'pair';
CREATE VIEW verdict_of_turn AS
  SELECT e.item_id AS pair_id, e.round, e.epoch, e.strategy, v.judge_id, v.judge_key, v.primary_judge, v.score,
    coalesce(v.error, v.reason) AS reason, v.confidence, v.created_at
  FROM last_verdict v JOIN kept_exchange e USING (exchange_id) WHERE e.kind = 'pair';
CREATE VIEW benign_turn AS
  SELECT item_id, epoch, strategy, messages, answer, reasoning, finish_reason, blocked, latency_s, prompt_tokens,
    completion_tokens, attempts, error, created_at FROM kept_exchange WHERE kind = 'benign';
CREATE VIEW verdict_of_benign AS
  SELECT e.item_id, e.epoch, e.strategy, v.judge_id, v.judge_key, v.primary_judge, v.label,
    coalesce(v.error, v.reason) AS reason, v.confidence, v.created_at
  FROM last_verdict v JOIN kept_exchange e USING (exchange_id) WHERE e.kind = 'benign';
CREATE VIEW usage AS
  SELECT role, count(*) AS calls, sum(attempts) AS attempts, coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
    coalesce(sum(completion_tokens), 0) AS completion_tokens FROM call GROUP BY role
"""


def m002_retries_by_cause(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE call ADD COLUMN retried TEXT")  # JSON: {cause: attempts}; null: none, or not known


def m003_steps_of_attacks(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE step (step_id INTEGER PRIMARY KEY, dialogue_id INTEGER NOT NULL REFERENCES dialogue, "
        "seq INTEGER NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('question', 'refusal', 'success')), "
        "number INTEGER NOT NULL, asked TEXT NOT NULL, said TEXT NOT NULL, "
        "blocked TEXT CHECK (blocked IN ('input', 'output', 'unknown')), found TEXT, created_at TEXT NOT NULL, "
        "UNIQUE (dialogue_id, seq, kind, number))"
    )


def m004_why_a_dialogue_ended(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE dialogue ADD COLUMN ended TEXT")  # of an adaptive one; null: nothing more to ask, or open


def m005_steps_of_more_strategies(db: sqlite3.Connection) -> None:
    """SQLite cannot change a CHECK, so the table is written anew."""
    db.execute("ALTER TABLE step RENAME TO step_before")
    db.execute(
        "CREATE TABLE step (step_id INTEGER PRIMARY KEY, dialogue_id INTEGER NOT NULL REFERENCES dialogue, "
        "seq INTEGER NOT NULL, "
        "kind TEXT NOT NULL CHECK (kind IN ('question', 'refusal', 'success', 'scenario', 'verdict')), "
        "number INTEGER NOT NULL, asked TEXT NOT NULL, said TEXT NOT NULL, "
        "blocked TEXT CHECK (blocked IN ('input', 'output', 'unknown')), found TEXT, created_at TEXT NOT NULL, "
        "UNIQUE (dialogue_id, seq, kind, number))"
    )
    db.execute("INSERT INTO step SELECT * FROM step_before")
    db.execute("DROP TABLE step_before")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    m001_start,
    m002_retries_by_cause,
    m003_steps_of_attacks,
    m004_why_a_dialogue_ended,
    m005_steps_of_more_strategies,
)
# what a reader, who changes nothing, sees in place of a migration that an older store lacks
STAND_INS = {
    "m002_retries_by_cause": "CREATE TEMP VIEW call AS SELECT *, NULL AS retried FROM main.call",
    "m003_steps_of_attacks": "CREATE TEMP VIEW step AS SELECT NULL AS step_id, NULL AS dialogue_id, NULL AS seq, "
    "NULL AS kind, NULL AS number, NULL AS asked, NULL AS said, NULL AS blocked, NULL AS found, NULL AS created_at WHERE 0",
    "m004_why_a_dialogue_ended": "CREATE TEMP VIEW dialogue AS SELECT *, NULL AS ended FROM main.dialogue",
    "m005_steps_of_more_strategies": "SELECT 1",  # the older table reads the same
}

# the vendor's own word for a block, from the body behind it, where that is whole and holds one
BLOCK_CODE = """
CASE WHEN outcome LIKE 'blocked%' AND json_valid(raw) THEN substr(coalesce(
  json_extract(raw, '$.error.code'), json_extract(raw, '$.error.type'), nullif(json_extract(raw, '$.code'), 0),
  json_extract(raw, '$.error_code'), nullif(json_extract(raw, '$.base_resp.status_code'), 0),
  json_extract(raw, '$.choices[0].finish_reason'), json_extract(raw, '$.promptFeedback.blockReason')), 1, 60) END"""


class StoredTurn(msgspec.Struct, frozen=True):
    """A kept turn with its place in the run."""

    key: DialogueKey
    turn: Turn


class StoredVerdict(msgspec.Struct, frozen=True):
    key: DialogueKey
    seq: int
    round: int | None
    verdict: Verdict


class StoredCall(msgspec.Struct, frozen=True):
    key: DialogueKey | None  # None: of no dialogue, as the control question
    seq: int | None
    judge_key: str | None
    call: Call


class Outline(NamedTuple):
    """What a count needs of a kept turn."""

    item_id: str
    epoch: int
    round: int | None
    answered: int  # 0 or 1; a block is an answer
    blocked: Side | None
    finish_reason: str | None
    created_at: str


class Held(NamedTuple):
    """How far a dialogue is."""

    key: DialogueKey
    status: str
    ended: str | None
    kept: int  # answered turns that stayed in the conversation
    taken_back: int


class Tally(msgspec.Struct, frozen=True):
    answered: int  # kept turns with an answer, blocked ones included
    blocked: int
    judged: int  # of them, those with a verdict
    scored: int  # of those, the ones with a score, which those of pairs have
    score_sum: int


class Usage(msgspec.Struct, frozen=True):
    role: str
    calls: int
    attempts: int  # requests sent, retries included
    prompt_tokens: int
    completion_tokens: int


class CallCount(msgspec.Struct, frozen=True):
    """Calls to one endpoint that ended in one way."""

    role: str
    endpoint: str
    outcome: str
    code: str | None  # the vendor's own word for a block; None: no block, or not known
    calls: int
    attempts: int


class Store:
    """Opened by `Store.create` or `Store.open`; a context manager. Every method may raise StoreError."""

    def __init__(self, path: Path, db: sqlite3.Connection, lock: FileLock | None) -> None:
        self.path, self._db, self._lock = path, db, lock
        self._pending: list[tuple[str, tuple[Any, ...]]] = []

    # Opening and closing

    @classmethod
    def create(cls, path: Path, meta: dict[str, str], items: Iterable[Item]) -> Store:
        """A new store with its items frozen in it; all of it is written in one transaction."""
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _locked(path)
            if path.exists():  # another process may have made it since it was looked for
                lock.release()
                raise StoreError(f"{path}: there is a run already; `scsafety resume` goes on with it")
            try:
                store = cls(path, _connect(path, create=True), lock)
            except BaseException:
                lock.release()
                raise
        try:
            with _explained(path), _transaction(store._db):
                _migrate(store._db, path, create=True)
                store._db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
                store._db.executemany(
                    "INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (_item_row(position, item) for position, item in enumerate(items)),
                )
        except BaseException:
            store._close_files()
            path.unlink(missing_ok=True)  # nothing half-written: a store without its items is no run
            raise
        return store

    @classmethod
    def open(cls, path: Path, *, write: bool = False) -> Store:
        if not path.is_file():
            raise StoreError(f"{path}: no run there; `scsafety runs list` shows the runs of this folder")
        lock = db = None
        with _explained(path):
            if write:
                lock = _locked(path)
            try:
                db = _connect(path, create=False, write=write)
                store = cls(path, db, lock)
                small = path.stat().st_size < QUICK_CHECK_BYTES
                if small and db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    raise _damaged(path)
                with _transaction(db, write=write):
                    _migrate(db, path, write=write)
                if write:  # not before it is known to be ours
                    db.execute("PRAGMA journal_mode = WAL")
            except BaseException:
                if db is not None:
                    db.close()
                if lock is not None:
                    lock.release()
                raise
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._close_files()

    def _close_files(self) -> None:
        self._db.close()
        if self._lock is not None:
            self._lock.release()

    # Writing

    def flush(self) -> None:
        """Commit everything that was added. On an error nothing of it is half-written and it stays pending."""
        if not self._pending:
            return
        with _explained(self.path), _transaction(self._db):
            for statement, row in self._pending:
                self._db.execute(statement, row)
        self._pending.clear()

    def set_meta(self, key: str, value: str) -> None:
        self._pending.append(("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value)))

    def add_judge(self, card: JudgeCard, *, primary: bool) -> None:
        """Make a judge known; a new primary judge takes the place of the old one."""
        if primary:
            self._pending.append(("UPDATE judge SET primary_judge = 0 WHERE judge_key <> ?", (card.key,)))
        self._pending.append((
            "INSERT INTO judge VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "primary_judge = max(primary_judge, excluded.primary_judge)",
            (card.key, card.judge_id, card.model, card.prompt_hash, _json(card.parameters), card.artefact_hash, primary),
        ))  # fmt: skip

    def set_status(self, key: DialogueKey, status: str, ended: str | None = None) -> None:
        """ended: why, where an adaptive strategy says so."""
        self._pending.append((
            f"UPDATE dialogue SET status = ?, ended = ? WHERE dialogue_id = {DIALOGUE_ID}", (status, ended, *_key_row(key))
        ))  # fmt: skip

    def begin(self, key: DialogueKey) -> None:
        """Have a row for the dialogue; `add_turn` sees to that itself."""
        self._pending.append((BEGIN_DIALOGUE, _key_row(key)))

    def add_step(self, key: DialogueKey, step: Step) -> None:
        """Store what an attacker said, in a dialogue that has begun."""
        self._pending.append((
            "INSERT INTO step (dialogue_id, seq, kind, number, asked, said, blocked, found, created_at) "
            f"VALUES ({DIALOGUE_ID}, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *_key_row(key), step.seq, step.kind, step.number, _text(step.asked), _text(step.said), step.blocked,
                None if step.found is None else _json(step.found), step.created_at,
            ),
        ))  # fmt: skip

    def keep_turn(self, key: DialogueKey, turn: Turn) -> None:
        """A stored answer stays in the conversation, as this round of it."""
        self._pending.append((
            f"UPDATE exchange SET kept = 1, round = ? WHERE dialogue_id = {DIALOGUE_ID} AND seq = ?",
            (turn.round, *_key_row(key), turn.seq),
        ))  # fmt: skip

    def add_turn(self, key: DialogueKey, turn: Turn) -> None:
        """Store an exchange; one that ended in an error is replaced, an answered one never."""
        reply = turn.reply
        self._pending += [
            (BEGIN_DIALOGUE, _key_row(key)),
            (
                "INSERT INTO exchange (dialogue_id, seq, round, kept, messages, answer, reasoning, finish_reason, blocked, "
                "latency_s, prompt_tokens, completion_tokens, attempts, error, created_at) "
                f"VALUES ({DIALOGUE_ID}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (dialogue_id, seq) DO UPDATE SET round = excluded.round, kept = excluded.kept, "
                "messages = excluded.messages, answer = excluded.answer, reasoning = excluded.reasoning, "
                "finish_reason = excluded.finish_reason, blocked = excluded.blocked, latency_s = excluded.latency_s, "
                "prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens, "
                "attempts = exchange.attempts + excluded.attempts, error = excluded.error, "
                "created_at = excluded.created_at WHERE exchange.error IS NOT NULL",
                (
                    *_key_row(key), turn.seq, turn.round, turn.kept, _json(turn.messages),
                    _text(reply.content) if reply else None, _text(reply.reasoning) if reply else None,
                    _text(reply.finish_reason) if reply else None, reply.blocked if reply else None,
                    reply.latency_s if reply else None, reply.prompt_tokens if reply else None,
                    reply.completion_tokens if reply else None, turn.attempts, _text(turn.error),
                    turn.created_at,
                ),
            ),
        ]  # fmt: skip

    def add_verdict(self, key: DialogueKey, seq: int, judge_key: str, verdict: Verdict) -> None:
        """Store a verdict; an unjudged one is replaced, a given one never (another `repeat` is another verdict)."""
        self._pending.append((
            "INSERT INTO verdict (exchange_id, judge_key, repeat, score, label, reason, confidence, error, raw, created_at) "
            f"VALUES ((SELECT exchange_id FROM exchange WHERE dialogue_id = {DIALOGUE_ID} AND seq = ?), "
            "?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (exchange_id, judge_key, repeat) DO UPDATE SET score = excluded.score, label = excluded.label, "
            "reason = excluded.reason, confidence = excluded.confidence, error = excluded.error, raw = excluded.raw, "
            "created_at = excluded.created_at WHERE verdict.score IS NULL AND verdict.label IS NULL",
            (
                *_key_row(key), seq, judge_key, verdict.repeat, verdict.score, verdict.label, _text(verdict.reason),
                verdict.confidence, _text(verdict.error), _text(verdict.raw), verdict.created_at or utc_now(),
            ),
        ))  # fmt: skip

    def add_call(self, key: DialogueKey | None, seq: int | None, call: Call, *, judge_key: str | None = None) -> None:
        row = _key_row(key) if key else (None, None, None, None)
        self._pending.append((
            "INSERT INTO call (dialogue_id, seq, role, judge_key, endpoint, outcome, attempts, latency_s, prompt_tokens, "
            "completion_tokens, model, request_id, fingerprint, raw, created_at, retried) "
            f"VALUES ({DIALOGUE_ID}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *row, seq, call.role, judge_key, call.endpoint, call.outcome, call.attempts, call.latency_s,
                call.prompt_tokens, call.completion_tokens, _text(call.model), _text(call.request_id), _text(call.fingerprint),
                _text(call.raw),
                call.created_at, _json(call.retried) if call.retried else None,
            ),
        ))  # fmt: skip

    # Shards: a part of the run that another process goes on with

    def excerpt(self, path: Path, item_ids: Sequence[str]) -> None:
        """Write a store of these items to `path`, with all that is stored of them but the calls: those stay here."""
        self.flush()
        with _explained(path), closing(_connect(path, create=True)) as db:
            db.execute("PRAGMA synchronous = OFF")  # it is a copy
            with _transaction(db):
                _migrate(db, path, create=True)
            db.execute("ATTACH ? AS whole", (f"{self.path.resolve().as_uri()}?mode=ro",))
            with _transaction(db):
                db.execute("CREATE TEMP TABLE wanted AS SELECT value AS item_id FROM json_each(?)", (_json(item_ids),))
                for statement in EXCERPT:
                    db.execute(statement)

    def absorb(self, path: Path) -> None:
        """Take over what was added to an excerpt of this run, its calls too; in one transaction, once for each excerpt.

        What stood here already stays: the excerpt holds it too, and there as here an answer and a verdict are final.
        """
        self.flush()
        with _explained(self.path):
            self._db.execute("ATTACH ? AS shard", (f"{path.resolve().as_uri()}?immutable=1",))
            try:
                with _transaction(self._db):
                    for statement in ABSORB:
                        self._db.execute(statement)
            finally:
                self._db.execute("DETACH shard")

    # Reading; what is still pending is flushed first by the writer's own reads

    def meta(self, key: str) -> str | None:
        row = self._one("SELECT value FROM meta WHERE key = ?", key)
        return str(row[0]) if row else None

    def all_meta(self) -> dict[str, str]:
        return dict(self._rows("SELECT key, value FROM meta ORDER BY key"))

    def items(self) -> Iterator[Item]:
        """The frozen items in the order in which they are asked."""
        rows = self._stream("SELECT kind, json FROM item WHERE kind <> 'control' ORDER BY position")
        return (_item(*row) for row in rows)

    def item(self, item_id: str) -> Item:
        """One of them. Raises KeyError."""
        return self.items_of([item_id])[item_id]

    def items_of(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Several by their ids, in one read. Raises KeyError."""
        marks = ", ".join("?" * len(item_ids))
        with _explained(self.path):  # items never wait for a flush
            rows = self._db.execute(
                f"SELECT item_id, kind, json FROM item WHERE item_id IN ({marks})", item_ids
            ).fetchall()
        found = {item_id: _item(kind, text) for item_id, kind, text in rows}
        return {item_id: found[item_id] for item_id in item_ids}

    def item_ids(self) -> list[str]:
        return [row[0] for row in self._rows("SELECT item_id FROM item WHERE kind <> 'control' ORDER BY position")]

    def content_hashes(self) -> dict[str, str]:
        return dict(self._rows("SELECT item_id, content_hash FROM item ORDER BY position"))

    def finished(self) -> set[DialogueKey]:
        """Dialogues that have nothing left to ask."""
        rows = self._rows("SELECT item_id, epoch, strategy, attempt FROM dialogue WHERE status IN ('done', 'skipped')")
        return {DialogueKey(*row) for row in rows}

    def turns(self, *item_ids: str, unfinished: bool = False, taken_back: bool = False) -> Iterator[StoredTurn]:
        """Kept turns, errors included, dialogue by dialogue; of these items, or of all where none is named.

        unfinished: only of dialogues that have something left to ask. taken_back: those that a strategy took back, too.
        """
        where = "1 " if taken_back else "e.kept "
        where += AMONG if item_ids else ""
        where += "AND d.status NOT IN ('done', 'skipped')" if unfinished else ""
        rows = self._stream(
            "SELECT d.item_id, d.epoch, d.strategy, d.attempt, e.seq, e.round, e.messages, e.answer, e.reasoning, "
            "e.finish_reason, e.blocked, e.latency_s, e.prompt_tokens, e.completion_tokens, e.attempts, e.error, e.created_at, "
            "e.kept FROM exchange e JOIN dialogue d USING (dialogue_id) JOIN item i USING (item_id) "
            f"WHERE {where} ORDER BY i.position, d.epoch, d.strategy, d.attempt, e.seq",
            *([_json(item_ids)] if item_ids else []),
        )
        return (_turn(row) for row in rows)

    def held(self) -> Iterator[Held]:
        """Every dialogue that has begun, in the order in which they are asked."""
        rows = self._stream(
            "SELECT d.item_id, d.epoch, d.strategy, d.attempt, d.status, d.ended, "
            "count(e.answer) FILTER (WHERE e.kept), count(e.answer) FILTER (WHERE NOT e.kept) "
            "FROM dialogue d JOIN item i USING (item_id) LEFT JOIN exchange e USING (dialogue_id) "
            "WHERE i.kind <> 'control' GROUP BY d.dialogue_id ORDER BY i.position, d.epoch, d.strategy, d.attempt"
        )
        return (Held(DialogueKey(*row[:4]), *row[4:]) for row in rows)

    def steps(self, key: DialogueKey) -> list[Step]:
        """What a dialogue's attacker was asked and said, in that order."""
        rows = self._rows(
            "SELECT seq, kind, number, asked, said, blocked, found, created_at FROM step "
            f"WHERE dialogue_id = {DIALOGUE_ID} ORDER BY step_id",
            *_key_row(key),
        )
        return [_step(row) for row in rows]

    def step_counts(self) -> dict[str, int]:
        """How many steps of each kind attackers were asked for."""
        return dict(self._rows("SELECT kind, count(*) FROM step GROUP BY kind ORDER BY kind"))

    def readings(self, kind: str) -> dict[tuple[str, int], tuple[int, int]]:
        """By item and epoch: on how many answers steps of this kind were asked for, and of how many none could be read."""
        rows = self._rows(
            "SELECT item_id, epoch, count(*), sum(found = 0) FROM (SELECT dialogue_id, seq, max(found IS NOT NULL) AS found "
            "FROM step WHERE kind = ? GROUP BY dialogue_id, seq) JOIN dialogue USING (dialogue_id) GROUP BY dialogue_id",
            kind,
        )
        return {(item_id, epoch): (n, unread) for item_id, epoch, n, unread in rows}

    def unjudged(self, judge_key: str) -> list[tuple[DialogueKey, int]]:
        """Dialogue and sequence number of every answered turn that this judge has given no verdict on."""
        rows = self._rows(
            "SELECT d.item_id, d.epoch, d.strategy, d.attempt, e.seq FROM exchange e JOIN dialogue d USING (dialogue_id) "
            "JOIN item i USING (item_id) WHERE e.kept AND e.answer IS NOT NULL AND NOT EXISTS (SELECT 1 FROM verdict v "
            "WHERE v.exchange_id = e.exchange_id AND v.judge_key = ? AND (v.score IS NOT NULL OR v.label IS NOT NULL)) "
            "ORDER BY i.position, d.epoch, e.seq",
            judge_key,
        )
        return [(DialogueKey(*row[:4]), row[4]) for row in rows]

    def outlines(self) -> Iterator[Outline]:
        """Every kept turn without its texts, in no order."""
        rows = self._stream(
            "SELECT item_id, epoch, round, answer IS NOT NULL, blocked, finish_reason, created_at FROM kept_exchange"
        )
        return (Outline(*row) for row in rows)

    def turn(self, key: DialogueKey, seq: int) -> Turn:
        """One kept turn. Raises KeyError."""
        for stored in self.turns(key.item_id):
            if (stored.key, stored.turn.seq) == (key, seq):
                return stored.turn
        raise KeyError(key, seq)

    def verdicts(self, judge_key: str, *item_ids: str) -> Iterator[StoredVerdict]:
        """The last verdict of this judge on each kept turn, unjudged ones included; of these items, or of all."""
        rows = self._stream(
            "SELECT d.item_id, d.epoch, d.strategy, d.attempt, e.seq, e.round, v.score, v.label, v.reason, v.confidence, "
            "v.error, v.raw, v.repeat, v.created_at FROM last_verdict v JOIN exchange e USING (exchange_id) "
            f"JOIN dialogue d USING (dialogue_id) WHERE e.kept AND v.judge_key = ? {AMONG if item_ids else ''}",
            judge_key,
            *([_json(item_ids)] if item_ids else []),
        )
        return (_verdict(row) for row in rows)

    def verdict_history(self) -> Iterator[tuple[str, StoredVerdict]]:
        """Every verdict with its judge's key, those too that a later one took the place of, in the order in which they came."""
        rows = self._stream(
            "SELECT v.judge_key, d.item_id, d.epoch, d.strategy, d.attempt, e.seq, e.round, v.score, v.label, v.reason, "
            "v.confidence, v.error, v.raw, v.repeat, v.created_at FROM verdict v JOIN exchange e USING (exchange_id) "
            "JOIN dialogue d USING (dialogue_id) ORDER BY v.verdict_id"
        )
        return ((row[0], _verdict(row[1:])) for row in rows)

    def calls(self) -> Iterator[StoredCall]:
        """Every request, in the order in which they were stored."""
        rows = self._stream(
            "SELECT d.item_id, d.epoch, d.strategy, d.attempt, c.seq, c.judge_key, c.role, c.endpoint, c.outcome, c.attempts, "
            "c.latency_s, c.retried, c.prompt_tokens, c.completion_tokens, c.model, c.request_id, c.fingerprint, c.raw, "
            "c.created_at FROM call c LEFT JOIN dialogue d USING (dialogue_id) ORDER BY c.call_id"
        )
        return (_call(row) for row in rows)

    def tally(self, judge_key: str) -> Tally:
        """How far the run is under this judge."""
        turns = self._one("SELECT count(*), count(blocked) FROM exchange WHERE kept AND answer IS NOT NULL")
        verdicts = self._one(
            "SELECT count(*), count(score), coalesce(sum(score), 0) FROM last_verdict JOIN exchange USING (exchange_id) "
            "WHERE kept AND judge_key = ? AND (score IS NOT NULL OR label IS NOT NULL)",
            judge_key,
        )
        return Tally(*(turns or (0, 0)), *(verdicts or (0, 0, 0)))

    def n_epochs(self) -> int:
        """The highest epoch of which a dialogue is stored."""
        row = self._one("SELECT max(epoch) FROM dialogue")
        return int(row[0] or 0) if row else 0

    def state(self) -> str:
        """A short text that is another one as soon as an answer, a verdict or the primary judge is."""
        row = self._one(
            "SELECT (SELECT count(*) FROM exchange WHERE answer IS NOT NULL), "
            "(SELECT coalesce(max(exchange_id), 0) FROM exchange), "
            "(SELECT count(*) FROM verdict WHERE score IS NOT NULL OR label IS NOT NULL), "
            "(SELECT coalesce(max(verdict_id), 0) FROM verdict), (SELECT coalesce(max(call_id), 0) FROM call), "
            "(SELECT group_concat(judge_key) FROM judge WHERE primary_judge)"
        )
        return " ".join(map(str, row or ()))

    def judges(self) -> list[tuple[JudgeCard, bool]]:
        """Every judge of the run, and whether it is the primary one."""
        rows = self._rows("SELECT judge_id, model, prompt_hash, parameters, artefact_hash, primary_judge FROM judge")
        return [(_card(row[:5]), bool(row[5])) for row in rows]

    def primary_judge(self) -> JudgeCard | None:
        return next((card for card, primary in self.judges() if primary), None)

    def usage(self) -> list[Usage]:
        rows = self._rows("SELECT role, calls, attempts, prompt_tokens, completion_tokens FROM usage")
        return [Usage(*row) for row in rows]

    def spent(self) -> list[tuple[str, str, int, int, int]]:
        """Role, endpoint, requests, prompt tokens and completion tokens, summed over all calls."""
        return self._rows(
            "SELECT role, endpoint, sum(attempts), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) "
            "FROM call GROUP BY role, endpoint ORDER BY role, endpoint"
        )

    def call_counts(self) -> list[CallCount]:
        """How often the calls to each endpoint ended in each way."""
        rows = self._rows(
            f"SELECT role, endpoint, outcome, {BLOCK_CODE} AS code, count(*), sum(attempts) FROM call "
            "GROUP BY role, endpoint, outcome, code ORDER BY role, endpoint, outcome, code"
        )
        return [CallCount(*row) for row in rows]

    def retries(self) -> list[tuple[str, str, str, int]]:
        """Role, endpoint, cause, and how many attempts were tried again for it, where that is known."""
        return self._rows(
            "SELECT role, endpoint, cause.key, sum(cause.value) FROM call, json_each(call.retried) AS cause "
            "GROUP BY role, endpoint, cause.key ORDER BY role, endpoint, cause.key"
        )

    def latencies(self) -> Iterator[tuple[str, str, float]]:
        """Role, endpoint and seconds of every attempt that was answered, blocks left out."""
        rows = self._stream("SELECT role, endpoint, latency_s FROM call WHERE outcome IN ('answered', 'empty')")
        return ((role, endpoint, seconds) for role, endpoint, seconds in rows)

    def integrity(self) -> str | None:
        """What SQLite finds wrong with the file, None where nothing is."""
        row = self._one("PRAGMA integrity_check(1)")
        return None if row is None or row[0] == "ok" else str(row[0])

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Plain SQL over the views, for tests and for people."""
        return self._rows(sql)

    def _rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        self.flush()
        with _explained(self.path):
            return self._db.execute(sql, parameters).fetchall()

    def _stream(self, sql: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        """The rows one after the other, so that a large run need not fit into memory; asked when it is called, not later."""
        self.flush()
        with _explained(self.path):
            cursor = self._db.execute(sql, parameters)
        return self._fetched(cursor)

    def _fetched(self, cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
        while True:
            with _explained(self.path):
                rows = cursor.fetchmany(ROWS_AT_ONCE)
            if not rows:
                return
            yield from rows

    def _one(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        rows = self._rows(sql, *parameters)
        return rows[0] if rows else None


ITEM_TYPES: dict[str, type[Item]] = {"pair": Pair, "benign": Twin, "suite": SuiteItem}
AMONG = "AND d.item_id IN (SELECT value FROM json_each(?)) "
BEGIN_DIALOGUE = "INSERT OR IGNORE INTO dialogue (item_id, epoch, strategy, attempt) VALUES (?, ?, ?, ?)"
DIALOGUE_ID = "(SELECT dialogue_id FROM dialogue WHERE item_id = ? AND epoch = ? AND strategy = ? AND attempt = ?)"


EXCHANGE = (
    "seq, round, kept, messages, answer, reasoning, finish_reason, blocked, latency_s, prompt_tokens, completion_tokens, "
    "attempts, error, created_at"
)
VERDICT = "judge_key, repeat, score, label, reason, confidence, error, raw, created_at"
STEP = "seq, kind, number, asked, said, blocked, found, created_at"
CALL = (
    "seq, role, judge_key, endpoint, outcome, attempts, latency_s, prompt_tokens, completion_tokens, model, request_id, "
    "fingerprint, raw, created_at, retried"
)
WANTED = "SELECT dialogue_id FROM whole.dialogue JOIN wanted USING (item_id)"
EXCERPT = (
    "INSERT INTO meta SELECT * FROM whole.meta",
    "INSERT INTO judge SELECT * FROM whole.judge",
    "INSERT INTO item SELECT i.* FROM whole.item i JOIN wanted USING (item_id)",
    "INSERT INTO dialogue SELECT d.* FROM whole.dialogue d JOIN wanted USING (item_id)",
    f"INSERT INTO exchange SELECT * FROM whole.exchange WHERE dialogue_id IN ({WANTED})",
    f"INSERT INTO step SELECT * FROM whole.step WHERE dialogue_id IN ({WANTED})",
    "INSERT INTO verdict SELECT * FROM whole.verdict WHERE exchange_id IN (SELECT exchange_id FROM exchange)",
)


def _of(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{name}" for name in columns.split(", "))


def _as_given(columns: str) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in columns.split(", "))


ABSORB = (
    # SQLite wants a WHERE between a SELECT and ON CONFLICT
    "INSERT INTO dialogue (item_id, epoch, strategy, attempt, status, ended) "
    "SELECT item_id, epoch, strategy, attempt, status, ended FROM shard.dialogue WHERE 1 ORDER BY dialogue_id "
    "ON CONFLICT (item_id, epoch, strategy, attempt) DO UPDATE SET status = excluded.status, ended = excluded.ended",
    "CREATE TEMP TABLE place AS SELECT s.dialogue_id AS theirs, d.dialogue_id AS ours FROM shard.dialogue s "
    "JOIN main.dialogue d USING (item_id, epoch, strategy, attempt)",
    # what was answered before stands in the excerpt as it stands here
    f"INSERT INTO exchange (dialogue_id, {EXCHANGE}) SELECT ours, {EXCHANGE} FROM shard.exchange "
    "JOIN place ON dialogue_id = theirs WHERE 1 ORDER BY exchange_id "
    f"ON CONFLICT (dialogue_id, seq) DO UPDATE SET {_as_given(EXCHANGE)}",
    f"INSERT INTO step (dialogue_id, {STEP}) SELECT ours, {STEP} FROM shard.step JOIN place ON dialogue_id = theirs "
    "WHERE 1 ORDER BY step_id ON CONFLICT DO NOTHING",
    "INSERT INTO judge SELECT * FROM shard.judge WHERE 1 ON CONFLICT DO NOTHING",
    f"INSERT INTO verdict (exchange_id, {VERDICT}) SELECT e.exchange_id, {_of('v', VERDICT)} "
    "FROM shard.verdict v JOIN shard.exchange s USING (exchange_id) JOIN place ON s.dialogue_id = theirs "
    "JOIN main.exchange e ON e.dialogue_id = ours AND e.seq = s.seq WHERE 1 ORDER BY v.verdict_id "
    f"ON CONFLICT (exchange_id, judge_key, repeat) DO UPDATE SET {_as_given(VERDICT)} "
    "WHERE verdict.score IS NULL AND verdict.label IS NULL",
    f"INSERT INTO call (dialogue_id, {CALL}) SELECT ours, {CALL} FROM shard.call LEFT JOIN place ON dialogue_id = theirs "
    "ORDER BY call_id",
    "DROP TABLE place",
)


def _connect(path: Path, *, create: bool, write: bool = True) -> sqlite3.Connection:
    mode = "rwc" if create else "rw" if write else "ro"
    if mode == "ro" and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        mode = "ro&immutable=1"  # SQLite would want to make its -wal there, to read a store that nobody can write
    db = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    try:
        db.execute(
            "PRAGMA synchronous = NORMAL"
        )  # with WAL safe against a kill; a power cut costs the last commits only
        db.execute("PRAGMA foreign_keys = ON")
        if create:
            db.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        db.close()
        raise
    return db


def _locked(path: Path) -> FileLock:
    """The right to write this run; the system takes it back when the process dies, however it dies."""
    lock = FileLock(f"{path}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreError(f"{path}: another scsafety process is writing this run; wait for it or stop it") from error
    return lock


def refuse_while_written(path: Path) -> None:
    """Raises StoreError while a process writes this run."""
    with _explained(path):
        _locked(path).release()


def _migrate(db: sqlite3.Connection, path: Path, *, create: bool = False, write: bool = True) -> None:
    known = [migration.__name__ for migration in MIGRATIONS]
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "migration" not in tables:
        if not create:
            raise StoreError(f"{path}: not a run of scsafety; check the path")
        db.execute("CREATE TABLE migration (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL)")
    done = {name for (name,) in db.execute("SELECT name FROM migration")}
    if done - set(known):
        raise StoreError(f"{path}: written by a newer scsafety; upgrade with `pip install -U scsafety`")
    missing = [migration for migration in MIGRATIONS if migration.__name__ not in done]
    if not write:
        if any(migration.__name__ not in STAND_INS for migration in missing):
            raise StoreError(f"{path}: written by an older scsafety; `scsafety resume` brings it up to date")
        for migration in missing:
            db.execute(STAND_INS[migration.__name__])
        return
    for migration in missing:
        migration(db)
        db.execute("INSERT INTO migration VALUES (?, ?)", (migration.__name__, utc_now()))


@contextmanager
def _transaction(db: sqlite3.Connection, *, write: bool = True) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as ours: what happened, and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the rest says what exactly
        if code == sqlite3.SQLITE_FULL:
            raise StoreError(f"{path}: the disk is full; free some space, then `scsafety resume` goes on") from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise StoreError(f"{path}: cannot be written here; choose a writable folder with --out") from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreError(f"{path}: locked by another program; close it and try again") from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise _damaged(path) from error
        raise StoreError(f"{path}: {error}; check the disk, then `scsafety resume` goes on") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}; choose a writable folder with --out") from error


def _damaged(path: Path) -> StoreError:
    return StoreError(f"{path}: the file is damaged; restore a copy, or delete the run and start again")


def _item_row(position: int, item: Item) -> tuple[Any, ...]:
    sub = item.sub_dimension
    dimension = item.suite if isinstance(item, SuiteItem) else taxonomy.dimension_of(sub)
    return (item.id, content_hash(item), item.kind, dimension, sub, position, item_json(item))


def _key_row(key: DialogueKey) -> tuple[Any, ...]:
    return (key.item_id, key.epoch, key.strategy, key.attempt)


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate in an answer that is sent again as history
        return _text(json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))) or ""


def _text(value: str | None) -> str | None:
    return value if value is None else whole_characters(value)


def _item(kind: str, text: str) -> Item:
    return msgspec.json.decode(text, type=ITEM_TYPES[kind])


def _card(row: tuple[Any, ...]) -> JudgeCard:
    judge_id, model, prompt_hash, parameters, artefact_hash = row
    return JudgeCard(
        judge_id=judge_id,
        model=model,
        prompt_hash=prompt_hash,
        parameters=msgspec.json.decode(parameters),
        artefact_hash=artefact_hash,
    )


def _turn(row: tuple[Any, ...]) -> StoredTurn:
    item_id, epoch, strategy, attempt, seq, round_, messages, answer = row[:8]
    (
        reasoning,
        finish_reason,
        blocked,
        latency_s,
        prompt_tokens,
        completion_tokens,
        attempts,
        error,
        created_at,
        kept,
    ) = row[8:]
    reply = None
    if error is None:
        reply = Reply(
            content=answer,
            reasoning=reasoning,
            finish_reason=finish_reason,
            blocked=cast("Side | None", blocked),
            latency_s=latency_s or 0.0,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            attempts=attempts,
        )
    turn = Turn(
        seq=seq,
        round=round_,
        messages=msgspec.json.decode(messages, type=tuple[Message, ...]),
        reply=reply,
        error=error,
        attempts=attempts,
        kept=bool(kept),
        created_at=created_at,
    )
    return StoredTurn(DialogueKey(item_id, epoch, strategy, attempt), turn)


def _call(row: tuple[Any, ...]) -> StoredCall:
    names = (
        "role", "endpoint", "outcome", "attempts", "latency_s", "retried", "prompt_tokens", "completion_tokens", "model",
        "request_id", "fingerprint", "raw", "created_at",
    )  # fmt: skip
    given = dict(zip(names, row[6:], strict=True))
    given["retried"] = None if given["retried"] is None else msgspec.json.decode(given["retried"])
    return StoredCall(None if row[0] is None else DialogueKey(*row[:4]), row[4], row[5], Call(**given))


def _step(row: tuple[Any, ...]) -> Step:
    seq, kind, number, asked, said, blocked, found, created_at = row
    return Step(
        seq=seq,
        kind=kind,
        number=number,
        asked=asked,
        said=said,
        blocked=cast("Side | None", blocked),
        found=None if found is None else msgspec.json.decode(found),
        created_at=created_at,
    )


def _verdict(row: tuple[Any, ...]) -> StoredVerdict:
    item_id, epoch, strategy, attempt, seq, round_, score, label, reason, confidence, error, raw, repeat, created_at = (
        row
    )
    verdict = Verdict(
        score=cast("Score | None", score),
        label=label,
        reason=reason,
        confidence=confidence,
        error=error,
        raw=raw,
        repeat=repeat,
        created_at=created_at,
    )
    return StoredVerdict(DialogueKey(item_id, epoch, strategy, attempt), seq, round_, verdict)
