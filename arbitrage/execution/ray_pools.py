"""Pools of Ray actors: started when there is work and room, released when they would only sit on their resources."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from arbitrage.contracts import Resources
from arbitrage.errors import PlacementError
from arbitrage.execution.ray_host import Host

SHARDS_PER_ACTOR = 2
"""Shards an actor holds at once: the long tail of one overlaps the head of the next."""

CONTROL = "control"
"""Concurrency group kept free on every actor, so that a stop never queues behind work."""

STOP_TIMEOUT_S = 10.0


@dataclass
class Pool:
    """The live replicas of one worker, and how many shards each has in hand."""

    name: str
    resources: Resources
    in_hand: Counter[Any] = field(default_factory=Counter)  # actor → shards under way

    def free_actor(self) -> Any | None:
        """Return the actor with the fewest shards in hand, if it can take one more."""
        if not self.in_hand:
            return None
        actor, count = min(self.in_hand.items(), key=lambda entry: entry[1])
        return actor if count < SHARDS_PER_ACTOR else None

    @property
    def is_idle(self) -> bool:
        """Whether no actor has anything in hand."""
        return not any(self.in_hand.values())


class Cluster:
    """Keeps account of the cluster's CPUs and GPUs as our pools take and return them."""

    def __init__(self, node_resources: Sequence[dict[str, float]]) -> None:
        self._nodes = [(n.get("CPU", 0.0), n.get("GPU", 0.0)) for n in node_resources]
        self._free_cpus = sum(cpus for cpus, _ in self._nodes)
        self._free_gpus = sum(gpus for _, gpus in self._nodes)

    @property
    def num_cpus(self) -> int:
        """Cores of the whole cluster."""
        return int(sum(cpus for cpus, _ in self._nodes))

    def require_possible(self, name: str, wanted: Resources) -> None:
        """Raise PlacementError if no node could ever hold one replica."""
        if not any(wanted.cpus <= cpus and wanted.gpus <= gpus for cpus, gpus in self._nodes):
            nodes = [Resources(cpus=cpus, gpus=gpus).each() for cpus, gpus in self._nodes]
            present = "; ".join(nodes) or "nothing"
            raise PlacementError(f"{name}: a replica asks for {wanted.each()}; the nodes have: {present}")

    def has_room(self, wanted: Resources) -> bool:
        """Whether one more replica fits beside those we hold."""
        return wanted.cpus <= self._free_cpus and wanted.gpus <= self._free_gpus

    def start(self, pool: Pool) -> None:
        """Start one replica."""
        import ray

        self._free_cpus -= pool.resources.cpus
        self._free_gpus -= pool.resources.gpus
        host = ray.remote(
            num_cpus=pool.resources.cpus,
            num_gpus=pool.resources.gpus,
            max_concurrency=SHARDS_PER_ACTOR,
            concurrency_groups={CONTROL: 1},
            max_restarts=0,
        )(Host)
        pool.in_hand[host.remote()] = 0

    def release(self, pool: Pool) -> None:
        """Stop all replicas of a pool, gently and then for good."""
        import ray

        stopping = [actor.stop.options(concurrency_group=CONTROL).remote() for actor in pool.in_hand]
        ray.wait(stopping, num_returns=len(stopping), timeout=STOP_TIMEOUT_S)
        for actor in list(pool.in_hand):
            self.drop(pool, actor)

    def drop(self, pool: Pool, actor: Any) -> None:
        """Kill one replica and take its resources back."""
        import ray

        del pool.in_hand[actor]
        ray.kill(actor)
        self._free_cpus += pool.resources.cpus
        self._free_gpus += pool.resources.gpus
