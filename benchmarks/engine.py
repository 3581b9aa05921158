"""How fast is the engine, beside the bare loop and beside others? All in one run, on one machine, against one endpoint.

    python -m benchmarks.engine                                    # scsafety and the bare aiohttp loop
    python -m benchmarks.engine --peers /path/to/venv/bin/python   # and openai SDK, Inspect AI, evalscope, where installed there

Every contender does the same: the pairs of the bank, two rounds, the second with the first's answer in view, a judge's verdict
on each answer with the whole rubric. The endpoint answers after a fixed time, so no client can make more than
in flight / latency calls a second: the ideal. Each runs in a process of its own; calls a second are counted by the endpoint,
from the first request to the last answer; CPU and peak memory are the client's. What is measured of scsafety is a whole sitting:
asking, parsing, judging, storing. Slow contenders get fewer pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CALLS_A_PAIR = 4
OURS = ("bare aiohttp", "scsafety")
PEERS = ("openai SDK", "evalscope", "Inspect AI")
SHARE = {"openai SDK": 0.5, "evalscope": 0.1, "Inspect AI": 0.06}  # of the pairs, so that slow ones end too
ANSWER_MARK = "@@ANSWER@@"
HEAD = (
    f"{'':16}{'calls/s':>9}{'of ideal':>10}{'CPU ms/call':>13}{'peak MB':>9}{'in flight':>11}{'pairs':>8}{'spread':>16}"
)


def write_work(path: Path) -> None:
    """The pairs and the judge's prompts as text, so that a contender needs nothing of ours."""
    from scsafety.bank import load_bank
    from scsafety.judge import rubric
    from scsafety.records import Case, Message, Pair

    work = []
    for item in load_bank().items:
        if not isinstance(item, Pair):
            continue
        history = (Message("user", item.question), Message("assistant", ANSWER_MARK * 4))
        cases = (
            Case(item=item, round=1, history=(), question=item.question, answer=ANSWER_MARK),
            Case(item=item, round=2, history=history, question=item.follow_up, answer=ANSWER_MARK),
        )
        prompts = [
            [{"role": m.role, "content": m.content} for m in rubric.write_prompt(c, nonce="0" * 16)] for c in cases
        ]
        work.append({"question": item.question, "follow_up": item.follow_up, "judge": prompts})
    path.write_text(json.dumps(work, ensure_ascii=False), encoding="utf-8")


def measure(name: str, python: str, url: str, in_flight: int, work: Path, n_pairs: int) -> dict[str, Any] | None:
    """One contender's run; None where it is not installed."""
    command = [python, str(HERE / "contenders.py"), name, url, str(in_flight), str(work), str(n_pairs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)  # noqa: S603 (our file)
    if "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds until the endpoint answers")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[64, 256, 512])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="that the ideal client would take")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of an environment that has the peers")
    parser.add_argument("--only", nargs="+", help="contenders by name")
    given = parser.parse_args()
    from benchmarks.endpoint import EndpointProcess

    contenders = [(name, sys.executable) for name in OURS]
    contenders += [(name, given.peers) for name in PEERS if given.peers]
    if given.only:
        contenders = [(name, python) for name, python in contenders if name in given.only]
    with tempfile.TemporaryDirectory() as folder, EndpointProcess(given.latency) as endpoint:
        work = Path(folder) / "work.json"
        write_work(work)
        for in_flight in given.in_flight:
            ideal = in_flight / given.latency
            n_pairs = round(given.seconds * ideal / CALLS_A_PAIR)
            print(f"\n{in_flight} in flight, {given.latency * 1000:g} ms: the ideal is {ideal:,.0f} calls/s;", end=" ")
            print(f"medians of {given.runs} runs")
            print(HEAD)
            ours = 0.0
            rows: dict[str, list[dict[str, Any]]] = {}
            for _ in range(given.runs):
                for name, python in contenders:
                    pairs = max(in_flight // 2, round(n_pairs * SHARE.get(name, 1.0)))
                    endpoint.reset()
                    found = measure(name, python, endpoint.url, in_flight, work, pairs)
                    if found is None:
                        continue
                    stats = endpoint.stats()
                    if stats.calls < 0.9 * CALLS_A_PAIR * pairs:
                        raise SystemExit(f"{name} made {stats.calls} calls of {CALLS_A_PAIR * pairs}")
                    found |= {
                        "rate": stats.calls_a_second,
                        "calls": stats.calls,
                        "most": stats.most_in_flight,
                        "pairs": pairs,
                    }
                    rows.setdefault(name, []).append(found)
            for name, found_rows in rows.items():
                rates = [row["rate"] for row in found_rows]
                rate = statistics.median(rates)
                cpu = statistics.median(1000 * row["cpu_s"] / row["calls"] for row in found_rows)
                last = found_rows[-1]
                ours = rate if name == "scsafety" else ours
                ratio = "" if name == "scsafety" or not ours else f"  scsafety is {ours / rate:.1f} x"
                print(
                    f"{name:16}{rate:>9,.0f}{rate / ideal:>10.1%}{cpu:>13.3f}{max(r['peak_mb'] for r in found_rows):>9,.0f}"
                    f"{last['most']:>11}{last['pairs']:>8}{min(rates):>9,.0f}-{max(rates):,.0f}{ratio}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
