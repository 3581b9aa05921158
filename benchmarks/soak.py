"""Does a run that is hit by everything end as one that nothing has hit?

    python -m benchmarks.soak                              # 20,000 dialogues
    python -m benchmarks.soak --dialogues 400 --kill-every 4

The same dialogues are held twice, each with an LLM judge: once undisturbed; once against an endpoint that fails a fifth of the
requests (`faulty_endpoint.py`, 16 kinds of transient fault), with SIGKILL to `scsafety` every 10 s and `scsafety resume` behind
it. Answers and verdicts must be identical, pair by pair and round by round, and what was asked twice because of the kills must
not be more than was in flight or not yet committed. Exit code 1 when something differs.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from benchmarks.loopback import ROOT, Endpoint

PROGRAM = (sys.executable, "-c", "from scsafety.cli import main; main()")
TRIES_AT_THE_END = 5  # a call may fail in all its tries; `resume` is what mends that
COMPARED = {
    "turns": "SELECT pair_id, round, epoch, messages, answer, finish_reason, blocked, error FROM turn ORDER BY 1, 2, 3",
    "verdicts": "SELECT pair_id, round, epoch, judge_id, score, reason, confidence FROM verdict_of_turn ORDER BY 1, 2, 3",
}


class Soak:
    def __init__(self, folder: Path, given: argparse.Namespace) -> None:
        self._folder, self._given = folder, given
        self._began = time.monotonic()
        self._bank = folder / "bank.jsonl"
        self.epochs, self.n_pairs = self._write_bank(given.dialogues)

    def _write_bank(self, n_dialogues: int) -> tuple[int, int]:
        """The bank's pairs, over as many epochs as it takes."""
        from scsafety.bank import load_bank

        pairs = load_bank().pairs
        epochs = math.ceil(n_dialogues / len(pairs))
        chosen = pairs[: math.ceil(n_dialogues / epochs)]
        self._bank.write_bytes(b"".join(msgspec.json.encode(pair) + b"\n" for pair in chosen))
        return epochs, len(chosen)

    @property
    def n_answers(self) -> int:
        return 2 * self.n_pairs * self.epochs

    def hold(self, name: str, endpoint: Endpoint, kill_every_s: float) -> tuple[int, int]:
        """One run to its end; returns how often it was killed and the last exit code."""
        address = (
            "--base-url",
            f"{endpoint.url}/v1",
            "--model",
            "openai-compatible/soak",
            "--judge",
            "openai-compatible/soak",
        )
        what = ("--bank", self._bank, "--no-benign", "--epochs", self.epochs, "--seed", 1, "--name", name)
        how = (
            *("--concurrency", self._given.concurrency, "--judge-concurrency", self._given.concurrency),
            *("--timeout", self._given.timeout, "--out", self._folder / "runs"),
        )
        command: tuple[Any, ...] = ("run", *address, *what, *how)
        kills = tries = 0
        while True:
            code = self._once(name, command, endpoint, kill_every_s)
            if code == -signal.SIGKILL:
                kills += 1
            elif code == 0 or tries == TRIES_AT_THE_END:
                return kills, code
            elif code == 1:
                tries += 1
            else:
                return kills, code
            if (self._folder / "runs" / name / "run.db").exists():
                command = ("resume", name, *how)

    def _once(self, name: str, command: tuple[Any, ...], endpoint: Endpoint, kill_every_s: float) -> int:
        """One process until it ends or is killed; it is not killed before it has got something done."""
        self._check_time()
        with (self._folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen([*PROGRAM, *map(str, command)], stdout=log, stderr=log)  # noqa: S603 (this program)
        try:
            began, before = time.monotonic(), endpoint.counts()["answered"]
            while True:
                try:
                    return child.wait(1.0)
                except subprocess.TimeoutExpired:
                    pass
                self._check_time()
                counts = endpoint.counts()
                self._say(name, counts)
                if kill_every_s and time.monotonic() - began >= kill_every_s and counts["answered"] > before:
                    os.kill(child.pid, signal.SIGKILL)
                    return child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()

    def _say(self, name: str, counts: dict[str, Any]) -> None:
        passed = time.monotonic() - self._began
        print(
            f"\r{passed:6.0f} s  {name}: {counts['requests']:,} requests, {counts['answered']:,} answered ",
            end="",
            flush=True,
        )

    def _check_time(self) -> None:
        if time.monotonic() - self._began > 60 * self._given.minutes:
            raise SystemExit(f"\nnot done after {self._given.minutes:g} minutes (--minutes)")

    def rows(self, name: str, what: str) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self._folder / "runs" / name / "run.db")
        try:
            return db.execute(COMPARED[what]).fetchall()
        finally:
            db.close()


