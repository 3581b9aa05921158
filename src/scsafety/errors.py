"""The exception tree, by who must act; each class knows the exit code of its kind.

    ScsafetyError                    1
    |-- ConfigError                  2  the command line, a setting or an environment variable is wrong
    |-- RecordError                  2  a record of a file is wrong; names the file, line, field and the mend
    |   |-- BankError                2  of a bank
    |   `-- GoldError                2  of a gold file
    |-- GateError                    3  a gate, audit, comparison or verification failed
    |-- MachineError                 4  disk, permission, missing program, a download that failed
    |   `-- StoreError               4  the run's store is corrupt, locked, read-only or newer than this program
    |-- TargetStop                   4  the endpoint refuses us as a whole: key, quota, account; the run stops
    |   `-- NobodyThere              4  nobody ever was at the endpoint's address
    `-- CallFailed                   1  one call got no answer within its retries; stored and counted, never a score

What a benchmark expects is data and not an exception: a vendor's moderation block, an empty answer, a
judge's reply that cannot be read. Those are fields of the records in `scsafety.records`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class ScsafetyError(Exception):
    """Root of all errors that a user can act on; the message is one line and says what to do."""

    exit_code = 1


class ConfigError(ScsafetyError):
    exit_code = 2


class RecordError(ScsafetyError):
    """A record of a user's file that cannot be used.

    The message reads `file:line: field: what is wrong; how to mend it`.
    """

    exit_code = 2

    def __init__(
        self, path: Path | str, problem: str, mend: str, *, line: int | None = None, field: str | None = None
    ) -> None:
        self.path, self.line, self.field, self.problem, self.mend = path, line, field, problem, mend
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {f'{field}: ' if field else ''}{problem}; {mend}")


class BankError(RecordError):
    pass


class GoldError(RecordError):
    pass


class GateError(ScsafetyError):
    exit_code = 3


class MachineError(ScsafetyError):
    exit_code = 4


class StoreError(MachineError):
    pass


class TargetStop(ScsafetyError):
    """No further call to this endpoint can succeed: a refused key, an empty account, a restricted one.

    `kind` is the outcome class where an outcome was the reason (`refused_key`, `quota`, `account_risk`, `not_found`).
    """

    exit_code = 4

    def __init__(self, message: str, *, kind: str = "") -> None:
        self.kind = kind
        super().__init__(message)


class NobodyThere(TargetStop):
    """No connection to this endpoint was ever made: a wrong address, more likely than an outage."""


class CallFailed(ScsafetyError):
    """One call ended without an answer after its retries.

    `kind` is the outcome class (`transient`, `rate_limited`, `bad_request`, `too_long`); `retried` and `elapsed_s` are as
    in a `Reply`.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        attempts: int = 1,
        retried: dict[str, int] | None = None,
        elapsed_s: float = 0.0,
        raw: str | None = None,
    ) -> None:
        self.kind, self.attempts, self.retried, self.elapsed_s, self.raw = kind, attempts, retried, elapsed_s, raw
        super().__init__(f"{kind}: {message}")
