"""Pools of Ray actors: started when there is work and room, released when they would only sit on their resources.

A replica that holds anything gets it as a placement group of one bundle: all its GPUs on one node, reserved before it
starts, shared with what its engine starts in turn (a worker for each tensor-parallel rank), and gone when it goes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from arbitrage.contracts.steps import Resources
from arbitrage.contracts.workers import SHARDS_IN_HAND
from arbitrage.errors import PlacementError
from arbitrage.execution.ray_host import Host

CONTROL = "control"
"""Concurrency group kept free on every actor, so that a stop never queues behind work."""

STOP_TIMEOUT_S = 10.0


@dataclass
class Pool:
    """The live replicas of one worker, and how many shards each has in hand."""

    name: str
    resources: Resources
    in_hand: Counter[Any] = field(default_factory=Counter)  # actor → shards under way
    places: dict[Any, str] = field(default_factory=dict)  # actor → node
    groups: dict[Any, Any] = field(default_factory=dict)  # actor → placement group

    @property
    def is_full_size(self) -> bool:
        """Whether it has all its replicas."""
        return len(self.in_hand) >= self.resources.replicas

    def idle_actors(self) -> list[Any]:
        """Return the actors with nothing in hand."""
        return [actor for actor, count in self.in_hand.items() if not count]

    def free_actor(self, most: int = SHARDS_IN_HAND) -> Any | None:
        """Return the actor with the fewest shards in hand, if these are fewer than `most`."""
        if not self.in_hand:
            return None
        actor, count = min(self.in_hand.items(), key=lambda entry: entry[1])
        return actor if count < most else None


@dataclass
class Node:
    """What one node has left."""

    node_id: str
    cpus: float
    gpus: float

    def fits(self, wanted: Resources) -> bool:
        """Whether one replica fits."""
        return wanted.cpus <= self.cpus and wanted.gpus <= self.gpus


class Cluster:
    """Keeps account of each node's CPUs and GPUs as our pools take and return them."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = {node.node_id: node for node in nodes}
        self.num_cpus = int(sum(node.cpus for node in nodes))

    def require_possible(self, name: str, wanted: Resources) -> None:
        """Raise PlacementError if no node, empty, could hold one replica."""
        if not any(node.fits(wanted) for node in self._nodes.values()):
            nodes = [Resources(cpus=node.cpus, gpus=node.gpus).each() for node in self._nodes.values()]
            present = "; ".join(nodes) or "nothing"
            raise PlacementError(f"{name}: a replica asks for {wanted.each()}; the nodes have: {present}")

    def has_room(self, wanted: Resources) -> bool:
        """Whether one more replica fits on some node beside those we hold."""
        return any(node.fits(wanted) for node in self._nodes.values())

    def start(self, pool: Pool) -> Any:
        """Start one replica on the node that it fills best, and return its actor; there must be room."""
        import ray

        wanted = pool.resources
        fitting = [node for node in self._nodes.values() if node.fits(wanted)]
        node = min(fitting, key=lambda n: (n.gpus, n.cpus, n.node_id))
        node.cpus -= wanted.cpus
        node.gpus -= wanted.gpus
        group = _reserve(wanted, node.node_id)
        host = ray.remote(
            num_cpus=wanted.cpus,
            num_gpus=wanted.gpus,
            max_concurrency=SHARDS_IN_HAND,
            concurrency_groups={CONTROL: 1},
            max_restarts=0,
            scheduling_strategy=_strategy(group, node.node_id),
        )(Host)
        actor = host.remote(pool.name)
        pool.in_hand[actor] = 0
        pool.places[actor] = node.node_id
        if group is not None:
            pool.groups[actor] = group
        return actor

    def release(self, pools: Iterable[Pool]) -> None:
        """Stop all replicas of pools, all at once: gently, and then for good."""
        import ray

        actors = [(pool, actor) for pool in pools for actor in pool.in_hand]
        stopping = [actor.stop.options(concurrency_group=CONTROL).remote() for _, actor in actors]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=STOP_TIMEOUT_S)
        for pool, actor in actors:
            self.drop(pool, actor)

    def drop(self, pool: Pool, actor: Any) -> None:
        """Kill one replica and take its resources back, if its node is still there."""
        import ray
        from ray.util import remove_placement_group

        del pool.in_hand[actor]
        ray.kill(actor)
        if (group := pool.groups.pop(actor, None)) is not None:
            remove_placement_group(group)
        node = self._nodes.get(pool.places.pop(actor))
        if node is not None:
            node.cpus += pool.resources.cpus
            node.gpus += pool.resources.gpus

    def has_node(self, node_id: str) -> bool:
        """Whether a node is still there."""
        return node_id in self._nodes

    def refresh(self, alive: Sequence[Node]) -> tuple[list[str], list[str]]:
        """Take note of nodes that joined or died; return the ids of those that joined, and of those that died."""
        found = {node.node_id: node for node in alive}
        joined, died = sorted(found.keys() - self._nodes.keys()), sorted(self._nodes.keys() - found.keys())
        for node_id in died:
            del self._nodes[node_id]
        for node_id in joined:
            self._nodes[node_id] = found[node_id]
        self.num_cpus = int(sum(node.cpus for node in alive))
        return joined, died


def _reserve(wanted: Resources, node_id: str) -> Any | None:
    """Reserve what one replica holds, on the given node if it is still free there; None if it holds nothing."""
    from ray.util.placement_group import placement_group

    held = {"CPU": wanted.cpus, "GPU": wanted.gpus}
    bundle = {name: amount for name, amount in held.items() if amount}
    if not bundle:
        return None
    return placement_group([bundle], strategy="STRICT_PACK", _soft_target_node_id=node_id)


def _strategy(group: Any | None, node_id: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

    if group is None:
        return NodeAffinitySchedulingStrategy(node_id, soft=True)
    return PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