def differences(soak: Soak) -> int:
    """How many turns and verdicts differ between the two runs; the first of them are printed."""
    found = 0
    for what in COMPARED:
        calm, hit = soak.rows("calm", what), soak.rows("hit", what)
        if len(calm) != soak.n_answers:
            print(f"{what}: {len(calm):,} of {soak.n_answers:,} in the undisturbed run")
            found += 1
        theirs, ours = {row[:3]: row for row in calm}, {row[:3]: row for row in hit}
        places = [place for place in theirs.keys() | ours.keys() if theirs.get(place) != ours.get(place)]
        for place in sorted(places)[:5]:
            print(f"{what} {place}:\n  undisturbed {theirs.get(place)}\n  hit         {ours.get(place)}")
        print(f"{what}: {len(calm):,} and {len(hit):,}, {len(places)} differ")
        found += len(places) + (len(calm) != len(hit))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=20_000)
    parser.add_argument("--faults", type=float, default=0.2, help="share of the requests that fail")
    parser.add_argument("--kill-every", type=float, default=10.0, metavar="S")
    parser.add_argument("--concurrency", type=int, default=64, help="calls in flight, of target and judge each")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds until the endpoint answers")
    parser.add_argument("--timeout", type=float, default=10.0, help="of scsafety, for requests that get no answer")
    parser.add_argument("--minutes", type=float, default=60.0, help="give up after that")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])

    counts: dict[str, dict[str, Any]] = {}
    kills = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), given)
        print(f"{soak.n_pairs:,} pairs in {soak.epochs} epochs: {soak.n_answers:,} answers and as many verdicts, twice")
        for name, share, kill_every_s in (("calm", 0.0, 0.0), ("hit", given.faults, given.kill_every)):
            began = time.monotonic()
            with Endpoint(
                "benchmarks.faulty_endpoint", "--faults", str(share), "--latency", str(given.latency)
            ) as endpoint:
                n_kills, code = soak.hold(name, endpoint, kill_every_s)
                counts[name] = endpoint.counts()
            kills += n_kills
            print(f"\r{name}: exit code {code} after {time.monotonic() - began:.0f} s and {n_kills} kills{' ' * 40}")
            if code:
                failed += 1
                print((Path(folder) / f"{name}.log").read_text(encoding="utf-8")[-2_000:])
        failed += differences(soak)
    hit = counts["hit"]
    faults, bound = hit["faults"], kills * (2 * given.concurrency + hit["most_answers_in_100_ms"])
    print(
        f"faults: {sum(faults.values()):,} of {hit['requests']:,} requests ({sum(faults.values()) / hit['requests']:.1%})"
    )
    print("".join(f"  {n:>7,}  {fault}\n" for fault, n in faults.items()), end="")
    print(f"blocked by the filter: {counts['calm']['blocked']:,} answers undisturbed, {hit['blocked']:,} with repeats")
    print(
        f"repeated: {hit['repeated']:,} calls after {kills} kills; at most {bound:,} can have been in flight or uncommitted"
    )
    print(f"repeated without a kill: {counts['calm']['repeated']:,}")
    failed += hit["repeated"] > bound or counts["calm"]["repeated"] > 0
    print("identical" if not failed else "NOT identical")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
