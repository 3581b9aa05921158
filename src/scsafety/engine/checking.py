"""A judge held against gold labels: asks it about every answer, and keeps each verdict as it comes.

The session file is JSON Lines, a header and one line a verdict, so that an interrupted check goes on where it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.engine.engine import unwrapped
from scsafety.engine.opening import open_judge
from scsafety.errors import MachineError
from scsafety.judge.base import rule_verdict
from scsafety.judge.combined import read_members
from scsafety.records import Score, Verdict  # noqa: TC001 (msgspec reads the fields' types)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from scsafety.engine.events import Progress
    from scsafety.engine.settings import Policy
    from scsafety.judge import Judge
    from scsafety.records import Case


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a session: what the judge said of one gold record."""

    id: str
    score: Score | None = None
    confidence: float | None = None
    reason: str = ""
    error: str | None = None
    by: str | None = None  # who decided, in a cascade or chain
    repeat: int = 1


class Session:
    """The verdicts on one gold set by one judge. Raises MachineError where its file cannot be used."""

    def __init__(self, path: Path, header: Mapping[str, Any], *, fresh: bool = False) -> None:
        self._path = path
        self.told: dict[tuple[str, int], Told] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if fresh or not path.exists():
                path.write_bytes(msgspec.json.encode(header) + b"\n")
            for line in path.read_bytes().split(b"\n")[1:]:
                try:
                    told = msgspec.json.decode(line, type=Told)
                except msgspec.MsgspecError:
                    continue  # the last line of a session that was killed
                self.told[told.id, told.repeat] = told
            self._file = path.open("ab")
        except OSError as error:
            raise MachineError(f"{path}: {error.strerror or error}; set SCSAFETY_HOME to a writable folder") from error

    def add(self, told: Told) -> None:
        """Kept at once; an error is asked again next time."""
        self.told[told.id, told.repeat] = told
        if told.score is not None:
            self._file.write(b"\n" + msgspec.json.encode(told))
            self._file.flush()

    def close(self) -> None:
        self._file.close()

    def scores(self, repeat: int = 1) -> dict[str, int | None]:
        return {told.id: told.score for told in self.told.values() if told.repeat == repeat}


def session_path(folder: Path, judge_key: str, base_url: str | None, gold_hash: str) -> Path:
    """One file for each judge, address and gold set."""
    name = re.sub(r"[^\w.-]+", "-", judge_key)[-60:].strip("-.")
    pin = hashlib.sha256(f"{judge_key}\n{base_url}\n{gold_hash}".encode()).hexdigest()[:12]
    return folder / f"{name}-{pin}.jsonl"


async def check_judge_on(
    cases: Mapping[str, Case],
    judge_spec: str,
    base_url: str | None,
    policy: Policy,
    progress: Progress,
    *,
    session_of: Callable[[Judge], Session],
    repeats: int = 1,
) -> tuple[Session, int]:
    """Every case judged `repeats` times; what the session holds already is not asked again.

    Returns the session and how many calls were made. Raises ConfigError, MachineError and TargetStop; a case without an
    answer from the judge is unjudged.
    """
    calls = 0

    def count(_: object) -> None:
        nonlocal calls
        calls += 1

    async with open_judge(judge_spec, base_url, policy, on_retry=progress.noted) as judge:
        session = session_of(judge)
        todo = [
            (name, repeat)
            for repeat in range(1, repeats + 1)
            for name in cases
            if (told := session.told.get((name, repeat))) is None or told.score is None
        ]
        progress.turns_expected = len(cases) * repeats
        progress.turns_done = progress.turns_before = progress.turns_expected - len(todo)
        queue = iter(todo)

        async def work() -> None:
            for name, repeat in queue:
                verdict = rule_verdict(cases[name]) or await judge.judge(cases[name], on_call=count)
                session.add(_told(name, verdict, repeat))
                progress.turns_done += 1
                progress.unjudged += not verdict.judged

        try:
            async with unwrapped(), asyncio.TaskGroup() as group:
                for _ in range(policy.judge_concurrency):
                    group.create_task(work())
        finally:
            session.close()
        return session, calls


def _told(name: str, verdict: Verdict, repeat: int) -> Told:
    members = read_members(verdict.raw)
    return Told(
        name,
        verdict.score,
        verdict.confidence,
        verdict.reason,
        verdict.error,
        members.by if members is not None else None,
        repeat,
    )
