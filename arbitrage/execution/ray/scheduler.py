"""The driver's loop on Ray: start what is ready, wait for anything, note what became ready by it.

A pool starts only when one of its shards is ready and gives its resources back as soon as it has nothing ready and
another pool waits for room. So pools cannot wait for each other, and a pool of eight teachers runs on one GPU in
turn or on eight at once with no change of meaning.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arbitrage.errors import (
    ArbitrageError,
    DrainedError,
    EngineDiedError,
    EngineStartError,
    ExecutionError,
    TeacherError,
)
from arbitrage.execution.given_up import GivenUp
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.execution.progress import RunMonitor
from arbitrage.execution.ray.cluster import Node
from arbitrage.execution.ray.host import ReplicaReport, do_light
from arbitrage.execution.ray.pools import CONTROL, Cluster, Pool, Replica
from arbitrage.execution.readiness import Readiness
from arbitrage.execution.retries import Retries, has_suspects
from arbitrage.execution.shard_task import Attempt, reusable_stats
from arbitrage.runs.manifest import ShardStats

WAIT_S = 0.5
LISTEN_EVERY_S = 0.25
MAX_SHARDS_OF_A_TASK = 32
NODES_EVERY_S = 5.0

MAX_FAILED_STARTS = 3
"""Failures of a pool's replicas to start before it is given up, each on a node where none had failed."""

MAX_ALONE = 2
"""Actors that a shard of a shared pool may have to itself, because its prompts may have killed a shared one."""


@dataclass(frozen=True, slots=True)
class _Flight:
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


