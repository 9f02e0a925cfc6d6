"""Which replicas start, which get shards, and which give their place up."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from arbitrage.contracts.steps import Resources
from arbitrage.execution.plan import PlannedStep
from arbitrage.execution.ray.pools import Pool, Replica
from arbitrage.execution.ray.state import Flight, RunState
from arbitrage.execution.shard_task import Attempt

MAX_ALONE = 2
"""Actors that a shard of a shared pool may have to itself, because its prompts may have killed a shared one."""


class Feeder:
    """Starts replicas where there is work and room, hands shards out, and releases idle replicas."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    def start_early(self) -> None:
        """Start one replica of each pool that waits for light steps alone: engines load while prompts are routed."""
        for step in early_steps(self._state.steps):
            pool = self._state.pool(step)
            if not pool.in_hand and self._state.cluster.has_room(pool):
                self._state.start_replica(pool, step)

    def wanted(self) -> Iterator[tuple[Resources, int]]:
        """Yield the resources of a replica and the number wanted, for each pool begun and not finished."""
        for name, pool in self._state.pools.items():
            if not self._state.is_finished(name):
                yield pool.resources, max(len(pool.in_hand), pool.resources.max_replicas or 1)

    def feed(self, ready: Mapping[str, Sequence[PlannedStep]]) -> None:
        """Release, start and feed replicas.

        Args:
            ready: pool → its steps that have ready shards.
        """
        self._release_idle(ready)
        pools = {name: self._state.pool(steps[0]) for name, steps in ready.items()}
        self._grow([(pools[name], steps) for name, steps in ready.items()])
        for name, steps in ready.items():
            for step in steps:
                self._hand_out_all(pools[name], step)

    def _grow(self, ready: Sequence[tuple[Pool, Sequence[PlannedStep]]]) -> None:
        """Start replicas where more shards are ready than replicas idle: in turn for the pool that holds least."""
        wanting = list(ready)
        while wanting:
            place = min(range(len(wanting)), key=lambda i: (_held(wanting[i][0]), i))
            pool, steps = wanting[place]
            num_ready = sum(self._state.readiness.num_ready(step.step.name) for step in steps)
            is_served = pool.is_full_size or num_ready <= len(pool.idle_replicas())
            if is_served or not self._state.cluster.has_room(pool):
                del wanting[place]
            else:
                self._state.start_replica(pool, steps[0])

    def _hand_out_all(self, pool: Pool, step: PlannedStep) -> None:
        """Hand ready shards to idle replicas, then to busy ones."""
        readiness, name = self._state.readiness, step.step.name
        special = {k for each, k in chain(self._state.deaths, self._state.alone) if each == name}
        for shard in sorted(k for k in special if readiness.is_ready(name, k)):
            self._hand_out(pool, step, readiness.take(name, shard))
        while self._hand_out(pool, step, readiness.take(name)):
            pass

    def _hand_out(self, pool: Pool, step: PlannedStep, shard: int | None) -> bool:
        """Hand a shard that was taken to a replica; where none has room, put it back and return False."""
        if shard is None:
            return False
        attempt = self._state.attempt(step, shard)
        replica = self._replica_for(pool, step, attempt)
        if replica is None:
            self._state.readiness.put_back(step.step.name, shard)
            return False
        flight = Flight(step, attempt, replica)
        pool.in_hand[replica] += flight.weight
        self._state.flights[replica.actor.do.remote(step.job.shipped, attempt, replica.name)] = flight
        return True

    def _replica_for(self, pool: Pool, step: PlannedStep, attempt: Attempt) -> Replica | None:
        if attempt.died and pool.is_shared:
            return self._actor_alone(pool, step)
        return pool.free_replica(most=1) or (None if attempt.is_alone else pool.free_replica())

    def _actor_alone(self, pool: Pool, step: PlannedStep) -> Replica | None:
        """Start an actor for one shard of a shared pool: a crash then fails only this shard."""
        alone = sum(
            1 for each in self._state.pools.values() for r in each.in_hand if each.is_shared and not r.is_shared
        )
        return self._state.start_replica(pool, step, is_alone=True) if alone < MAX_ALONE else None

    def _release_idle(self, ready: Mapping[str, Sequence[PlannedStep]]) -> None:
        """Release pools that are done, and idle replicas without work while another pool waits for room."""
        starved = [
            self._state.pool(steps[0])
            for name, steps in ready.items()
            if not (name in self._state.pools and self._state.pools[name].in_hand)
        ]
        is_crowded = any(not self._state.cluster.has_room(pool) for pool in starved)
        for name, pool in self._state.pools.items():
            if not pool.in_hand or name in ready:
                continue
            idle = pool.idle_replicas()
            if len(idle) == len(pool.in_hand) and (is_crowded or self._state.is_finished(name)):
                for replica in idle:
                    self._state.forget(replica)
                self._state.cluster.release([pool])
            elif is_crowded:
                for replica in idle:
                    self._state.drop(pool, replica)


def early_steps(steps: Sequence[PlannedStep]) -> Iterator[PlannedStep]:
    """Yield the steps with an engine that wait for light steps alone, in order."""
    held = {s.step.name for s in steps if s.held == "actor" and s.certain}
    behind: set[str] = set()  # steps that wait for an engine
    for step in steps:
        if behind.union(held).intersection(step.upstream):
            behind.add(step.step.name)
        elif step.step.name in held:
            yield step


def _held(pool: Pool) -> tuple[float, float]:
    """Return the GPUs and cores that a pool holds."""
    return len(pool.in_hand) * pool.resources.gpus, len(pool.in_hand) * pool.resources.cpus
