"""The Ray backend: the same workers on a Ray cluster: a laptop, `ray submit`, KubeRay, Slurm."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from arbitrage.execution.loads import model_placements
from arbitrage.execution.plan import ExecutionPlan
from arbitrage.execution.progress import Progress, RunMonitor
from arbitrage.execution.ray.connection import connect_ray, start_ray
from arbitrage.execution.ray.demand import Demand, NodesWanted, await_nodes
from arbitrage.execution.ray.feeding import early_steps
from arbitrage.execution.ray.nodes import Nodes, num_alive
from arbitrage.execution.ray.pools import Cluster
from arbitrage.execution.ray.scheduler import Scheduler
from arbitrage.execution.source_task import do_source

LOCAL_OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Size of Ray's object store. Rows never pass through it, so a small one is enough."""


class RayBackend:
    """Runs steps as actors and tasks on a Ray cluster.

    Args:
        address: address of a running cluster; None starts one on this machine and stops it afterwards.
        awaits_end: return only when Ray's processes have ended, which takes a second and a half. A caller that does
            not use Ray again need not wait; its own process ends after them in any case.
        nodes: nodes of a running cluster to wait for.
    """

    name = "ray"

    def __init__(self, address: str | None = None, awaits_end: bool = True, nodes: NodesWanted | None = None) -> None:
        self._address, self._nodes = address, nodes or NodesWanted()
        self._awaits_end = awaits_end

    def run(self, execution: ExecutionPlan, watch: RunMonitor) -> None:
        """Do all missing shards."""
        if not any(s.missing for s in execution.steps if s.step.scope != "source"):
            self._read_source(execution, watch)
            return
        import ray

        awaits_end = True  # an error references the frames that it passed through
        try:
            self._do_steps(execution, watch)
            awaits_end = self._awaits_end
        finally:
            gc.collect()  # releasing a reference while Ray shuts down would crash the process
            ending = threading.Thread(target=ray.shutdown, name="ray-end")
            ending.start()
            if awaits_end:
                ending.join()

    def _do_steps(self, execution: ExecutionPlan, watch: RunMonitor) -> None:
        with ThreadPoolExecutor(1, "source") as beside:
            reading = beside.submit(self._read_source, execution, watch)
            self._connect(watch.progress)
            watch.stop.require_none()
            demand = Demand(is_signalled=self._address is not None)
            try:
                early = [(step.step.resources, 1) for step in early_steps(execution.steps)]
                demand.ask(lambda: early, is_urgent=True)
                await_nodes(self._nodes, num_alive, watch.progress, watch.stop.require_none)
                models = {load.model.model for load in model_placements(execution) if not load.is_remote}
                nodes = Nodes(watch.progress, sorted(models))
                cluster = Cluster(nodes.first())
                reading.result()
                watch.stop.require_none()
                Scheduler(_without_source(execution), cluster, watch, nodes.alive, demand).run()
            finally:
                demand.withdraw()

    def _read_source(self, execution: ExecutionPlan, watch: RunMonitor) -> None:
        """Read sources in the driver, which counts rows as they arrive; Ray starts meanwhile."""
        for step in execution.steps:
            if step.step.scope == "source" and step.missing:
                stats = do_source(step.job, step.job.config.build(), partial(watch.rows_read, step))
                for shard, shard_stats in zip(step.job.shards, stats, strict=True):
                    watch.shard_done(step, shard, shard_stats)

    def _connect(self, progress: Progress) -> None:
        if self._address is None:
            start_ray(progress, LOCAL_OBJECT_STORE_BYTES)
        else:
            connect_ray(self._address, progress)


def _without_source(execution: ExecutionPlan) -> ExecutionPlan:
    steps = tuple(replace(s, missing=()) if s.step.scope == "source" else s for s in execution.steps)
    return replace(execution, steps=steps)
