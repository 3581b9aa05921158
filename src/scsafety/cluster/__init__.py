"""A run spread over the nodes of a Ray cluster: pairs in shards, one store in the end."""

from scsafety.cluster.driver import Cluster, connected, hold_on_cluster, judge_on_cluster

__all__ = ["Cluster", "connected", "hold_on_cluster", "judge_on_cluster"]
