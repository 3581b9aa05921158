"""How do time and memory grow with the bank? Runs of 1k, 10k and 100k dialogues, each a whole `scsafety run` in a process of its own.

    python benchmarks/scale.py [--sizes 1000 10000 100000] [--latency 0.01] [--concurrency 128]

The bank is synthetic (the text says so): pairs of the built-in bank's lengths with a number in each question. The endpoint answers
after a fixed time. Memory is sampled once a second from the system, so that a growth in the course of a run can be seen; the
last column is a `resume` of the finished run, which must find nothing to do.
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
COLUMNS = f"{'dialogues':>10}{'calls':>9}{'run s':>8}{'asking s':>10}{'calls/s':>9}{'ms/dialogue':>13}{'store MB':>10}{'resume s':>10}  peak MB: asking / whole"


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
    print(COLUMNS)
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
            quarter = [f"{samples[min(len(samples) - 1, len(samples) * q // 8)]:.0f}" for q in range(1, 8)]
            print(
                f"{n:>10,}{stats.calls:>9,}{seconds:>8.1f}{stats.seconds:>10.1f}{stats.calls_a_second:>9,.0f}"
                f"{1000 * stats.seconds / n:>13.2f}{store.stat().st_size / 2**20:>10.0f}{resumed:>10.1f}  {peak:.0f}; course: {' '.join(quarter)}; "
                f"resume {resume_peak:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
