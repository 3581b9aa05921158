"""What can be asked of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scsafety.records import DialogueKey
from scsafety.store.file import explained
from scsafety.store.rows import (
    CallCount,
    Held,
    Outline,
    StoredCall,
    StoredTurn,
    StoredVerdict,
    Tally,
    Usage,
    as_json,
    key_row,
    to_call,
    to_card,
    to_item,
    to_step,
    to_turn,
    to_verdict,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scsafety.records import Item, JudgeCard, Step, Turn

ROWS_AT_ONCE = 200
AMONG = "AND d.item_id IN (SELECT value FROM json_each(?)) "
DIALOGUE_ID = "(SELECT dialogue_id FROM dialogue WHERE item_id = ? AND epoch = ? AND strategy = ? AND attempt = ?)"

# the vendor's own word for a block, from the body behind it, where that is whole and holds one
BLOCK_CODE = """
CASE WHEN outcome LIKE 'blocked%' AND json_valid(raw) THEN substr(coalesce(
  json_extract(raw, '$.error.code'), json_extract(raw, '$.error.type'), nullif(json_extract(raw, '$.code'), 0),
  json_extract(raw, '$.error_code'), nullif(json_extract(raw, '$.base_resp.status_code'), 0),
  json_extract(raw, '$.choices[0].finish_reason'), json_extract(raw, '$.promptFeedback.blockReason')), 1, 60) END"""


class Reading:
    """The half of a store that changes nothing. Every method may raise StoreError."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path, self._db = path, db

    def flush(self) -> None:
        """Called before every read: a writer commits here what it holds."""

    def meta(self, key: str) -> str | None:
        row = self._one("SELECT value FROM meta WHERE key = ?", key)
        return str(row[0]) if row else None

    def all_meta(self) -> dict[str, str]:
        return dict(self._rows("SELECT key, value FROM meta ORDER BY key"))

    def items(self) -> Iterator[Item]:
        """The frozen items in the order in which they are asked."""
        rows = self._stream("SELECT kind, json FROM item WHERE kind <> 'control' ORDER BY position")
        return (to_item(*row) for row in rows)

    def item(self, item_id: str) -> Item:
        """One of them. Raises KeyError."""
        return self.items_of([item_id])[item_id]

    def items_of(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Several by their ids, in one read. Raises KeyError."""
        marks = ", ".join("?" * len(item_ids))
        with explained(self.path):  # items never wait for a flush
            rows = self._db.execute(
                f"SELECT item_id, kind, json FROM item WHERE item_id IN ({marks})", item_ids
            ).fetchall()
        found = {item_id: to_item(kind, text) for item_id, kind, text in rows}
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
            *([as_json(item_ids)] if item_ids else []),
        )
        return (to_turn(row) for row in rows)

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
            *key_row(key),
        )
        return [to_step(row) for row in rows]

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
            *([as_json(item_ids)] if item_ids else []),
        )
        return (to_verdict(row) for row in rows)

    def verdict_history(self) -> Iterator[tuple[str, StoredVerdict]]:
        """Every verdict with its judge's key, those too that a later one took the place of, in the order in which they came."""
        rows = self._stream(
            "SELECT v.judge_key, d.item_id, d.epoch, d.strategy, d.attempt, e.seq, e.round, v.score, v.label, v.reason, "
            "v.confidence, v.error, v.raw, v.repeat, v.created_at FROM verdict v JOIN exchange e USING (exchange_id) "
            "JOIN dialogue d USING (dialogue_id) ORDER BY v.verdict_id"
        )
        return ((row[0], to_verdict(row[1:])) for row in rows)

    def calls(self) -> Iterator[StoredCall]:
        """Every request, in the order in which they were stored."""
        rows = self._stream(
            "SELECT d.item_id, d.epoch, d.strategy, d.attempt, c.seq, c.judge_key, c.role, c.endpoint, c.outcome, c.attempts, "
            "c.latency_s, c.retried, c.prompt_tokens, c.completion_tokens, c.model, c.request_id, c.fingerprint, c.raw, "
            "c.created_at FROM call c LEFT JOIN dialogue d USING (dialogue_id) ORDER BY c.call_id"
        )
        return (to_call(row) for row in rows)

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
        return [(to_card(row[:5]), bool(row[5])) for row in rows]

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
        with explained(self.path):
            return self._db.execute(sql, parameters).fetchall()

    def _stream(self, sql: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        """The rows one after the other, so that a large run need not fit into memory; asked when it is called, not later."""
        self.flush()
        with explained(self.path):
            cursor = self._db.execute(sql, parameters)
        return self._fetched(cursor)

    def _fetched(self, cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
        while True:
            with explained(self.path):
                rows = cursor.fetchmany(ROWS_AT_ONCE)
            if not rows:
                return
            yield from rows

    def _one(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        rows = self._rows(sql, *parameters)
        return rows[0] if rows else None
