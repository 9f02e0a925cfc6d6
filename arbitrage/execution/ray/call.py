"""Call functions on a Ray cluster, one after the other, each in a process that holds what it needs."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from arbitrage.contracts.steps import Resources
from arbitrage.errors import ExecutionError, PlacementError
from arbitrage.execution.progress import Progress
from arbitrage.execution.ray.connection import connect_ray
from arbitrage.execution.ray.nodes import Nodes

T = TypeVar("T")


class ClusterCalls:
    """A connected cluster."""

    def call(self, function: Callable[..., T], *arguments: Any, resources: Resources, timeout_s: float) -> T:
        """Run a function where its resources are free, and return what it returns.

        Raises:
            PlacementError: no node has so much.
            ExecutionError: its process died, or it took longer than `timeout_s`.
        """
        import ray

        options: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "max_retries": 0}
        remote = ray.remote(max_calls=1)(function)  # the process ends with the call, and frees its memory
        if resources.accelerator:
            options["accelerator_type"] = resources.accelerator
        wanted = {"CPU": resources.cpus, "GPU": resources.gpus}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0.0) >= amount for name, amount in wanted.items()) for node in nodes):
            raise PlacementError(f"no node of the cluster has {resources.each()}")
        under_way = remote.options(**options).remote(*arguments)
        done, _ = ray.wait([under_way], timeout=timeout_s)
        if not done:
            ray.cancel(under_way, force=True)
            raise ExecutionError(f"no result within {timeout_s:g} s; it was given up")
        try:
            found: T = ray.get(under_way)
        except ray.exceptions.RayError as error:
            raise ExecutionError(f"its process ended: {str(error).splitlines()[0]}") from error
        return found

    def on_every_node(
        self, function: Callable[..., T], *arguments: Any, timeout_s: float
    ) -> Iterator[tuple[str, T | ExecutionError]]:
        """Run a function on all nodes at once, and yield each node's name with its result, as they come.

        A node that is lost, or takes longer than `timeout_s`, yields an error; the others go on.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = ray.remote(max_calls=1)(function)
        under_way: dict[Any, str] = {}
        for node in ray.nodes():
            if node["Alive"]:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                sent = remote.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(*arguments)
                under_way[sent] = str(node["NodeManagerHostname"])
        end = time.monotonic() + timeout_s
        while under_way:
            done, _ = ray.wait(list(under_way), timeout=max(0.0, end - time.monotonic()))
            if not done:
                break
            name = under_way.pop(done[0])
            try:
                yield name, ray.get(done[0])
            except ray.exceptions.RayError as error:
                yield name, ExecutionError(f"its process ended: {str(error).splitlines()[0]}")
        for late, name in under_way.items():
            ray.cancel(late, force=True)
            yield name, ExecutionError(f"no result within {timeout_s:g} s; it was given up")


@contextmanager
def cluster_calls(address: str, progress: Progress) -> Iterator[ClusterCalls]:
    """Connect to a cluster whose nodes run this code.

    Raises:
        ExecutionError: it cannot be reached, or a node runs other code.
    """
    connect_ray(address, progress)
    import ray

    try:
        Nodes(progress).first()
        yield ClusterCalls()
    finally:
        gc.collect()
        ray.shutdown()
