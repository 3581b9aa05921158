"""How long until the program is there? Medians of fresh processes, the system's cache warm.

python benchmarks/startup.py [--peers /path/to/venv/bin/python]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15


def seconds(command: list[str]) -> float:
    """Median over fresh processes; the first two only warm the cache. Raises CalledProcessError."""
    taken = []
    for _ in range(RUNS + 2):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (commands of this file)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of an environment that has Inspect AI")
    given = parser.parse_args()
    bare = seconds([sys.executable, "-c", "pass"])
    ours = Path(sys.executable).with_name("scsafety")
    print(f"{'python -c pass':28}{bare:>8.3f} s")
    found = {"help": seconds([str(ours), "--help"]), "import": seconds([sys.executable, "-c", "import scsafety"])}
    print(f"{'scsafety --help':28}{found['help']:>8.3f} s\n{'import scsafety':28}{found['import']:>8.3f} s")
    if given.peers:
        theirs = Path(given.peers).with_name("inspect")
        for name, command in (
            ("help", [str(theirs), "--help"]),
            ("import", [given.peers, "-c", "import inspect_ai"]),
        ):
            value = seconds(command)
            print(f"Inspect AI, {name:16}{value:>8.3f} s   {value / found[name]:.1f} x ours")


if __name__ == "__main__":
    main()
