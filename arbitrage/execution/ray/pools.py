"""Pools of Ray actors: started when there is work and room, released when they are idle and others wait.

A replica with resources reserves them as a placement group of one bundle: all GPUs on one node, reserved before it
starts, shared with the processes of its engine (a worker for each tensor-parallel rank), and released when it ends.
Replicas without resources, which only wait for endpoints, share a few actors on each node.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from arbitrage.contracts.steps import Resources
from arbitrage.contracts.workers import SHARDS_IN_HAND
from arbitrage.execution.ray.cluster import Inventory, Node
from arbitrage.execution.ray.demand import bundle_of
from arbitrage.execution.ray.host import Host

CONTROL = "control"
"""Separate concurrency group on every actor, so that a stop never queues behind work."""

STOP_TIMEOUT_S = 10.0

SHARED_CONCURRENCY = 10_000
"""Maximum number of concurrent calls on a shared actor; the calls of each worker are counted here."""


_NUMBERS = count(1)


@dataclass(eq=False)
class Replica:
    """One worker of a pool: in its own actor, or in a shared one.

    Attributes:
        pool: name of the pool.
        actor: its actor.
        node_id: the actor's node.
        group: placement group with its resources.
        cards: share of each GPU of the node.
        is_shared: whether the actor serves other pools too.
        is_placed: whether Ray has reserved its resources.
        asked_at: when they were asked for.
    """

    pool: str
    actor: Any
    node_id: str
    group: Any | None = None
    cards: dict[int, float] = field(default_factory=dict)
    is_shared: bool = False
    is_placed: bool = False
    asked_at: float = field(default_factory=time.monotonic)
    name: str = field(default_factory=lambda: f"replica-{next(_NUMBERS)}")  # unique within this run


@dataclass
class Pool:
    """The live replicas of one worker, and the number of shards that each has under way.

    Attributes:
        name: name of the pool.
        resources: resources of each replica.
        is_remote: its workers wait for endpoints and may share actors.
        shards_in_hand: shards that a replica may have under way.
        avoid: nodes on which a replica could not start.
        num_failed_starts: number of failed starts.
    """

    name: str
    resources: Resources
    is_remote: bool = False
    shards_in_hand: int = SHARDS_IN_HAND
    model: str = ""
    in_hand: Counter[Replica] = field(default_factory=Counter)  # replica → shards under way
    avoid: set[str] = field(default_factory=set)
    num_failed_starts: int = 0

    @property
    def is_full_size(self) -> bool:
        """Whether it has all its replicas."""
        most = self.resources.max_replicas
        return most is not None and len(self.in_hand) >= most

    @property
    def is_shared(self) -> bool:
        """Whether its replicas share actors with those of other pools."""
        return self.is_remote and self.resources.is_nothing

    def idle_replicas(self) -> list[Replica]:
        """Return the replicas without shards under way."""
        return [replica for replica, count in self.in_hand.items() if not count]

    def free_replica(self, most: int | None = None) -> Replica | None:
        """Return the replica with the fewest shards under way, if there are fewer than `most` (or its maximum)."""
        if not self.in_hand:
            return None
        replica, count = min(self.in_hand.items(), key=lambda entry: entry[1])
        return replica if count < (most or self.shards_in_hand) else None


@dataclass(eq=False)
class _SharedHost:
    """An actor shared by replicas without resources."""

    actor: Any
    node_id: str
    replicas: list[Replica] = field(default_factory=list)


class Cluster:
    """Starts and ends replicas, and tracks the free resources of nodes."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = Inventory(nodes)
        self._hosts: list[_SharedHost] = []

    def has_room(self, pool: Pool) -> bool:
        """Whether there is room for one more replica on some node."""
        if pool.is_shared:
            return self._host_for(pool) is not None or self.nodes.host_node(pool.avoid) is not None
        return self.nodes.best_for(pool.resources, pool.avoid) is not None

    def could_start_elsewhere(self, pool: Pool) -> bool:
        """Whether there is a node on which no replica of the pool has failed to start."""
        return self.nodes.could_hold(pool.resources, pool.avoid)

    def start(self, pool: Pool, is_alone: bool = False) -> Replica:
        """Start one replica on the node that it fills best; there must be room.

        Args:
            pool: the pool.
            is_alone: in its own actor, also if replicas of this kind share actors.
        """
        replica = self._take_a_place(pool) if pool.is_shared and not is_alone else self._start_actor(pool)
        pool.in_hand[replica] = 0
        return replica

    def loaded(self, replica: Replica) -> None:
        """Note that a replica's model is loaded: the next one may start on its GPU."""
        if (node := self.nodes.by_id.get(replica.node_id)) is not None:
            node.starting.discard(id(replica))

    def neighbours(self, replica: Replica) -> list[Replica]:
        """Return all replicas in the same actor, including itself."""
        return next((list(host.replicas) for host in self._hosts if replica in host.replicas), [replica])

    def release(self, pools: Iterable[Pool]) -> None:
        """Stop all replicas of pools concurrently: first gracefully, then by force."""
        import ray

        replicas = [(pool, replica) for pool in pools for replica in pool.in_hand]
        ending = [replica for _, replica in replicas]
        whole = {r.actor for r in ending if set(self.neighbours(r)) <= set(ending)}  # none else is left in these
        stopping = [actor.stop.options(concurrency_group=CONTROL).remote() for actor in whole]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=STOP_TIMEOUT_S)
        for pool, replica in replicas:
            self.drop(pool, replica)

    def drop(self, pool: Pool, replica: Replica) -> None:
        """End one replica and release its resources, if its node still exists."""
        import ray
        from ray.util import remove_placement_group

        del pool.in_hand[replica]
        node = self.nodes.by_id.get(replica.node_id)
        if replica.is_shared:
            self._leave(replica, node)
            return
        ray.kill(replica.actor)
        if replica.group is not None:
            remove_placement_group(replica.group)
        if node is not None:
            node.starting.discard(id(replica))
            node.give_back(pool.resources, replica.cards)

    def is_placed(self, replica: Replica) -> bool:
        """Whether Ray has reserved a replica's resources; it waits where others hold them, such as another job."""
        replica.is_placed = replica.is_placed or replica.group is None or bool(replica.group.wait(0))
        return replica.is_placed

    def has_node(self, node_id: str) -> bool:
        """Whether a node still exists."""
        return node_id in self.nodes.by_id

    def _start_actor(self, pool: Pool) -> Replica:
        import ray

        wanted = pool.resources
        node = self.nodes.best_for(wanted, pool.avoid, pool.model)
        if node is None:
            raise RuntimeError(f"{pool.name}: started without room")
        cards = node.take(wanted)
        group = _reserve(wanted, node.node_id)
        host = ray.remote(
            num_cpus=wanted.cpus,
            num_gpus=wanted.gpus,
            max_concurrency=pool.shards_in_hand + 1,  # and `prepare`
            concurrency_groups={CONTROL: 1},
            max_restarts=0,
            scheduling_strategy=_strategy(group, node.node_id),
        )(Host)
        replica = Replica(pool.name, host.remote(), node.node_id, group, cards)
        if 0 < wanted.gpus < 1:
            node.starting.add(id(replica))
        return replica

    def _host_for(self, pool: Pool) -> _SharedHost | None:
        """Return the shared actor with the fewest replicas, none of them of this pool."""
        fitting = [
            host
            for host in self._hosts
            if host.node_id not in pool.avoid and all(replica.pool != pool.name for replica in host.replicas)
        ]
        return min(fitting, key=lambda host: len(host.replicas), default=None)

    def _take_a_place(self, pool: Pool) -> Replica:
        node = self.nodes.host_node(pool.avoid)
        host = self._start_host(node) if node is not None else self._host_for(pool)
        if host is None:
            raise RuntimeError(f"{pool.name}: started without room")
        replica = Replica(pool.name, host.actor, host.node_id, is_shared=True)
        host.replicas.append(replica)
        return replica

    def _start_host(self, node: Node) -> _SharedHost:
        import ray

        actor = ray.remote(
            num_cpus=0,
            max_concurrency=SHARED_CONCURRENCY,
            concurrency_groups={CONTROL: 1},
            max_restarts=0,
            scheduling_strategy=_strategy(None, node.node_id),
        )(Host).remote()
        node.num_hosts += 1
        self._hosts.append(_SharedHost(actor, node.node_id))
        return self._hosts[-1]

    def _leave(self, replica: Replica, node: Node | None) -> None:
        """Remove a replica from its shared actor, and end the actor with its last replica."""
        import ray

        host = next(host for host in self._hosts if replica in host.replicas)
        host.replicas.remove(replica)
        if host.replicas:
            host.actor.leave.options(concurrency_group=CONTROL).remote(replica.name)
            return
        self._hosts.remove(host)
        ray.kill(host.actor)
        if node is not None:
            node.num_hosts -= 1


def _reserve(wanted: Resources, node_id: str) -> Any | None:
    """Reserve a replica's resources on the given node if they are still free there; None if it has none."""
    from ray.util.placement_group import placement_group

    bundle = bundle_of(wanted)
    if not bundle:
        return None
    return placement_group([bundle], strategy="STRICT_PACK", _soft_target_node_id=node_id)


def _strategy(group: Any | None, node_id: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

    if group is None:
        # Not soft: Ray then puts actors without resources anywhere, although the node lives (Ray 2.60).
        return NodeAffinitySchedulingStrategy(node_id, soft=False)
    return PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
