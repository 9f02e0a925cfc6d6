"""Ray clusters of several raylets on this machine, without the daemons that no test looks at."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

LEAN = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
"""Each of these daemons is a Python process that takes a second of a core to start."""

SOON = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
"""A raylet that was killed is missed after 3 s instead of 15 s; one that is only slow has 30 s to answer, as ever."""


@contextmanager
def running_cluster(head: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]] = ()) -> Iterator[Any]:
    """Start a head and nodes, each given what `ray start` may be told; stop them at the end of the block.

    Yields:
        Ray's `Cluster`, with the nodes in order as `workers`.
    """
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**LEAN, "_system_config": SOON, **head})
    try:
        made.workers = [made.add_node(**node) for node in nodes]
        yield made
    finally:
        made.shutdown()
