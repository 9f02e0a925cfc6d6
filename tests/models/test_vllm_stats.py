"""Figures of a vLLM engine, from the classes of the installed release."""

import pytest

from arbitrage.contracts.workers import EngineStats
from arbitrage.models.vllm_start import set_environment
from arbitrage.models.vllm_stats import VllmStats

set_environment()
stats = pytest.importorskip("vllm.v1.metrics.stats")

pytestmark = pytest.mark.long  # vLLM's import takes seconds


def test_figures_come_from_vllms_own_stats() -> None:
    found = VllmStats()
    logger = found.logger()(None, 0)
    logger.log_engine_initialized()
    assert found.stats() == EngineStats()
    prefix = stats.PrefixCacheStats(requests=2, queries=100, hits=25)
    step = stats.SchedulerStats(num_running_reqs=3, num_waiting_reqs=2, kv_cache_usage=0.5, prefix_cache_stats=prefix)
    iteration = stats.IterationStats()
    iteration.num_preempted_reqs = 1
    logger.record(step, iteration)
    logger.record(stats.SchedulerStats(num_running_reqs=1, prefix_cache_stats=prefix), None)
    logger.record(None, iteration)
    assert found.stats() == EngineStats(
        num_running=1, kv_use=0.0, num_preemptions=2, num_prefix_queries=200, num_prefix_hits=50
    )


def test_data_parallel_ranks_are_added_up() -> None:
    found = VllmStats()
    for rank, use in enumerate((0.25, 0.75)):
        logger = found.logger()(None, rank)
        logger.record(stats.SchedulerStats(num_running_reqs=4, num_waiting_reqs=1, kv_cache_usage=use), None)
    assert found.stats() == EngineStats(num_running=8, num_waiting=2, kv_use=0.75)
