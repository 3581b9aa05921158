"""How do time and memory grow with the bank? Whole `scsafety run`s of 1k, 10k and 100k dialogues, each in a process of its own.

    python -m benchmarks.scale [--sizes 1000 10000 100000] [--latency 0.02] [--concurrency 64]

The bank is synthetic (the text says so): the pairs of the built-in bank again and again, with a number in each question. The
endpoint answers after a fixed time. Memory is sampled from the system five times a second, so that a growth in the course of
a run can be seen; `resume` is one of the finished run, which must find nothing to do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.endpoint import EndpointProcess

from scsafety.bank import load_bank
from scsafety.records import Pair

PAGE_BYTES = resource.getpagesize()


def write_bank(path: Path, n: int) -> None:
    """`n` pairs: those of the built-in bank, again and again, each with its number in the texts."""
    pairs = [item for item in load_bank().items if isinstance(item, Pair)]
    with path.open("w", encoding="utf-8") as file:
        for k in range(n):
            pair = pairs[k % len(pairs)]
            record = {
                "id": f"{pair.sub_dimension}-{k + 1:06d}", "question": f"（合成第 {k} 题）{pair.question}",
                "follow_up": pair.follow_up, "risk_point": pair.risk_point, "good_answer": pair.good_answer, "form": pair.form,
                "tactic": pair.tactic, "hazards": list(pair.hazards), "severity": pair.severity,
            }  # fmt: skip
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20
    except (OSError, IndexError):
        return 0.0


def watched(command: list[str], cwd: Path, log: Path) -> tuple[float, list[float], float]:
    """Seconds, memory once a second, peak MB as the system counted it."""
    began = time.monotonic()
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=out, env=os.environ | {"NO_COLOR": "1"})  # noqa: S603
        samples: list[float] = []
        while process.poll() is None:
            time.sleep(0.2)
            samples.append(resident_mb(process.pid))
    if process.returncode:
        raise SystemExit(log.read_text()[-2000:])
    return time.monotonic() - began, samples, max(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--concurrency", type=int, default=64, help="for the target; as many for the judge")
    given = parser.parse_args()
    names = ("dialogues", "calls", "run s", "asking s", "calls/s", "ms/dialogue", "store MB", "resume s", "peak MB")
    print("".join(f"{name:>12}" for name in names), " memory at each eighth of the run, MB")
    program = [sys.executable, "-m", "scsafety"]
    with tempfile.TemporaryDirectory() as folder, EndpointProcess(given.latency) as endpoint:
        for n in given.sizes:
            bank, log = Path(folder) / f"{n}.jsonl", Path(folder) / "log.txt"
            write_bank(bank, n)
            endpoint.reset()
            url = f"{endpoint.url}/v1"
            command = [
                *program, "run", "--model", "openai-compatible/bench", "--base-url", url, "--judge", "openai-compatible/judge",
                "--judge-base-url", url, "--bank", str(bank), "--concurrency", str(given.concurrency), "--judge-concurrency",
                str(given.concurrency), "--name", f"n{n}",
            ]  # fmt: skip
            seconds, samples, peak = watched(command, Path(folder), log)
            stats = endpoint.stats()
            store = Path(folder) / "runs" / f"n{n}" / "run.db"
            resumed, _, resume_peak = watched([*program, "resume", f"n{n}"], Path(folder), log)
            course = [f"{samples[min(len(samples) - 1, len(samples) * q // 8)]:.0f}" for q in range(1, 8)]
            values = (
                f"{n:,}", f"{stats.calls:,}", f"{seconds:.1f}", f"{stats.seconds:.1f}", f"{stats.calls_a_second:,.0f}",
                f"{1000 * stats.seconds / n:.2f}", f"{store.stat().st_size / 2**20:.0f}", f"{resumed:.1f}",
                f"{max(peak, resume_peak):.0f}",
            )  # fmt: skip
            print("".join(f"{value:>12}" for value in values), f" {' '.join(course)}", flush=True)


if __name__ == "__main__":
    main()
