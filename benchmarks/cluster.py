"""Does a run spread over a Ray cluster end as one that a single process held, and at what speed?

    python -m benchmarks.cluster                        # the whole bank, two nodes on this machine, one of them killed

The whole bank is held three times against an endpoint that answers after 50 ms, the same text to the same conversation: by one
process; by workers on two nodes; by workers on two nodes of which one is killed once 40% of the calls are answered. The stores
must be equal, answer by answer and verdict by verdict, and the endpoint must never have more calls in flight than `--concurrency`
allows. The nodes are Ray's own of `ray.cluster_utils`: processes of their own on this machine. Exit code 1 when something
differs. Needs `scsafety[ray]`.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.loopback import ROOT, Endpoint
from benchmarks.soak import COMPARED, PROGRAM
from tests.cluster.two_nodes import kill_node, two_nodes

KILL_AT = 0.4  # of the calls
MORE = {
    "twins": "SELECT item_id, epoch, answer, blocked, error FROM benign_turn ORDER BY 1, 2",
    "verdicts on twins": "SELECT item_id, epoch, judge_id, label FROM verdict_of_benign ORDER BY 1, 2",
}


class Runs:
    def __init__(self, folder: Path, given: argparse.Namespace) -> None:
        self._folder, self._given = folder, given

    def hold(self, name: str, endpoint: Endpoint, *more: str, kill: Any = None, n_calls: int = 0) -> dict[str, Any]:
        """One run to its end; kill: called once enough is answered. Returns the endpoint's counts and the wall time."""
        given = self._given
        command = (
            *(*PROGRAM, "run", "--model", "openai-compatible/bench", "--base-url", f"{endpoint.url}/v1"),
            *("--judge", given.judge, "--concurrency", str(given.concurrency), "--name", name),
            *("--judge-concurrency", str(given.concurrency), "--out", str(self._folder), *more),
        )
        began = time.monotonic()
        with (self._folder / f"{name}.log").open("wb") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 (this program)
        while (code := child.poll()) is None:
            time.sleep(0.05)
            if kill is not None and endpoint.counts()["answered"] >= KILL_AT * n_calls:
                kill()
                kill = None
        counts = {**endpoint.counts(), "wall": time.monotonic() - began, "code": code, "killed": kill is None}
        if code:
            print((self._folder / f"{name}.log").read_text(encoding="utf-8")[-2_000:])
        return counts

    def rows(self, name: str) -> dict[str, list[tuple[Any, ...]]]:
        db = sqlite3.connect(self._folder / name / "run.db")
        try:
            return {what: db.execute(sql).fetchall() for what, sql in {**COMPARED, **MORE}.items()}
        finally:
            db.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, default=64, help="calls in flight")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds until the endpoint answers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--judge", default="offline-fast")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, two_nodes(given.workers) as (cluster, nodes):
        runs = Runs(Path(folder), given)
        ray = ("--executor", "ray", "--ray-address", cluster.address, "--ray-workers", str(given.workers))
        ways: dict[str, tuple[tuple[str, ...], Any]] = {
            "one process": ((), None),
            "two nodes": (ray, None),
            "one of two killed": (ray, lambda: kill_node(cluster, nodes[1])),
        }
        for name, (more, kill) in ways.items():
            with Endpoint("benchmarks.faulty_endpoint", "--faults", "0", "--latency", str(given.latency)) as endpoint:
                n_calls = found["one process"]["answered"] if found else 0
                slug = name.replace(" ", "-")
                found[name] = runs.hold(slug, endpoint, *more, kill=kill, n_calls=n_calls)
                found[name]["rows"] = runs.rows(slug)
    whole, failed = found["one process"], 0
    ideal = given.concurrency / given.latency
    print(f"{'':20}{'calls':>8}{'repeated':>10}{'calls/s':>9}{'of ideal':>10}{'in flight':>11}{'wall s':>8}   store")
    for name, one in found.items():
        differ = [what for what, rows in one["rows"].items() if rows != whole["rows"][what]]
        rate = one["answered"] / one["seconds"]
        failed += bool(differ) or bool(one["code"]) or one["most_in_flight"] > given.concurrency
        failed += name == "one of two killed" and not one["killed"]
        print(
            f"{name:20}{one['answered']:>8,}{one['repeated']:>10,}{rate:>9,.0f}{rate / ideal:>10.1%}{one['most_in_flight']:>11}"
            f"{one['wall']:>8.1f}   {'differs: ' + ', '.join(differ) if differ else 'equal'}"
        )
    n_turns = sum(len(rows) for what, rows in whole["rows"].items() if "verdict" not in what)
    print(f"{n_turns:,} answers; ideal {ideal:,.0f} calls/s; at most {given.concurrency} may be in flight")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
