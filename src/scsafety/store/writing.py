"""A run that is opened, written and closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scsafety.errors import StoreError
from scsafety.records import utc_now
from scsafety.store.file import connect, damaged, explained, locked, transaction
from scsafety.store.reading import DIALOGUE_ID, Reading
from scsafety.store.rows import as_json, as_text, item_row, key_row
from scsafety.store.schema import migrate
from scsafety.store.shards import absorb_excerpt, write_excerpt

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from filelock import FileLock

    from scsafety.records import Call, DialogueKey, Item, JudgeCard, Step, Turn, Verdict

QUICK_CHECK_BYTES = 64 * 2**20  # a larger store is checked as it is read
BEGIN_DIALOGUE = "INSERT OR IGNORE INTO dialogue (item_id, epoch, strategy, attempt) VALUES (?, ?, ?, ?)"


class Store(Reading):
    """Opened by `Store.create` or `Store.open`; a context manager. Every method may raise StoreError."""

    def __init__(self, path: Path, db: sqlite3.Connection, lock: FileLock | None) -> None:
        super().__init__(path, db)
        self._lock = lock
        self._pending: list[tuple[str, tuple[Any, ...]]] = []

    # Opening and closing

    @classmethod
    def create(cls, path: Path, meta: dict[str, str], items: Iterable[Item]) -> Store:
        """A new store with its items frozen in it; all of it is written in one transaction."""
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = locked(path)
            if path.exists():  # another process may have made it since it was looked for
                lock.release()
                raise StoreError(f"{path}: there is a run already; `scsafety resume` goes on with it")
            try:
                store = cls(path, connect(path, create=True), lock)
            except BaseException:
                lock.release()
                raise
        try:
            with explained(path), transaction(store._db):
                migrate(store._db, path, create=True)
                store._db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
                store._db.executemany(
                    "INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (item_row(position, item) for position, item in enumerate(items)),
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
        with explained(path):
            if write:
                lock = locked(path)
            try:
                db = connect(path, create=False, write=write)
                store = cls(path, db, lock)
                small = path.stat().st_size < QUICK_CHECK_BYTES
                if small and db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    raise damaged(path)
                with transaction(db, write=write):
                    migrate(db, path, write=write)
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
        with explained(self.path), transaction(self._db):
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
            (card.key, card.judge_id, card.model, card.prompt_hash, as_json(card.parameters), card.artefact_hash, primary),
        ))  # fmt: skip

    def set_status(self, key: DialogueKey, status: str, ended: str | None = None) -> None:
        """ended: why, where an adaptive strategy says so."""
        self._pending.append((
            f"UPDATE dialogue SET status = ?, ended = ? WHERE dialogue_id = {DIALOGUE_ID}", (status, ended, *key_row(key))
        ))  # fmt: skip

    def begin(self, key: DialogueKey) -> None:
        """Have a row for the dialogue; `add_turn` sees to that itself."""
        self._pending.append((BEGIN_DIALOGUE, key_row(key)))

    def add_step(self, key: DialogueKey, step: Step) -> None:
        """Store what an attacker said, in a dialogue that has begun."""
        self._pending.append((
            "INSERT INTO step (dialogue_id, seq, kind, number, asked, said, blocked, found, created_at) "
            f"VALUES ({DIALOGUE_ID}, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *key_row(key), step.seq, step.kind, step.number, as_text(step.asked), as_text(step.said), step.blocked,
                None if step.found is None else as_json(step.found), step.created_at,
            ),
        ))  # fmt: skip

    def keep_turn(self, key: DialogueKey, turn: Turn) -> None:
        """A stored answer stays in the conversation, as this round of it."""
        self._pending.append((
            f"UPDATE exchange SET kept = 1, round = ? WHERE dialogue_id = {DIALOGUE_ID} AND seq = ?",
            (turn.round, *key_row(key), turn.seq),
        ))  # fmt: skip

    def add_turn(self, key: DialogueKey, turn: Turn) -> None:
        """Store an exchange; one that ended in an error is replaced, an answered one never."""
        reply = turn.reply
        self._pending += [
            (BEGIN_DIALOGUE, key_row(key)),
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
                    *key_row(key), turn.seq, turn.round, turn.kept, as_json(turn.messages),
                    as_text(reply.content) if reply else None, as_text(reply.reasoning) if reply else None,
                    as_text(reply.finish_reason) if reply else None, reply.blocked if reply else None,
                    reply.latency_s if reply else None, reply.prompt_tokens if reply else None,
                    reply.completion_tokens if reply else None, turn.attempts, as_text(turn.error),
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
                *key_row(key), seq, judge_key, verdict.repeat, verdict.score, verdict.label, as_text(verdict.reason),
                verdict.confidence, as_text(verdict.error), as_text(verdict.raw), verdict.created_at or utc_now(),
            ),
        ))  # fmt: skip

    def add_call(self, key: DialogueKey | None, seq: int | None, call: Call, *, judge_key: str | None = None) -> None:
        row = key_row(key) if key else (None, None, None, None)
        self._pending.append((
            "INSERT INTO call (dialogue_id, seq, role, judge_key, endpoint, outcome, attempts, latency_s, prompt_tokens, "
            "completion_tokens, model, request_id, fingerprint, raw, created_at, retried) "
            f"VALUES ({DIALOGUE_ID}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *row, seq, call.role, judge_key, call.endpoint, call.outcome, call.attempts, call.latency_s,
                call.prompt_tokens, call.completion_tokens, as_text(call.model), as_text(call.request_id),
                as_text(call.fingerprint), as_text(call.raw), call.created_at, as_json(call.retried) if call.retried else None,
            ),
        ))  # fmt: skip

    # Shards: a part of the run that another process goes on with

    def excerpt(self, path: Path, item_ids: Sequence[str]) -> None:
        """Write a store of these items to `path`, with all that is stored of them but the calls: those stay here."""
        self.flush()
        with explained(path):
            write_excerpt(self.path, path, item_ids)

    def absorb(self, path: Path) -> None:
        """Take over what was added to an excerpt of this run, its calls too; in one transaction, once for each excerpt.

        What stood here already stays: the excerpt holds it too, and there as here an answer and a verdict are final.
        """
        self.flush()
        with explained(self.path):
            absorb_excerpt(self._db, path)
