"""Failures on the cluster: replicas that do not start, engines, processes and nodes that die, shards that raise."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from arbitrage.errors import (
    ArbitrageError,
    DrainedError,
    EngineDiedError,
    EngineStartError,
    ExecutionError,
    TeacherError,
)
from arbitrage.execution.ray.cluster import Node
from arbitrage.execution.ray.pools import Pool, Replica
from arbitrage.execution.ray.state import Flight, RunState
from arbitrage.execution.retries import Retries

NODES_EVERY_S = 5.0

PLACED_WITHIN_S = 300.0
"""Time for Ray to reserve a replica's resources: free as far as this run knows, but another job may hold them."""

MAX_FAILED_STARTS = 3
"""Failures of a pool's replicas to start before it is given up, each on a node where none had failed."""


class Failures:
    """Decides what happens after a failure: again, elsewhere, alone, or not at all."""

    def __init__(self, state: RunState, alive: Callable[[], Sequence[Node]]) -> None:
        self._state, self._alive = state, alive
        self._looked_at = time.monotonic()
        self._retries = Retries()
        self._shared_deaths: Counter[tuple[str, int]] = Counter()  # shards under way when a shared actor died

    def loaded(self, ref: Any, pool: Pool, replica: Replica) -> None:
        """A replica has started, or failed to."""
        import ray

        self._state.cluster.loaded(replica)
        try:
            ray.get(ref)
            pool.num_failed_starts = 0
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, EngineStartError):
                self._start_failed(pool, replica, error.cause)
            elif isinstance(error.cause, TeacherError):
                self._state.give_up(pool, error.cause)
            elif isinstance(error.cause, ArbitrageError):
                raise error.cause from error
            else:
                raise  # a bug: its traceback says where
        except ray.exceptions.RayError as error:
            if replica in pool.in_hand and not any(f.replica is replica for f in self._state.flights.values()):
                what = f"{pool.name}: its worker died while it started: {_last_line(error)}"
                self._start_failed(pool, replica, EngineStartError(what), is_death=True)

    def _start_failed(self, pool: Pool, replica: Replica, error: EngineStartError, is_death: bool = False) -> None:
        """Start a replica on another node, or give its pool up. A process that died may be tried where it was."""
        pool.num_failed_starts += 1
        if not is_death:
            pool.avoid.add(replica.node_id)
        if replica in pool.in_hand:
            self._state.drop(pool, replica)
        if pool.in_hand:
            self._state.watch.progress.note(f"{pool.name}: one replica less: {error}")
        elif pool.num_failed_starts < MAX_FAILED_STARTS and self._state.cluster.could_start_elsewhere(pool):
            self._state.watch.progress.note(
                f"{pool.name}: {error}; starting again" + ("" if is_death else " elsewhere")
            )
        else:
            self._state.give_up(pool, error)

    def failed(self, flight: Flight, pool: Pool | None, error: Any) -> None:
        """A shard's worker raised."""
        cause = error.cause
        if isinstance(cause, DrainedError):
            self._state.requeue(flight)
        elif isinstance(cause, EngineStartError) and pool is not None and flight.replica is not None:
            self._state.requeue(flight)
            if flight.replica in pool.in_hand:  # its start has not been told of
                self._start_failed(pool, flight.replica, cause)
        elif isinstance(cause, ArbitrageError) and cause.retryable:
            self.try_again(flight, pool, cause)
        elif isinstance(cause, TeacherError) and pool is not None:
            self._state.requeue(flight)
            self._state.give_up(pool, cause)
        elif isinstance(cause, ArbitrageError):
            raise cause from error
        else:
            raise error  # a bug: its traceback says where

    def try_again(self, flight: Flight, pool: Pool | None, cause: Exception) -> None:
        """Drop the replica the shard died on, and queue again all shards that died with it."""
        victims, is_node_dead = [flight], False
        self._state.requeue(flight)
        is_process = not isinstance(cause, ArbitrageError)
        replica = flight.replica
        if pool is not None and replica is not None:
            self._looked_at = 0.0
            self.look_at_nodes()
            is_node_dead = not self._state.cluster.has_node(replica.node_id)
            for each in self._state.cluster.neighbours(replica) if is_process else [replica]:
                its_pool = self._state.pools[each.pool]
                if each in its_pool.in_hand:
                    victims += self._state.drop(its_pool, each)
        what = "its node died" if is_node_dead else type(cause).__name__
        self._note_restart(flight, what)
        is_shared = is_process and replica is not None and replica.is_shared
        for victim in victims if not is_node_dead else []:
            self._note_failure(victim, cause, is_shared)

    def look_at_nodes(self) -> None:
        """Every few seconds, note which nodes joined or died and which replicas still wait for their resources.

        What was under way on a node that died is queued again.
        """
        if time.monotonic() - self._looked_at < NODES_EVERY_S:
            return
        self._looked_at = time.monotonic()
        state = self._state
        joined, died = state.cluster.nodes.refresh(self._alive())
        if joined or died:
            state.watch.progress.note(f"the cluster changed: {len(joined)} nodes joined, {len(died)} died")
        lost: list[Flight] = []
        for pool in state.pools.values():
            for replica in [replica for replica in pool.in_hand if replica.node_id in died]:
                lost += state.drop(pool, replica)
        # A task sent to a node that was cut off may wait for an answer of that node for ever: Ray does not end it.
        for ref in [ref for ref, each in state.flights.items() if each.node and each.node.node_id in died]:
            lost.append(state.flights.pop(ref))
            state.requeue(lost[-1])
        for flight in lost:
            self._note_restart(flight, "its node died")
        self._look_at_pending()

    def _look_at_pending(self) -> None:
        """Start replicas elsewhere whose resources are held by something that this run knows nothing of."""
        cluster = self._state.cluster
        for pool, replica in list(self._state.loading.values()):
            waited = time.monotonic() - replica.asked_at
            if not cluster.is_placed(replica) and waited > PLACED_WITHIN_S and replica in pool.in_hand:
                node = cluster.nodes.by_id.get(replica.node_id)
                where = f"on node {node.name or node.node_id}" if node else "on its node"
                what = f"{pool.resources.each()} {where} did not become free within {waited:.0f} s"
                error = EngineStartError(f"{pool.name}: {what}; does another job hold them (`ray status`)?")
                self._start_failed(pool, replica, error)

    def _note_restart(self, flight: Flight, what: str) -> None:
        self._state.watch.progress.note(
            f"{flight.step.step.name} shard {flight.attempt.shard}: {what}; starting again"
        )
        self._state.watch.restarted(flight.step.step.name)

    def _note_failure(self, flight: Flight, cause: Exception, is_shared: bool) -> None:
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
            self._state.give_up(self._state.pool(flight.step), error)
            return
        if died:
            self._state.deaths.add(key)


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
