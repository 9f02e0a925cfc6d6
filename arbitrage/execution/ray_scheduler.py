"""The driver's loop on Ray: start what is ready, wait for anything, note what became ready by it.

A pool starts only when one of its shards is ready and gives its resources back as soon as it has nothing ready and
another pool waits for room. So pools cannot wait for each other, and a pool of eight teachers runs on one GPU in
turn or on eight at once with no change of meaning.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from arbitrage.errors import ArbitrageError, ExecutionError
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.execution.progress import Progress
from arbitrage.execution.ray_host import do_light
from arbitrage.execution.ray_pools import Cluster, Pool
from arbitrage.shards.manifest import ShardStats

MAX_ATTEMPTS = 3
"""Times a shard is started before a dying worker ends the run."""

WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class _Flight:
    """A shard under way."""

    step: PlannedStep
    shard: int
    actor: Any | None  # None for a light task


class Scheduler:
    """Does all missing shards of the steps given, on a cluster that is already there."""

    def __init__(self, execution: ExecutionPlan, cluster: Cluster, progress: Progress) -> None:
        self._steps = execution.steps
        self._cluster, self._progress = cluster, progress
        self._waiting = {s.step.name: list(s.missing) for s in self._steps}
        self._undone = {s.step.name: set(s.missing) for s in self._steps}
        self._pools: dict[str, Pool] = {}
        self._flights: dict[Any, _Flight] = {}
        self._attempts: Counter[tuple[str, int]] = Counter()

    def run(self) -> None:
        """Return when everything is done.

        Raises:
            PlacementError: a pool can never be placed; said before anything starts.
            ArbitrageError: what a step raised.
        """
        for step in self._steps:
            if step.held == "actor" and step.missing:
                self._cluster.require_possible(step.step.name, step.step.resources)
        try:
            while any(self._undone.values()):
                self._start_ready()
                self._wait()
        finally:
            self._cluster.release(self._pools.values())

    def _start_ready(self) -> None:
        ready = {s.step.name: self._ready_shards(s) for s in self._steps if self._waiting[s.step.name]}
        by_pool: dict[str, list[tuple[PlannedStep, int]]] = defaultdict(list)
        for step in self._steps:
            for shard in ready.get(step.step.name, ()):
                if step.held == "task":
                    self._start_light(step, shard)
                else:
                    by_pool[step.job.pool].append((step, shard))
        self._release_idle(by_pool)
        for name, work in by_pool.items():
            self._feed(self._pool(name, work[0][0]), work)

    def _ready_shards(self, step: PlannedStep) -> list[int]:
        if step.step.scope == "corpus":
            return [0] if not any(self._undone[u] for u in step.upstream) else []
        return [k for k in self._waiting[step.step.name] if self._inputs_done(step, k)]

    def _inputs_done(self, step: PlannedStep, shard: int) -> bool:
        for upstream in step.step.upstream:
            undone = self._undone[upstream.name]
            if shard in undone or (upstream.scope == "corpus" and undone):
                return False
        return True

    def _start_light(self, step: PlannedStep, shard: int) -> None:
        import ray

        light = sum(flight.actor is None for flight in self._flights.values())
        if light >= max(2, self._cluster.num_cpus):
            return
        task = ray.remote(do_light).options(num_cpus=0, max_retries=0)
        self._take_off(task.remote(step.job, shard), _Flight(step, shard, None))

    def _feed(self, pool: Pool, work: list[tuple[PlannedStep, int]]) -> None:
        """Hand ready shards to idle actors, then to new replicas while there is room, then to busy actors."""
        for step, shard in work:
            actor = pool.free_actor(most=1)
            if actor is None and not pool.is_full_size and self._cluster.has_room(pool.resources):
                self._cluster.start(pool)
                self._progress.pool_started(pool.name, len(pool.in_hand), pool.resources.each())
                actor = pool.free_actor(most=1)
            actor = actor or pool.free_actor()
            if actor is None:
                return
            pool.in_hand[actor] += 1
            self._take_off(actor.do.remote(step.job, shard), _Flight(step, shard, actor))

    def _release_idle(self, by_pool: dict[str, list[tuple[PlannedStep, int]]]) -> None:
        """Release pools that are done, and idle replicas without work while another pool waits for room."""
        starved = [
            work[0][0].step.resources
            for name, work in by_pool.items()
            if not (name in self._pools and self._pools[name].in_hand)
        ]
        is_crowded = any(not self._cluster.has_room(wanted) for wanted in starved)
        for name, pool in self._pools.items():
            if not pool.in_hand or name in by_pool:
                continue
            idle = pool.idle_actors()
            if len(idle) == len(pool.in_hand) and (is_crowded or self._is_finished(name)):
                self._cluster.release([pool])
            elif is_crowded:
                for actor in idle:
                    self._cluster.drop(pool, actor)

    def _is_finished(self, pool: str) -> bool:
        return not any(self._undone[s.step.name] for s in self._steps if s.job.pool == pool)

    def _pool(self, name: str, step: PlannedStep) -> Pool:
        return self._pools.setdefault(name, Pool(name, step.step.resources))

    def _take_off(self, ref: Any, flight: _Flight) -> None:
        self._waiting[flight.step.step.name].remove(flight.shard)
        self._attempts[flight.step.step.name, flight.shard] += 1
        self._flights[ref] = flight

    def _wait(self) -> None:
        import ray

        if not self._flights:
            undone = sorted(name for name, shards in self._undone.items() if shards)
            raise ExecutionError(f"nothing is under way and nothing can start; unfinished: {', '.join(undone)}")
        done, _ = ray.wait(list(self._flights), num_returns=1, timeout=WAIT_S)
        for ref in done:
            if ref in self._flights:  # not requeued meanwhile with its dead actor
                self._land(ref, self._flights.pop(ref))

    def _land(self, ref: Any, flight: _Flight) -> None:
        import ray

        pool = self._pools[flight.step.job.pool] if flight.actor is not None else None
        if pool is not None and flight.actor in pool.in_hand:
            pool.in_hand[flight.actor] -= 1
        try:
            stats = ShardStats.model_validate_json(ray.get(ref))
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if not isinstance(cause, ArbitrageError):
                raise  # a bug: its traceback says where
            if not cause.retryable:
                raise cause from error
            self._try_again(flight, pool, cause)
        except ray.exceptions.RayError as error:  # a lost worker, node or object; a node out of memory
            self._try_again(flight, pool, error)
        else:
            self._undone[flight.step.step.name].discard(flight.shard)
            self._progress.shard_done(flight.step, flight.shard, stats)

    def _try_again(self, flight: _Flight, pool: Pool | None, cause: Exception) -> None:
        """Drop the actor the shard died on and queue its shards again."""
        name, shard = flight.step.step.name, flight.shard
        if self._attempts[name, shard] >= MAX_ATTEMPTS:
            if isinstance(cause, ArbitrageError):
                raise cause
            raise ExecutionError(f"{name} shard {shard}: its worker died {MAX_ATTEMPTS} times: {cause}") from cause
        self._progress.note(f"{name} shard {shard}: {type(cause).__name__}; starting its worker again")
        self._requeue(flight)
        if pool is not None and flight.actor in pool.in_hand:
            self._cluster.drop(pool, flight.actor)
            for ref, other in list(self._flights.items()):
                if other.actor is flight.actor:
                    del self._flights[ref]
                    self._requeue(other)

    def _requeue(self, flight: _Flight) -> None:
        self._waiting[flight.step.step.name] = sorted([*self._waiting[flight.step.step.name], flight.shard])
