"""What is under way on the cluster: pools, flights, replicas that load, and shards that run alone."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from arbitrage.errors import ArbitrageError
from arbitrage.execution.given_up import GivenUp
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.execution.progress import RunMonitor
from arbitrage.execution.ray.cluster import Node
from arbitrage.execution.ray.pools import Cluster, Pool, Replica
from arbitrage.execution.readiness import Readiness
from arbitrage.execution.retries import has_suspects
from arbitrage.execution.shard_task import Attempt
from arbitrage.execution.sharing import replica_pools


@dataclass(frozen=True, slots=True)
class Flight:
    """A shard under way, or several of a light step."""

    step: PlannedStep
    attempt: Attempt
    replica: Replica | None  # None for a light task
    node: Node | None = None  # of a light task
    others: tuple[Attempt, ...] = ()  # done by the same light task after the first
    chain: tuple[PlannedStep, ...] = ()  # light steps that the same task does after the first, shard by shard

    @property
    def shards(self) -> list[int]:
        """The shards under way."""
        return [attempt.shard for attempt in (self.attempt, *self.others)]

    @property
    def weight(self) -> int:
        """How much of its replica it takes."""
        return self.step.job.config.shards_in_hand if self.attempt.is_alone else 1


class RunState:
    """The state of a run on Ray, and the changes that several parts of the scheduler make to it.

    Attributes:
        pools: name → pool, once one of its shards was ready.
        flights: reference to the result → shards under way.
        loading: reference to the end of its start → replica.
        deaths: (step, shard) on which an engine died in this run.
        alone: (step, shard) that an earlier run left with suspects.
    """

    def __init__(self, execution: ExecutionPlan, cluster: Cluster, watch: RunMonitor) -> None:
        self.steps, self.cluster, self.watch = execution.steps, cluster, watch
        self.readiness = Readiness(self.steps)
        self._pool_names = replica_pools(self.steps)
        self.given_up = GivenUp(self.steps, self._pool_names)
        self.pools: dict[str, Pool] = {}
        self.flights: dict[Any, Flight] = {}
        self.loading: dict[Any, tuple[Pool, Replica]] = {}
        self.deaths: set[tuple[str, int]] = set()
        self.alone = {
            (s.step.name, k) for s in self.steps if s.held == "actor" for k in s.missing if has_suspects(s.job, k)
        }
        self._session = execution.session
        self._of_pool: dict[str, list[PlannedStep]] = defaultdict(list)
        for step in self.steps:
            self._of_pool[self.pool_name(step)].append(step)

    def is_open(self, step: PlannedStep) -> bool:
        """Whether a step has shards that can be done now."""
        return bool(self.readiness.num_ready(step.step.name)) and not self.given_up.blocks(step.step.name)

    def undone(self) -> list[str]:
        """Return the steps with shards left that can still be done."""
        left = self.readiness.undone.items()
        return sorted(name for name, shards in left if shards and not self.given_up.blocks(name))

    def is_finished(self, pool: str) -> bool:
        """Whether no step of a pool has shards left that can still be done."""
        mine = [s.step.name for s in self._of_pool[pool]]
        return not any(self.readiness.undone[name] for name in mine if not self.given_up.blocks(name))

    def pool_name(self, step: PlannedStep) -> str:
        """Return the name of the pool that does a step."""
        return self._pool_names[step.step.name]

    def pool(self, step: PlannedStep) -> Pool:
        """Return the pool of a step, made for the first one."""
        name = self.pool_name(step)
        if name not in self.pools:
            config, model = step.job.config, step.job.config.loaded()
            self.pools[name] = Pool(
                name,
                step.step.resources,
                config.is_remote,
                config.shards_in_hand,
                model=model.model if model is not None and not config.is_remote else "",
            )
        return self.pools[name]

    def attempt(self, step: PlannedStep, shard: int) -> Attempt:
        """Return the next attempt at a shard."""
        key = step.step.name, shard
        died = key in self.deaths
        return Attempt(shard, self._session, died=died, is_alone=died or key in self.alone)

    def start_replica(self, pool: Pool, step: PlannedStep, is_alone: bool = False) -> Replica:
        """Start a replica, which loads its model at once; there must be room."""
        replica = self.cluster.start(pool, is_alone)
        self.loading[replica.actor.prepare.remote(step.job.shipped, replica.name)] = pool, replica
        self._tell_size(pool)
        self.watch.progress.pool_started(pool.name, len(pool.in_hand), pool.resources.each())
        return replica

    def drop(self, pool: Pool, replica: Replica) -> list[Flight]:
        """Drop a replica, and queue again and return what it had in hand."""
        self.cluster.drop(pool, replica)
        self.forget(replica)
        self._tell_size(pool)
        lost = [ref for ref, flight in self.flights.items() if flight.replica is replica]
        flights = [self.flights.pop(ref) for ref in lost]
        for flight in flights:
            self.requeue(flight)
        return flights

    def _tell_size(self, pool: Pool) -> None:
        for name in {step.job.pool for step in self._of_pool[pool.name]}:
            self.watch.pool_size(name, len(pool.in_hand))

    def forget(self, replica: Replica) -> None:
        """Await neither counters nor the start of a replica any more."""
        self.watch.gone(replica.name)
        self.loading = {ref: place for ref, place in self.loading.items() if place[1] is not replica}

    def requeue(self, flight: Flight) -> None:
        """Make its shards ready again."""
        for shard in flight.shards:
            self.readiness.put_back(flight.step.step.name, shard)

    def give_up(self, pool: Pool, error: ArbitrageError) -> None:
        """Do no more for one teacher; what does not need it goes on."""
        self.given_up.add(pool.name, error)
        for replica in list(pool.in_hand):
            self.drop(pool, replica)
        if self.undone():
            self.watch.progress.note(f"{pool.name} is given up: {error}. What does not need it goes on")

    def under_way(self) -> str:
        """Return a sentence on what is under way and what waits, for an error message."""
        shards: dict[str, list[int]] = defaultdict(list)
        for flight in self.flights.values():
            shards[flight.step.step.name] += flight.shards
        said = [f"{name} (shards {', '.join(map(str, sorted(found)))})" for name, found in sorted(shards.items())]
        for name, pool in sorted(self.pools.items()):
            if not pool.in_hand and not self.is_finished(name):
                said.append(f"{name} waits for room ({pool.resources.each()})")
        return "; ".join(said) or "nothing"
