"""Shards: a part of a run that another process goes on with, and its way back."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from scsafety.store.file import connect, transaction
from scsafety.store.rows import as_json
from scsafety.store.schema import migrate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

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


def write_excerpt(whole: Path, path: Path, item_ids: Sequence[str]) -> None:
    """A store of these items at `path`, with all that is stored of them but the calls."""
    with closing(connect(path, create=True)) as db:
        db.execute("PRAGMA synchronous = OFF")  # it is a copy
        with transaction(db):
            migrate(db, path, create=True)
        db.execute("ATTACH ? AS whole", (f"{whole.resolve().as_uri()}?mode=ro",))
        with transaction(db):
            db.execute("CREATE TEMP TABLE wanted AS SELECT value AS item_id FROM json_each(?)", (as_json(item_ids),))
            for statement in EXCERPT:
                db.execute(statement)


def absorb_excerpt(db: sqlite3.Connection, path: Path) -> None:
    """What was added to the excerpt at `path`, in one transaction."""
    db.execute("ATTACH ? AS shard", (f"{path.resolve().as_uri()}?immutable=1",))
    try:
        with transaction(db):
            for statement in ABSORB:
                db.execute(statement)
    finally:
        db.execute("DETACH shard")
