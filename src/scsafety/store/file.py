"""The file itself: opened, locked, written in whole transactions, and its errors in our words."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from scsafety.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_TIMEOUT_S = 5.0


def connect(path: Path, *, create: bool, write: bool = True) -> sqlite3.Connection:
    mode = "rwc" if create else "rw" if write else "ro"
    if mode == "ro" and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        mode = "ro&immutable=1"  # SQLite would want to make its -wal there, to read a store that nobody can write
    db = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    try:
        # with WAL safe against a kill; a power cut costs the last commits only
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        if create:
            db.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        db.close()
        raise
    return db


def locked(path: Path) -> FileLock:
    """The right to write this run; the system takes it back when the process dies, however it dies."""
    lock = FileLock(f"{path}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreError(f"{path}: another scsafety process is writing this run; wait for it or stop it") from error
    return lock


def refuse_while_written(path: Path) -> None:
    """Raises StoreError while a process writes this run."""
    with explained(path):
        locked(path).release()


@contextmanager
def transaction(db: sqlite3.Connection, *, write: bool = True) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
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
            raise damaged(path) from error
        raise StoreError(f"{path}: {error}; check the disk, then `scsafety resume` goes on") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}; choose a writable folder with --out") from error


def damaged(path: Path) -> StoreError:
    return StoreError(f"{path}: the file is damaged; restore a copy, or delete the run and start again")
