"""Light steps: tasks without resources, spread over the nodes; one does several shards if that is cheaper."""

from collections.abc import Sequence
from typing import Any

from arbitrage.execution.plan import PlannedStep
from arbitrage.execution.ray.cluster import Node
from arbitrage.execution.ray.host import do_light
from arbitrage.execution.ray.state import Flight, RunState

MAX_SHARDS_OF_A_TASK = 32


class LightTasks:
    """Starts light tasks."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._followers = {step.step.name: _followers(step, state.steps) for step in state.steps}
        self._remote: Any = None
        self._jobs: dict[str, Any] = {}  # step → its job, in the object store

    def start(self, steps: Sequence[PlannedStep]) -> None:
        """Start light tasks of these steps, in order, while there is room on the nodes."""
        nodes = self._state.cluster.nodes
        for step in steps:
            while self._state.readiness.num_ready(step.step.name):
                if (node := nodes.light_node()) is None:
                    return  # looked for once, not for each step
                self._start_one(step, node)

    def _start_one(self, step: PlannedStep, node: Node) -> None:
        """Start one task; where many shards wait it does several, because each task has its price."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        readiness, name = self._state.readiness, step.step.name
        share = readiness.num_ready(name) // (4 * self._state.cluster.nodes.num_light_places)
        taken = [readiness.take(name) for _ in range(max(1, min(MAX_SHARDS_OF_A_TASK, share)))]
        attempts = [self._state.attempt(step, shard) for shard in taken if shard is not None]
        node.num_light += 1
        there = NodeAffinitySchedulingStrategy(node.node_id, soft=True)
        task = self._light_task().options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        chain = self._chain_after(step, [attempt.shard for attempt in attempts])
        ref = task.remote(self._shipped(step), attempts, *map(self._shipped, chain))
        self._state.flights[ref] = Flight(step, attempts[0], None, node, tuple(attempts[1:]), chain)

    def _chain_after(self, step: PlannedStep, shards: Sequence[int]) -> tuple[PlannedStep, ...]:
        """Return the light steps of which these shards wait for nothing else: a task for each would cost more."""
        chain: list[PlannedStep] = []
        names = {step.step.name}
        for later in self._followers[step.step.name]:
            name = later.step.name
            is_open = not self._state.given_up.blocks(name) and later.doubtful.isdisjoint(shards)
            if is_open and all(self._state.readiness.waits_only_for(name, k, names) for k in shards):
                chain.append(later)
                names.add(name)
        return tuple(chain)

    def _light_task(self) -> Any:
        """Return the remote function, made once: each one made is exported to the cluster."""
        import ray

        if self._remote is None:
            self._remote = ray.remote(do_light)
        return self._remote

    def _shipped(self, step: PlannedStep) -> Any:
        """Return a reference to a step's job in the object store: it may be larger than all it is sent along with."""
        import ray

        if step.step.name not in self._jobs:
            self._jobs[step.step.name] = ray.put(step.job.shipped)
        return self._jobs[step.step.name]


def _followers(step: PlannedStep, steps: Sequence[PlannedStep]) -> tuple[PlannedStep, ...]:
    """Return the light steps, in order, that read a light step, or one of these; shard by shard, all of them."""
    names = {step.step.name}
    found = []
    for later in steps:
        is_link = later.held == "task" and later.step.scope == "shard"
        if is_link and step.step.scope == "shard" and names.intersection(later.upstream):
            found.append(later)
            names.add(later.step.name)
    return tuple(found)
