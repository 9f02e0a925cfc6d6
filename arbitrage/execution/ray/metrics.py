"""Counters for Prometheus, exported by the metrics agent of each Ray node (docs/cluster.md says where to scrape)."""

from collections.abc import Mapping
from dataclasses import asdict
from threading import Lock
from typing import Any

from arbitrage.contracts.workers import Load
from arbitrage.execution.counters import Counters

GAUGES = {
    "num_in_flight": "Requests sent to the engine and not completed yet",
    "num_waiting": "Requests that wait for room at the engine",
    "engine_running": "Requests in the batch of an engine that reports figures, such as vLLM",
    "engine_waiting": "Requests in the queue of such an engine",
    "engine_kv_use": "Share of its key-value cache in use",
}
COUNTERS = {
    "num_answered": "Completions that arrived, including rejects",
    "num_rejected": "Completions that became rejects",
    "num_replayed": "Completions read from a journal instead of being requested again",
    "prompt_tokens": "Tokens of prompts",
    "completion_tokens": "Tokens of answers",
    "num_retries": "Requests sent again after a fault",
    "num_refusals": "Requests that an endpoint refused because it was busy",
    "engine_preemptions": "Requests taken out of an engine's batch for want of cache, and computed again",
    "engine_prefix_queries": "Prompt tokens looked up in an engine's prefix cache",
    "engine_prefix_hits": "Prompt tokens found there",
}


class Metrics:
    """The metrics of one actor, labelled by pool and step; Ray adds node and worker."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Gauge

        tags = ("pool", "step")
        self._gauges = {name: Gauge(f"arbitrage_{name}", text, tags) for name, text in GAUGES.items()}
        self._counters = {name: Counter(f"arbitrage_{name}", text, tags) for name, text in COUNTERS.items()}
        self._published: dict[tuple[str, str, str], int] = {}
        self._publishing = Lock()  # an actor publishes from the thread of its work and from that of its control

    def publish(self, pool: str, counters: Mapping[str, Counters], load: Load) -> None:
        """Publish a pool's counts since the last call."""
        with self._publishing:
            for step, each in counters.items():
                self._publish(pool, step, each.as_dict())
            held = {name: getattr(load, name) for name in ("num_waiting", "num_retries", "num_refusals")}
            figures = {} if load.engine is None else asdict(load.engine)
            of_engine = {f"engine_{name.removeprefix('num_')}": value for name, value in figures.items()}
            self._publish(pool, "", held | of_engine)

    def forget(self, pool: str) -> None:
        """Remove a pool's worker; the next one counts from zero."""
        with self._publishing:
            self._published = {key: value for key, value in self._published.items() if key[0] != pool}

    def _publish(self, pool: str, step: str, values: Mapping[str, Any]) -> None:
        tags = {"pool": pool, "step": step}
        for name, value in values.items():
            if name in self._gauges:
                self._gauges[name].set(value, tags)
            elif name in self._counters:
                grown = value - self._published.get((pool, step, name), 0)
                self._published[pool, step, name] = value
                if grown > 0:
                    self._counters[name].inc(grown, tags)
