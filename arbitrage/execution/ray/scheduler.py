"""The driver's loop on Ray: start what is ready, wait for anything, note what became ready by it.

A pool starts only when one of its shards is ready and gives its resources back as soon as it has nothing ready and
another pool waits for room. So pools cannot wait for each other, and a pool of eight teachers runs on one GPU in
turn or on eight at once with no change of meaning. What a turn costs depends on what has changed, not on the number
of shards (`benchmarks/scheduler_turn.py`).
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from arbitrage.errors import DrainedError, ExecutionError
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.execution.progress import RunMonitor
from arbitrage.execution.ray.cluster import Node
from arbitrage.execution.ray.demand import Demand
from arbitrage.execution.ray.failures import Failures
from arbitrage.execution.ray.feeding import Feeder
from arbitrage.execution.ray.light import LightTasks
from arbitrage.execution.ray.listening import Listener
from arbitrage.execution.ray.pools import Cluster, Pool, Replica
from arbitrage.execution.ray.state import Flight, RunState
from arbitrage.execution.shard_task import reusable_stats
from arbitrage.runs.manifest import ShardStats

WAIT_S = 0.5


class Scheduler:
    """Does all missing shards of the steps given, on a cluster that is already there.

    Args:
        execution: what to do.
        cluster: where.
        watch: is told, and says when to stop.
        alive: returns the nodes that are alive now.
        demand: what the autoscaler is asked for.
    """

    def __init__(
        self,
        execution: ExecutionPlan,
        cluster: Cluster,
        watch: RunMonitor,
        alive: Callable[[], Sequence[Node]],
        demand: Demand,
    ) -> None:
        self._demand = demand
        self._state = RunState(execution, cluster, watch)
        self._feeder = Feeder(self._state)
        self._light = LightTasks(self._state)
        self._listener = Listener(self._state)
        self._failures = Failures(self._state, alive)
        self._by_name = {s.step.name: s for s in self._state.steps}

    def run(self) -> None:
        """Return when everything is done.

        Raises:
            PlacementError: a pool can never be placed; said before anything starts.
            DrainedError: a stop was requested, and what was in flight has completed.
            StalledError: nothing has moved for too long.
            ArbitrageError: what a step raised; where only one teacher's failed, when the others are done.
        """
        state = self._state
        for step in state.steps:
            if step.held == "actor" and step.missing:
                state.cluster.nodes.require_possible(step.step.name, step.step.resources)
        try:
            self._feeder.start_early()
            while state.undone():
                self._turn()
            state.given_up.raise_first()
        finally:
            state.cluster.release(state.pools.values())
            state.flights.clear()
            state.loading.clear()
            self._listener.forget_all()

    def _turn(self) -> None:
        state = self._state
        if state.watch.stop.is_requested:
            for pool, replica in list(state.loading.values()):  # a model may load for minutes: nothing is in flight
                state.drop(pool, replica)
            if not state.flights:
                raise DrainedError("stopped on request")
        else:
            self._start_ready()
            self._demand.ask(self._feeder.wanted)
        self._listener.listen()
        self._wait()
        state.watch.tick(state.under_way)

    def _start_ready(self) -> None:
        self._keep_doubtful()
        light: list[PlannedStep] = []
        ready: dict[str, list[PlannedStep]] = defaultdict(list)  # pool → its steps that have ready shards
        for step in self._state.steps:
            if self._state.is_open(step):
                (light if step.held == "task" else ready[self._state.pool_name(step)]).append(step)
        self._light.start(light)
        self._feeder.feed(ready)

    def _keep_doubtful(self) -> None:
        """Keep doubtful shards whose inputs came out as they were, as soon as these are there: one keeps the next."""
        readiness = self._state.readiness
        while readiness.fresh:
            fresh, readiness.fresh = readiness.fresh, []
            for name, shard in fresh:
                step = self._by_name[name]
                is_doubtful = shard in step.doubtful and shard in readiness.undone[name]
                if is_doubtful and (stats := reusable_stats(step.job, shard)) is not None:
                    readiness.done(name, shard)
                    self._state.watch.shard_kept(step, shard, stats)

    def _wait(self) -> None:
        import ray

        state = self._state
        self._failures.look_at_nodes()
        if not state.flights and not state.loading:
            if any(state.is_open(step) for step in state.steps):
                time.sleep(WAIT_S)  # for a node to come, or for resources that others hold
                return
            undone = state.undone()
            if not undone:  # doubtful shards were all found good, or the rest was given up
                return
            raise ExecutionError(f"nothing is under way and nothing can start; unfinished: {', '.join(undone)}")
        under_way = [*state.flights, *state.loading]
        done, _ = ray.wait(under_way, num_returns=1, timeout=WAIT_S)
        if done:  # and all others that have ended: one turn for all of them
            done, _ = ray.wait(under_way, num_returns=len(under_way), timeout=0)
        for ref in done:
            if ref in state.flights:  # not requeued meanwhile with its dead actor
                self._land(ref, state.flights.pop(ref))
            elif ref in state.loading:
                self._failures.loaded(ref, *state.loading.pop(ref))

    def _land(self, ref: Any, flight: Flight) -> None:
        import ray

        pool = self._state.pool(flight.step) if flight.replica is not None else None
        replica = flight.replica
        if pool is not None and replica is not None and replica in pool.in_hand:
            pool.in_hand[replica] -= flight.weight
        if flight.node is not None:
            flight.node.num_light -= 1
        try:
            results = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            self._failures.failed(flight, pool, error)
        except ray.exceptions.RayError as error:  # a lost worker, node or object; a node out of memory
            self._failures.try_again(flight, pool, error)
        else:
            self._done(flight, [[results]] if isinstance(results, str) else results)
        if pool is not None and replica is not None:
            self._end_if_alone(pool, replica)

    def _done(self, flight: Flight, results: list[list[str]]) -> None:
        """Note the shards that a flight has done; those it has not come again."""
        attempts = (flight.attempt, *flight.others)
        for attempt, counts in zip(attempts, results, strict=False):
            for step, text in zip((flight.step, *flight.chain), counts, strict=False):
                self._state.readiness.done(step.step.name, attempt.shard)
                self._state.deaths.discard((step.step.name, attempt.shard))
                self._state.watch.shard_done(step, attempt.shard, ShardStats.model_validate_json(text))
        for attempt in attempts[len(results) :]:
            self._state.readiness.put_back(flight.step.step.name, attempt.shard)

    def _end_if_alone(self, pool: Pool, replica: Replica) -> None:
        """End an actor that was started for one shard of a shared pool."""
        if replica in pool.in_hand and pool.is_shared and not replica.is_shared:
            self._state.drop(pool, replica)