class Scheduler:
    """Does all missing shards of the steps given, on a cluster that is already there.

    Args:
        execution: what to do.
        cluster: where.
        watch: is told, and says when to stop.
        alive: returns the nodes that are alive now.
    """

    def __init__(
        self, execution: ExecutionPlan, cluster: Cluster, watch: RunMonitor, alive: Callable[[], Sequence[Node]]
    ) -> None:
        self._steps = execution.steps
        self._session = execution.session
        self._cluster, self._watch, self._alive = cluster, watch, alive
        self._readiness = Readiness(self._steps)
        self._by_name = {s.step.name: s for s in self._steps}
        self._of_pool: dict[str, list[PlannedStep]] = defaultdict(list)
        for step in self._steps:
            self._of_pool[step.job.pool].append(step)
        self._followers = {step.step.name: _followers(step, self._steps) for step in self._steps}
        self._pools: dict[str, Pool] = {}
        self._flights: dict[Any, _Flight] = {}
        self._loading: dict[Any, tuple[Pool, Replica]] = {}  # the end of its start → a replica
        self._reports: dict[Any, Any] = {}  # the answer awaited → actor
        self._polled_at = 0.0  # when actors were last polled for their counters
        self._deaths: set[tuple[str, int]] = set()  # shards on which an engine died in this run
        self._shared_deaths: Counter[tuple[str, int]] = Counter()  # and those under way when a shared actor did
        self._alone = {
            (s.step.name, k) for s in self._steps if s.held == "actor" for k in s.missing if has_suspects(s.job, k)
        }
        self._retries = Retries()
        self._given_up = GivenUp(self._steps)
        self._light: Any = None
        self._jobs: dict[str, Any] = {}  # step → its job, in the object store
        self._looked_at = time.monotonic()

    def run(self) -> None:
        """Return when everything is done.

        Raises:
            PlacementError: a pool can never be placed; said before anything starts.
            DrainedError: a stop was requested, and what was in flight has completed.
            StalledError: nothing has moved for too long.
            ArbitrageError: what a step raised; where only one teacher's failed, when the others are done.
        """
        for step in self._steps:
            if step.held == "actor" and step.missing:
                self._cluster.nodes.require_possible(step.step.name, step.step.resources)
        try:
            self._start_early()
            while any(undone for name, undone in self._readiness.undone.items() if not self._given_up.blocks(name)):
                self._turn()
            self._given_up.raise_first()
        finally:
            self._cluster.release(self._pools.values())
            self._flights.clear()
            self._loading.clear()
            self._reports.clear()

    def _turn(self) -> None:
        if self._watch.stop.is_requested:
            for pool, replica in list(self._loading.values()):  # a model may load for minutes: nothing is in flight
                self._drop(pool, replica)
            if not self._flights:
                raise DrainedError("stopped on request")
        else:
            self._start_ready()
        self._listen()
        self._wait()
        self._watch.tick(self._under_way)

    def _start_early(self) -> None:
        """Start one replica of each pool that waits for light steps alone: engines load while prompts are routed."""
        held = {s.step.name for s in self._steps if s.held == "actor" and s.certain}
        behind: set[str] = set()  # steps that wait for an engine
        for step in self._steps:
            if behind.union(held).intersection(step.upstream):
                behind.add(step.step.name)
            elif step.step.name in held:
                pool = self._pool(step.job.pool, step)
                if not pool.in_hand and self._cluster.has_room(pool):
                    self._start_replica(pool, step)

    def _start_replica(self, pool: Pool, step: PlannedStep, is_alone: bool = False) -> Replica:
        replica = self._cluster.start(pool, is_alone)
        self._loading[replica.actor.prepare.remote(step.job.shipped, replica.name)] = pool, replica
        self._watch.pool_size(pool.name, len(pool.in_hand))
        self._watch.progress.pool_started(pool.name, len(pool.in_hand), pool.resources.each())
        return replica

    def _start_ready(self) -> None:
        self._keep_doubtful()
        ready: dict[str, list[PlannedStep]] = defaultdict(list)  # pool → its steps that have ready shards
        for step in self._steps:
            if not self._is_open(step):
                continue
            if step.held == "task":
                self._start_light(step)
            else:
                ready[step.job.pool].append(step)
        self._release_idle(ready)
        for name, steps in ready.items():
            self._feed(self._pool(name, steps[0]), steps)

    def _keep_doubtful(self) -> None:
        """Keep doubtful shards whose inputs came out as they were, as soon as these are there: one keeps the next."""
        while self._readiness.fresh:
            fresh, self._readiness.fresh = self._readiness.fresh, []
            for name, shard in fresh:
                step = self._by_name[name]
                is_doubtful = shard in step.doubtful and shard in self._readiness.undone[name]
                if is_doubtful and (stats := reusable_stats(step.job, shard)) is not None:
                    self._readiness.done(name, shard)
                    self._watch.shard_kept(step, shard, stats)

    def _is_open(self, step: PlannedStep) -> bool:
        """Whether a step has shards that can be done now."""
        return bool(self._readiness.num_ready(step.step.name)) and not self._given_up.blocks(step.step.name)

    def _start_light(self, step: PlannedStep) -> None:
        """Start light tasks while there is room; where many shards wait, several in one: each has its price."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        name = step.step.name
        nodes = self._cluster.nodes
        while (num_ready := self._readiness.num_ready(name)) and (node := nodes.light_node()) is not None:
            there = NodeAffinitySchedulingStrategy(node.node_id, soft=True)
            at_once = max(1, min(MAX_SHARDS_OF_A_TASK, num_ready // (4 * nodes.num_light_places)))
            taken = [self._readiness.take(name) for _ in range(at_once)]
            attempts = [self._attempt(step, shard) for shard in taken if shard is not None]
            node.num_light += 1
            task = self._light_task().options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            chain = self._chain_after(step, [attempt.shard for attempt in attempts])
            ref = task.remote(self._shipped(step), attempts, *map(self._shipped, chain))
            self._flights[ref] = _Flight(step, attempts[0], None, node, tuple(attempts[1:]), chain)

    def _chain_after(self, step: PlannedStep, shards: Sequence[int]) -> tuple[PlannedStep, ...]:
        """Return the light steps of which these shards wait for nothing else: a task for each would cost more."""
        chain: list[PlannedStep] = []
        names = {step.step.name}
        for later in self._followers[step.step.name]:
            name = later.step.name
            is_open = not self._given_up.blocks(name) and later.doubtful.isdisjoint(shards)
            if is_open and all(self._readiness.waits_only_for(name, k, names) for k in shards):
                chain.append(later)
                names.add(name)
        return tuple(chain)

    def _light_task(self) -> Any:
        """Return the remote function, made once: each one made is exported to the cluster."""
        import ray

        if self._light is None:
            self._light = ray.remote(do_light)
        return self._light

    def _shipped(self, step: PlannedStep) -> Any:
        """Return a reference to a step's job in the object store: it may be larger than all it is sent along with."""
        import ray

        if step.step.name not in self._jobs:
            self._jobs[step.step.name] = ray.put(step.job.shipped)
        return self._jobs[step.step.name]

    def _feed(self, pool: Pool, steps: list[PlannedStep]) -> None:
        """Hand ready shards to idle replicas, then to new ones while there is room, then to busy ones."""
        for step in steps:
            name = step.step.name
            special = [k for step_name, k in self._deaths | self._alone if step_name == name]
            for shard in sorted(k for k in special if self._readiness.is_ready(name, k)):
                self._hand_out(pool, step, self._readiness.take(name, shard))
            while self._hand_out(pool, step, self._readiness.take(name)):
                pass

    def _hand_out(self, pool: Pool, step: PlannedStep, shard: int | None) -> bool:
        """Hand a shard that was taken to a replica; where none has room, put it back and return False."""
        if shard is None:
            return False
        attempt = self._attempt(step, shard)
        replica = self._replica_for(pool, step, attempt)
        if replica is None:
            self._readiness.put_back(step.step.name, shard)
            return False
        flight = _Flight(step, attempt, replica)
        pool.in_hand[replica] += flight.weight
        self._flights[replica.actor.do.remote(step.job.shipped, attempt, replica.name)] = flight
        return True

    def _replica_for(self, pool: Pool, step: PlannedStep, attempt: Attempt) -> Replica | None:
        if attempt.died and pool.is_shared:
            return self._actor_alone(pool, step)
        replica = pool.free_replica(most=1)
        if replica is None and not pool.is_full_size and self._cluster.has_room(pool):
            replica = self._start_replica(pool, step)
        return replica or (None if attempt.is_alone else pool.free_replica())

    def _actor_alone(self, pool: Pool, step: PlannedStep) -> Replica | None:
        """Start an actor for one shard of a shared pool: a crash then fails only this shard."""
        alone = sum(1 for each in self._pools.values() for r in each.in_hand if each.is_shared and not r.is_shared)
        return self._start_replica(pool, step, is_alone=True) if alone < MAX_ALONE else None

    def _release_idle(self, ready: dict[str, list[PlannedStep]]) -> None:
        """Release pools that are done, and idle replicas without work while another pool waits for room."""
        starved = [
            self._pool(name, steps[0])
            for name, steps in ready.items()
            if not (name in self._pools and self._pools[name].in_hand)
        ]
        is_crowded = any(not self._cluster.has_room(pool) for pool in starved)
        for name, pool in self._pools.items():
            if not pool.in_hand or name in ready:
                continue
            idle = pool.idle_replicas()
            if len(idle) == len(pool.in_hand) and (is_crowded or self._is_finished(name)):
                for replica in idle:
                    self._forget(replica)
                self._cluster.release([pool])
            elif is_crowded:
                for replica in idle:
                    self._drop(pool, replica)

    def _is_finished(self, pool: str) -> bool:
        mine = [s.step.name for s in self._of_pool[pool]]
        return not any(self._readiness.undone[name] for name in mine if not self._given_up.blocks(name))

    def _pool(self, name: str, step: PlannedStep) -> Pool:
        config = step.job.config
        return self._pools.setdefault(name, Pool(name, step.step.resources, config.is_remote, config.shards_in_hand))

    def _attempt(self, step: PlannedStep, shard: int) -> Attempt:
        key = step.step.name, shard
        return Attempt(shard, self._session, died=key in self._deaths, is_alone=key in self._deaths | self._alone)

    def _listen(self) -> None:
        """Ask every actor at work for its counters, tell it whether to stop, and note the answers that have come."""
        import ray

        if time.monotonic() - self._polled_at < LISTEN_EVERY_S:
            return
        self._polled_at = time.monotonic()
        at_work: dict[Any, list[Replica]] = defaultdict(list)
        for pool in self._pools.values():
            for replica in pool.in_hand:
                at_work[replica.actor].append(replica)
        for actor in at_work.keys() - set(self._reports.values()):
            report = actor.report.options(concurrency_group=CONTROL)
            self._reports[report.remote(self._watch.stop.is_requested)] = actor
        if not self._reports:
            return
        heard, _ = ray.wait(list(self._reports), num_returns=len(self._reports), timeout=0)
        for ref in heard:
            actor = self._reports.pop(ref)
            try:
                self._hear(ray.get(ref), at_work.get(actor, []))
            except ray.exceptions.RayError:  # it is dead: its shards will say so
                for replica in at_work.get(actor, []):
                    self._watch.gone(replica.name)

    def _hear(self, reports: dict[str, ReplicaReport], replicas: list[Replica]) -> None:
        for replica in replicas:  # those released meanwhile are not among them
            if (report := reports.get(replica.name)) is not None:
                self._watch.counters_received(replica.name, report.counters, report.load)

    def _wait(self) -> None:
        import ray

        self._look_at_nodes()
        if not self._flights and not self._loading:
            if any(self._is_open(step) for step in self._steps):
                time.sleep(WAIT_S)  # for a node to come, or for resources that others hold
                return
            undone = sorted(name for name, shards in self._readiness.undone.items() if shards)
            if not undone:  # doubtful shards were all found good
                return
            raise ExecutionError(f"nothing is under way and nothing can start; unfinished: {', '.join(undone)}")
        under_way = [*self._flights, *self._loading]
        done, _ = ray.wait(under_way, num_returns=1, timeout=WAIT_S)
        if done:  # and all others that have ended: one turn for all of them
            done, _ = ray.wait(under_way, num_returns=len(under_way), timeout=0)
        for ref in done:
            if ref in self._flights:  # not requeued meanwhile with its dead actor
                self._land(ref, self._flights.pop(ref))
            elif ref in self._loading:
                self._loaded(ref, *self._loading.pop(ref))

    def _loaded(self, ref: Any, pool: Pool, replica: Replica) -> None:
        import ray

        self._cluster.loaded(replica)
        try:
            ray.get(ref)
            pool.num_failed_starts = 0
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, EngineStartError):
                self._start_failed(pool, replica, error.cause)
            elif isinstance(error.cause, TeacherError):
                self._give_up(pool, error.cause)
            elif isinstance(error.cause, ArbitrageError):
                raise error.cause from error
            else:
                raise  # a bug: its traceback says where
        except ray.exceptions.RayError as error:
            if replica in pool.in_hand and not any(f.replica is replica for f in self._flights.values()):
                what = f"{pool.name}: its worker died while it started: {_last_line(error)}"
                self._start_failed(pool, replica, EngineStartError(what), is_death=True)

    def _start_failed(self, pool: Pool, replica: Replica, error: EngineStartError, is_death: bool = False) -> None:
        """Start a replica on another node, or give its pool up. A process that died may be tried where it was."""
        pool.num_failed_starts += 1
        if not is_death:
            pool.avoid.add(replica.node_id)
        if replica in pool.in_hand:
            self._drop(pool, replica)
        if pool.in_hand:
            self._watch.progress.note(f"{pool.name}: one replica less: {error}")
        elif pool.num_failed_starts < MAX_FAILED_STARTS and self._cluster.could_start_elsewhere(pool):
            self._watch.progress.note(f"{pool.name}: {error}; starting again" + ("" if is_death else " elsewhere"))
        else:
            self._give_up(pool, error)

    def _give_up(self, pool: Pool, error: ArbitrageError) -> None:
        """Do no more for one teacher; what does not need it goes on."""
        self._given_up.add(pool.name, error)
        for replica in list(pool.in_hand):
            self._drop(pool, replica)
        if any(shards for name, shards in self._readiness.undone.items() if not self._given_up.blocks(name)):
            self._watch.progress.note(f"{pool.name} is given up: {error}. What does not need it goes on")

    def _look_at_nodes(self) -> None:
        if time.monotonic() - self._looked_at < NODES_EVERY_S:
            return
        self._looked_at = time.monotonic()
        joined, died = self._cluster.nodes.refresh(self._alive())
        if joined or died:
            self._watch.progress.note(f"the cluster changed: {len(joined)} nodes joined, {len(died)} died")
        lost: list[_Flight] = []
        for pool in self._pools.values():
            for replica in [replica for replica in pool.in_hand if replica.node_id in died]:
                lost += self._drop(pool, replica)
        # A task sent to a node that was cut off may wait for an answer of that node for ever: Ray does not end it.
        for ref in [ref for ref, each in self._flights.items() if each.node and each.node.node_id in died]:
            lost.append(self._flights.pop(ref))
            self._requeue(lost[-1])
        for flight in lost:
            self._note_restart(flight, "its node died")

    def _drop(self, pool: Pool, replica: Replica) -> list[_Flight]:
        """Drop a replica, and queue again and return what it had in hand."""
        self._cluster.drop(pool, replica)
        self._forget(replica)
        self._watch.pool_size(pool.name, len(pool.in_hand))
        lost = [ref for ref, flight in self._flights.items() if flight.replica is replica]
        flights = [self._flights.pop(ref) for ref in lost]
        for flight in flights:
            self._requeue(flight)
        return flights

    def _forget(self, replica: Replica) -> None:
        self._watch.gone(replica.name)
        self._loading = {ref: place for ref, place in self._loading.items() if place[1] is not replica}

    def _land(self, ref: Any, flight: _Flight) -> None:
        import ray

        pool = self._pools[flight.step.job.pool] if flight.replica is not None else None
        replica = flight.replica
        if pool is not None and replica is not None and replica in pool.in_hand:
            pool.in_hand[replica] -= flight.weight
        if flight.node is not None:
            flight.node.num_light -= 1
        try:
            results = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            self._failed(flight, pool, error)
        except ray.exceptions.RayError as error:  # a lost worker, node or object; a node out of memory
            self._try_again(flight, pool, error)
        else:
            self._done(flight, [[results]] if isinstance(results, str) else results)
        if pool is not None and replica is not None:
            self._end_if_alone(pool, replica)

    def _done(self, flight: _Flight, results: list[list[str]]) -> None:
        """Note the shards that a flight has done; those it has not come again."""
        attempts = (flight.attempt, *flight.others)
        for attempt, counts in zip(attempts, results, strict=False):
            for step, text in zip((flight.step, *flight.chain), counts, strict=False):
                self._readiness.done(step.step.name, attempt.shard)
                self._deaths.discard((step.step.name, attempt.shard))
                self._watch.shard_done(step, attempt.shard, ShardStats.model_validate_json(text))
        for attempt in attempts[len(results) :]:
            self._readiness.put_back(flight.step.step.name, attempt.shard)

    def _end_if_alone(self, pool: Pool, replica: Replica) -> None:
        """End an actor that was started for one shard of a shared pool."""
        if replica in pool.in_hand and pool.is_shared and not replica.is_shared:
            self._drop(pool, replica)

    def _failed(self, flight: _Flight, pool: Pool | None, error: Any) -> None:
        """A shard's worker raised."""
        cause = error.cause
        if isinstance(cause, DrainedError):
            self._requeue(flight)
        elif isinstance(cause, EngineStartError) and pool is not None and flight.replica is not None:
            self._requeue(flight)
            if flight.replica in pool.in_hand:  # its start has not been told of
                self._start_failed(pool, flight.replica, cause)
        elif isinstance(cause, ArbitrageError) and cause.retryable:
            self._try_again(flight, pool, cause)
        elif isinstance(cause, TeacherError) and pool is not None:
            self._requeue(flight)
            self._give_up(pool, cause)
        elif isinstance(cause, ArbitrageError):
            raise cause from error
        else:
            raise error  # a bug: its traceback says where

    def _try_again(self, flight: _Flight, pool: Pool | None, cause: Exception) -> None:
        """Drop the replica the shard died on, and queue again all shards that died with it."""
        victims, is_node_dead = [flight], False
        self._requeue(flight)
        is_process = not isinstance(cause, ArbitrageError)
        replica = flight.replica
        if pool is not None and replica is not None:
            self._looked_at = 0.0
            self._look_at_nodes()
            is_node_dead = not self._cluster.has_node(replica.node_id)
            for each in self._cluster.neighbours(replica) if is_process else [replica]:
                its_pool = self._pools[each.pool]
                if each in its_pool.in_hand:
                    victims += self._drop(its_pool, each)
        what = "its node died" if is_node_dead else type(cause).__name__
        self._note_restart(flight, what)
        is_shared = is_process and replica is not None and replica.is_shared
        for victim in victims if not is_node_dead else []:
            self._note_failure(victim, cause, is_shared)

    def _note_restart(self, flight: _Flight, what: str) -> None:
        self._watch.progress.note(f"{flight.step.step.name} shard {flight.attempt.shard}: {what}; starting again")
        self._watch.restarted(flight.step.step.name)

    def _note_failure(self, flight: _Flight, cause: Exception, is_shared: bool) -> None:
        """Note that a shard failed, and whether its prompts may be to blame.

        Of a shared actor's death they are not suspected the first time: most of what was under way had no part in it.
        """
        key = flight.step.step.name, flight.attempt.shard
        died = isinstance(cause, EngineDiedError) or not isinstance(cause, ArbitrageError)
        if is_shared:
            self._shared_deaths[key] += 1
            died = self._shared_deaths[key] > 1
        try:
            self._retries.failed(flight.step.job, flight.attempt.shard, cause, died)
        except (TeacherError, ExecutionError) as error:
            if flight.replica is None:
                raise
            self._give_up(self._pools[flight.step.job.pool], error)
            return
        if died:
            self._deaths.add(key)

    def _requeue(self, flight: _Flight) -> None:
        for shard in flight.shards:
            self._readiness.put_back(flight.step.step.name, shard)

    def _under_way(self) -> str:
        shards: dict[str, list[int]] = defaultdict(list)
        for flight in self._flights.values():
            shards[flight.step.step.name] += flight.shards
        said = [f"{name} (shards {', '.join(map(str, sorted(found)))})" for name, found in sorted(shards.items())]
        for name, pool in sorted(self._pools.items()):
            if not pool.in_hand and not self._is_finished(name):
                said.append(f"{name} waits for room ({pool.resources.each()})")
        return "; ".join(said) or "nothing"


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


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
