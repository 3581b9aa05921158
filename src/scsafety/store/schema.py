"""The tables of a run and what changes them: an older store is brought up to date when it is opened for writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsafety.errors import StoreError
from scsafety.records import utc_now

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path


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


def migrate(db: sqlite3.Connection, path: Path, *, create: bool = False, write: bool = True) -> None:
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
