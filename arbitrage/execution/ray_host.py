"""What runs on the cluster: an actor that keeps a worker across shards, and a task for light steps.

Only shard numbers and counts cross the process border; rows go from Parquet to Parquet where the work is done.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from arbitrage.contracts.workers import AnswerWorker, Load, ShardWorker
from arbitrage.errors import ArbitrageError
from arbitrage.execution.garbage import collect_seldom
from arbitrage.execution.meter import Counters, Meter
from arbitrage.execution.plan import Job
from arbitrage.execution.ray_metrics import Metrics
from arbitrage.execution.shard_task import Attempt, do_corpus, do_shard


@dataclass(frozen=True, slots=True)
class HostReport:
    """What an actor tells of itself: what it has under way, by step, and how busy its engine is."""

    counters: dict[str, Counters]
    load: Load


class Host:
    """Lives where its resources are. Builds the pool's worker once and does shards of any of the pool's jobs."""

    def __init__(self, pool: str) -> None:
        collect_seldom()
        self._worker: ShardWorker | AnswerWorker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._building = asyncio.Lock()
        self._meter = Meter()
        self._metrics = Metrics(pool)

    async def do(self, job: Job, attempt: Attempt) -> str:
        """Do one shard; return its counts as JSON."""
        worker = await self._ready(job)
        try:
            return (await do_shard(job, worker, attempt, self._meter)).model_dump_json()
        finally:
            self._publish()  # whoever hears of this shard's end may kill this actor next

    async def prepare(self, job: Job) -> None:
        """Load the engine before there is work for it; what goes wrong is said when there is."""
        with contextlib.suppress(ArbitrageError):
            await self._ready(job)

    async def _ready(self, job: Job) -> ShardWorker | AnswerWorker:
        async with self._building:
            if self._worker is None:
                self._loop = asyncio.get_running_loop()
                self._worker = job.config.build()
            return self._worker

    async def report(self, is_draining: bool) -> HostReport:
        """Tell what is under way, and hear whether to stop. In the control group, beside the work."""
        self._meter.is_draining = is_draining
        return HostReport(self._meter.by_step(), self._publish())

    async def stop(self) -> None:
        """Free the worker's engine, processes and connections.

        Called in the control group, which has a thread and a loop of its own and so never queues behind a shard;
        the worker is closed on the loop it was built on.
        """
        if self._worker is not None and self._loop is not None:
            closing = asyncio.run_coroutine_threadsafe(_close(self._worker), self._loop)
            await asyncio.wrap_future(closing)
        self._publish()

    def _publish(self) -> Load:
        load = self._worker.load() if isinstance(self._worker, AnswerWorker) else Load()
        self._metrics.publish(self._meter.since_start(), load)
        return load


def do_light(job: Job, attempt: Attempt) -> str:
    """Do one shard of a job that holds nothing, with a worker built for it alone; return its counts as JSON."""
    collect_seldom()
    if job.scope == "corpus":
        return do_corpus(job, job.config.build()).model_dump_json()
    return asyncio.run(_build_and_do(job, attempt))


async def _build_and_do(job: Job, attempt: Attempt) -> str:
    worker: Any = job.config.build()
    try:
        return (await do_shard(job, worker, attempt, Meter())).model_dump_json()
    finally:
        await worker.close()


async def _close(worker: ShardWorker | AnswerWorker) -> None:
    await worker.close()
