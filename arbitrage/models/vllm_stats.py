"""Figures of a vLLM engine in this process, collected by a stat logger (vllm/v1/metrics/loggers.py)."""

from collections.abc import Callable
from typing import Any

from arbitrage.contracts.workers import EngineStats


class VllmStats:
    """The latest figures of one `AsyncLLM`, summed over its data-parallel ranks."""

    def __init__(self) -> None:
        self._now: dict[int, tuple[int, int, float]] = {}  # rank → running, waiting, share of the cache in use
        self._num_preemptions = self._num_queries = self._num_hits = 0

    def record(self, rank: int, scheduler: Any | None, iteration: Any | None) -> None:
        """Note one step of the engine.

        Args:
            rank: number of the engine core.
            scheduler: vLLM's `SchedulerStats`.
            iteration: vLLM's `IterationStats`.
        """
        if scheduler is not None:
            self._now[rank] = scheduler.num_running_reqs, scheduler.num_waiting_reqs, scheduler.kv_cache_usage
            self._num_queries += scheduler.prefix_cache_stats.queries
            self._num_hits += scheduler.prefix_cache_stats.hits
        if iteration is not None:
            self._num_preemptions += iteration.num_preempted_reqs

    def stats(self) -> EngineStats:
        """Return the figures. Called from another thread."""
        now = list(self._now.values())
        return EngineStats(
            num_running=sum(running for running, _, _ in now),
            num_waiting=sum(waiting for _, waiting, _ in now),
            kv_use=max((use for _, _, use in now), default=0.0),
            num_preemptions=self._num_preemptions,
            num_prefix_queries=self._num_queries,
            num_prefix_hits=self._num_hits,
        )

    def logger(self) -> Callable[[Any, int], Any]:
        """Return a factory for `AsyncLLM`'s `stat_loggers`."""
        from vllm.v1.metrics.loggers import StatLoggerBase

        record = self.record

        class Recorder(StatLoggerBase):  # type: ignore[misc]
            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
                self._rank = engine_index

            def record(
                self,
                scheduler_stats: Any | None,
                iteration_stats: Any | None,
                mm_cache_stats: Any | None = None,
                engine_idx: int = 0,
            ) -> None:
                record(self._rank, scheduler_stats, iteration_stats)

            def log_engine_initialized(self) -> None:
                return

        return Recorder
