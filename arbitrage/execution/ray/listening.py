"""Live counters of the actors at work: asked for a few times a second, and answered beside their work."""

import time
from collections import defaultdict
from typing import Any

from arbitrage.execution.ray.host import ReplicaReport
from arbitrage.execution.ray.pools import CONTROL, Replica
from arbitrage.execution.ray.state import RunState

LISTEN_EVERY_S = 0.25


class Listener:
    """Asks actors for their counters."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._reports: dict[Any, Any] = {}  # the answer awaited → actor
        self._polled_at = 0.0

    def forget_all(self) -> None:
        """Await no answers any more."""
        self._reports.clear()

    def listen(self) -> None:
        """Ask every actor at work for its counters, tell it whether to stop, and note the answers that have come."""
        import ray

        if time.monotonic() - self._polled_at < LISTEN_EVERY_S:
            return
        self._polled_at = time.monotonic()
        at_work: dict[Any, list[Replica]] = defaultdict(list)
        for pool in self._state.pools.values():
            for replica in pool.in_hand:
                at_work[replica.actor].append(replica)
        for actor in at_work.keys() - set(self._reports.values()):
            report = actor.report.options(concurrency_group=CONTROL)
            self._reports[report.remote(self._state.watch.stop.is_requested)] = actor
        if not self._reports:
            return
        heard, _ = ray.wait(list(self._reports), num_returns=len(self._reports), timeout=0)
        for ref in heard:
            actor = self._reports.pop(ref)
            try:
                self._hear(ray.get(ref), at_work.get(actor, []))
            except ray.exceptions.RayError:  # it is dead: its shards will say so
                for replica in at_work.get(actor, []):
                    self._state.watch.gone(replica.name)

    def _hear(self, reports: dict[str, ReplicaReport], replicas: list[Replica]) -> None:
        for replica in replicas:  # those released meanwhile are not among them
            if (report := reports.get(replica.name)) is not None:
                self._state.watch.counters_received(replica.name, report.counters, report.load)
