"""A Ray cluster of a head without processors and two nodes on this machine, whose nodes can be killed. Linux only.

As a program: says `ADDRESS` and its address; for each number on its standard input it kills that node and says `KILLED`.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def two_nodes(n_cpus: int) -> Iterator[tuple[Any, list[Any]]]:
    """The cluster and its nodes, as long as the block lasts. n_cpus: of each node."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=n_cpus) for _ in range(2)]
    cluster.wait_for_nodes()
    try:
        yield cluster, nodes
    finally:
        cluster.shutdown()


def kill_node(cluster: Any, node: Any) -> None:
    """As if its power were cut: its workers first, so that none lives on until it notices."""
    for process in node.all_processes["raylet"]:
        pid = process.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            os.kill(int(child), signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    with two_nodes(1) as (cluster, nodes):
        _say(f"ADDRESS {cluster.address}")
        for line in sys.stdin:
            kill_node(cluster, nodes[int(line)])
            _say("KILLED")


if __name__ == "__main__":
    main()
