"""Speed and load of engines: for `arbitrage status` while a run lasts, for the report afterwards."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from arbitrage.contracts.workers import EngineStats
from arbitrage.execution.pace import Pace
from arbitrage.runs.manifest import EngineReport


@dataclass(slots=True)
class _Seen:
    """What the replicas of one pool have reported."""

    latest: dict[str, EngineStats] = field(default_factory=dict)  # worker → its latest figures
    peak_kv_use: float = 0.0
    peak_running: int = 0
    peak_waiting: int = 0


class EngineFigures:
    """Collects the figures of engines that report any, by pool.

    Args:
        pools: step → pool.
    """

    def __init__(self, pools: Mapping[str, str]) -> None:
        self._pools = pools
        self._seen: dict[str, _Seen] = {}

    def received(self, worker: str, steps: Iterable[str], stats: EngineStats | None) -> None:
        """Note a report of the worker of some steps."""
        if stats is None:
            return
        for pool in sorted({self._pools[step] for step in steps if step in self._pools}):
            seen = self._seen.setdefault(pool, _Seen())
            seen.latest[worker] = stats
            seen.peak_kv_use = max(seen.peak_kv_use, stats.kv_use)
            seen.peak_running = max(seen.peak_running, sum(each.num_running for each in seen.latest.values()))
            seen.peak_waiting = max(seen.peak_waiting, sum(each.num_waiting for each in seen.latest.values()))

    def live(self, step: str, workers: Iterable[str]) -> dict[str, Any]:
        """Return the present figures of a step's engines, by the names of `LiveStep`; empty if none reports any.

        Args:
            step: the step.
            workers: the workers that are at it now.
        """
        seen = self._seen.get(self._pools.get(step, ""))
        if seen is None:
            return {}
        now = [seen.latest[worker] for worker in workers if worker in seen.latest]
        return {
            "num_running": sum(each.num_running for each in now),
            "num_queued": sum(each.num_waiting for each in now),
            "kv_use": max((each.kv_use for each in now), default=0.0),
            "num_preemptions": sum(each.num_preemptions for each in seen.latest.values()),
            "prefix_hits": _hits(seen.latest.values()),
        }

    def reports(self, paces: Mapping[str, Pace]) -> dict[str, EngineReport]:
        """Return the figures of each step that has generated tokens."""
        found = {}
        for step, pace in sorted(paces.items()):
            if pace.tokens_done and pace.seconds > 0:
                found[step] = EngineReport(
                    seconds=round(pace.seconds, 3),
                    tokens_per_s=round(pace.tokens_done / pace.seconds, 1),
                    **self._totals(self._pools[step]),
                )
        return found

    def _totals(self, pool: str) -> dict[str, Any]:
        seen = self._seen.get(pool)
        if seen is None:
            return {}
        return {
            "peak_kv_use": round(seen.peak_kv_use, 3),
            "peak_running": seen.peak_running,
            "peak_waiting": seen.peak_waiting,
            "num_preemptions": sum(each.num_preemptions for each in seen.latest.values()),
            "prefix_hits": _hits(seen.latest.values()),
        }


def _hits(stats: Iterable[EngineStats]) -> float | None:
    """Return the share of prompt tokens that were in the prefix cache; None if none was looked up."""
    found = list(stats)
    looked_up = sum(each.num_prefix_queries for each in found)
    return round(sum(each.num_prefix_hits for each in found) / looked_up, 3) if looked_up else None
