"""The driver's loop on Ray: start what is ready, wait for anything, note what became ready by it.

A pool starts only when one of its shards is ready and gives its resources back as soon as it has nothing ready and
another pool waits for room. So pools cannot wait for each other, and a pool of eight teachers runs on one GPU in
turn or on eight at once with no change of meaning.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arbitrage.contracts.workers import SHARDS_IN_HAND
from arbitrage.errors import ArbitrageError, DrainedError, EngineDiedError, ExecutionError
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.execution.ray_host import do_light
from arbitrage.execution.ray_pools import CONTROL, Cluster, Node, Pool
from arbitrage.execution.retries import Retries, has_suspects
from arbitrage.execution.shard_task import Attempt, still_good
from arbitrage.execution.watch import Watch
from arbitrage.shards.manifest import ShardStats

WAIT_S = 0.5
NODES_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class _Flight:
    """A shard under way."""

    step: PlannedStep
    attempt: Attempt
    actor: Any | None  # None for a light task

    @property
    def weight(self) -> int:
        """How much of its actor it takes."""
        return SHARDS_IN_HAND if self.attempt.is_alone else 1


class Scheduler:
    """Does all missing shards of the steps given, on a cluster that is already there.

    Args:
        execution: what to do.
        cluster: where.
        watch: is told, and says when to stop.
        alive: returns the nodes that are alive now.
    """

    def __init__(
        self, execution: ExecutionPlan, cluster: Cluster, watch: Watch, alive: Callable[[], Sequence[Node]]
    ) -> None:
        self._steps = execution.steps
        self._session = execution.session
        self._cluster, self._watch, self._alive = cluster, watch, alive
        self._waiting = {s.step.name: list(s.missing) for s in self._steps}
        self._undone = {s.step.name: set(s.missing) for s in self._steps}
        self._pools: dict[str, Pool] = {}
        self._flights: dict[Any, _Flight] = {}
        self._reports: dict[Any, Any] = {}  # the answer awaited → actor
        self._looked_again: dict[str, set[int]] = defaultdict(set)  # doubtful shards that were compared
        self._deaths: set[tuple[str, int]] = set()  # shards on which an engine died in this run
        self._alone = {
            (s.step.name, k) for s in self._steps if s.held == "actor" for k in s.missing if has_suspects(s.job, k)
        }
        self._retries = Retries()
        self._looked_at = time.monotonic()

    def run(self) -> None:
        """Return when everything is done.

        Raises:
            PlacementError: a pool can never be placed; said before anything starts.
            DrainedError: it was asked to stop, and what was in flight has been answered.
            StalledError: nothing has moved for too long.
            ArbitrageError: what a step raised.
        """
        for step in self._steps:
            if step.held == "actor" and step.missing:
                self._cluster.require_possible(step.step.name, step.step.resources)
        try:
            self._start_early()
            while any(self._undone.values()):
                if self._watch.stop.is_asked and not self._flights:
                    raise DrainedError("stopped as asked")
                if not self._watch.stop.is_asked:
                    self._start_ready()
                self._listen()
                self._wait()
                self._watch.tick(self._under_way)
        finally:
            self._cluster.release(self._pools.values())
            self._flights.clear()
            self._reports.clear()

    def _start_early(self) -> None:
        """Start one replica of each pool that waits for light steps alone: engines load while prompts are routed."""
        held = {s.step.name for s in self._steps if s.held == "actor" and s.certain}
        behind: set[str] = set()  # steps that wait for an engine
        for step in self._steps:
            if behind.union(held).intersection(step.upstream):
                behind.add(step.step.name)
            elif step.step.name in held and self._cluster.has_room(step.step.resources):
                pool = self._pool(step.job.pool, step)
                if not pool.in_hand:
                    self._start_replica(pool).prepare.remote(step.job)

    def _start_replica(self, pool: Pool) -> Any:
        actor = self._cluster.start(pool)
        self._watch.pool_size(pool.name, len(pool.in_hand))
        self._watch.progress.pool_started(pool.name, len(pool.in_hand), pool.resources.each())
        return actor

    def _start_ready(self) -> None:
        self._keep_doubtful()
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

    def _keep_doubtful(self) -> None:
        """Keep doubtful shards whose inputs came out as they were; steps in order, so that one keeps the next."""
        for step in self._steps:
            doubtful = step.doubtful.intersection(self._waiting[step.step.name]) - self._looked_again[step.step.name]
            for shard in doubtful.intersection(self._ready_shards(step)):
                self._looked_again[step.step.name].add(shard)
                if (stats := still_good(step.job, shard)) is not None:
                    self._waiting[step.step.name].remove(shard)
                    self._undone[step.step.name].discard(shard)
                    self._watch.shard_kept(step, shard, stats)

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
        attempt = self._attempt(step, shard)
        self._take_off(task.remote(step.job, attempt), _Flight(step, attempt, None))

    def _feed(self, pool: Pool, work: list[tuple[PlannedStep, int]]) -> None:
        """Hand ready shards to idle actors, then to new replicas while there is room, then to busy actors."""
        for step, shard in work:
            actor = pool.free_actor(most=1)
            if actor is None and not pool.is_full_size and self._cluster.has_room(pool.resources):
                actor = self._start_replica(pool)
            attempt = self._attempt(step, shard)
            actor = actor or (None if attempt.is_alone else pool.free_actor())
            if actor is not None:
                flight = _Flight(step, attempt, actor)
                pool.in_hand[actor] += flight.weight
                self._take_off(actor.do.remote(step.job, attempt), flight)

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
                for actor in idle:
                    self._watch.gone(str(actor))
                self._cluster.release([pool])
            elif is_crowded:
                for actor in idle:
                    self._drop(pool, actor)

    def _is_finished(self, pool: str) -> bool:
        return not any(self._undone[s.step.name] for s in self._steps if s.job.pool == pool)

    def _pool(self, name: str, step: PlannedStep) -> Pool:
        return self._pools.setdefault(name, Pool(name, step.step.resources))

    def _attempt(self, step: PlannedStep, shard: int) -> Attempt:
        key = step.step.name, shard
        return Attempt(shard, self._session, died=key in self._deaths, is_alone=key in self._deaths | self._alone)

    def _take_off(self, ref: Any, flight: _Flight) -> None:
        self._waiting[flight.step.step.name].remove(flight.attempt.shard)
        self._flights[ref] = flight

    def _listen(self) -> None:
        """Ask every actor at work how it stands, tell it whether to stop, and hear those that have answered."""
        import ray

        at_work = {actor for pool in self._pools.values() for actor in pool.in_hand}
        for actor in at_work.difference(self._reports.values()):
            report = actor.report.options(concurrency_group=CONTROL)
            self._reports[report.remote(self._watch.stop.is_asked)] = actor
        if not self._reports:
            return
        heard, _ = ray.wait(list(self._reports), num_returns=len(self._reports), timeout=0)
        for ref in heard:
            actor = self._reports.pop(ref)
            try:
                report = ray.get(ref)
            except ray.exceptions.RayError:  # it is dead: its shards will say so
                self._watch.gone(str(actor))
            else:
                if actor in at_work:  # not released meanwhile
                    self._watch.heard(str(actor), report.counters, report.load)

    def _wait(self) -> None:
        import ray

        self._look_at_nodes()
        if not self._flights:
            if any(self._ready_shards(s) for s in self._steps if self._waiting[s.step.name]):
                time.sleep(WAIT_S)  # for a node to come, or for resources that others hold
                return
            undone = sorted(name for name, shards in self._undone.items() if shards)
            if not undone:  # doubtful shards were all found good
                return
            raise ExecutionError(f"nothing is under way and nothing can start; unfinished: {', '.join(undone)}")
        done, _ = ray.wait(list(self._flights), num_returns=1, timeout=WAIT_S)
        for ref in done:
            if ref in self._flights:  # not requeued meanwhile with its dead actor
                self._land(ref, self._flights.pop(ref))

    def _look_at_nodes(self) -> None:
        if time.monotonic() - self._looked_at < NODES_EVERY_S:
            return
        self._looked_at = time.monotonic()
        joined, died = self._cluster.refresh(self._alive())
        if joined or died:
            self._watch.progress.note(f"the cluster changed: {len(joined)} nodes joined, {len(died)} died")
        for pool in self._pools.values():
            for actor in [actor for actor, node in pool.places.items() if node in died]:
                self._drop(pool, actor)

    def _drop(self, pool: Pool, actor: Any) -> list[_Flight]:
        """Drop an actor, and queue again and return what it had in hand."""
        self._cluster.drop(pool, actor)
        self._watch.gone(str(actor))
        self._watch.pool_size(pool.name, len(pool.in_hand))
        lost = [ref for ref, flight in self._flights.items() if flight.actor is actor]
        flights = [self._flights.pop(ref) for ref in lost]
        for flight in flights:
            self._requeue(flight)
        return flights

    def _land(self, ref: Any, flight: _Flight) -> None:
        import ray

        name, shard = flight.step.step.name, flight.attempt.shard
        pool = self._pools[flight.step.job.pool] if flight.actor is not None else None
        if pool is not None and flight.actor in pool.in_hand:
            pool.in_hand[flight.actor] -= flight.weight
        try:
            stats = ShardStats.model_validate_json(ray.get(ref))
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, DrainedError):
                self._requeue(flight)
            elif isinstance(cause, ArbitrageError) and cause.retryable:
                self._try_again(flight, pool, cause)
            elif isinstance(cause, ArbitrageError):
                raise cause from error
            else:
                raise  # a bug: its traceback says where
        except ray.exceptions.RayError as error:  # a lost worker, node or object; a node out of memory
            self._try_again(flight, pool, error)
        else:
            self._undone[name].discard(shard)
            self._deaths.discard((name, shard))
            self._watch.shard_done(flight.step, shard, stats)

    def _try_again(self, flight: _Flight, pool: Pool | None, cause: Exception) -> None:
        """Drop the actor the shard died on, and queue again all shards it had in hand."""
        victims, is_node_dead = [flight], False
        self._requeue(flight)
        if pool is not None:
            node = pool.places.get(flight.actor)
            self._looked_at = 0.0
            self._look_at_nodes()
            is_node_dead = node is None or not self._cluster.has_node(node)
            if flight.actor in pool.in_hand:
                victims += self._drop(pool, flight.actor)
        died = not is_node_dead and (isinstance(cause, EngineDiedError) or not isinstance(cause, ArbitrageError))
        what = "its node died" if is_node_dead else type(cause).__name__
        self._watch.progress.note(f"{flight.step.step.name} shard {flight.attempt.shard}: {what}; starting again")
        self._watch.restarted(flight.step.step.name)
        for victim in victims if not is_node_dead else []:
            self._retries.failed(victim.step.job, victim.attempt.shard, cause, died)
            if died:
                self._deaths.add((victim.step.step.name, victim.attempt.shard))

    def _requeue(self, flight: _Flight) -> None:
        name = flight.step.step.name
        self._waiting[name] = sorted([*self._waiting[name], flight.attempt.shard])

    def _under_way(self) -> str:
        shards: dict[str, list[int]] = defaultdict(list)
        for flight in self._flights.values():
            shards[flight.step.step.name].append(flight.attempt.shard)
        said = [f"{name} (shards {', '.join(map(str, sorted(found)))})" for name, found in sorted(shards.items())]
        for name, pool in sorted(self._pools.items()):
            if not pool.in_hand and not self._is_finished(name):
                said.append(f"{name} waits for room ({pool.resources.each()})")
        return "; ".join(said) or "nothing"
