"""The local backend: one process, one step after the other. For debugging and small work."""

import asyncio
from functools import partial

from arbitrage.contracts import SHARDS_IN_HAND, ShardWorker
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.execution.progress import Progress
from arbitrage.execution.shard_task import do_corpus, do_shard
from arbitrage.execution.source_task import do_source


class LocalBackend:
    """Runs every step in this process; an engine is loaded when its first shard needs it, freed after its last."""

    name = "local"

    def run(self, execution: ExecutionPlan, progress: Progress) -> None:
        """Do all missing shards."""
        asyncio.run(_LocalRun(execution, progress).run())


class _LocalRun:
    def __init__(self, execution: ExecutionPlan, progress: Progress) -> None:
        self._execution, self._progress = execution, progress
        self._workers: dict[str, ShardWorker] = {}

    async def run(self) -> None:
        todo = [step for step in self._execution.steps if step.missing]
        try:
            for position, step in enumerate(todo):
                await self._do_step(step)
                await self._close_unless(needed={later.job.pool for later in todo[position + 1 :]})
        finally:
            await self._close_unless(needed=set())

    async def _do_step(self, step: PlannedStep) -> None:
        job = step.job
        if job.scope == "source":
            stats = do_source(job, job.config.build(), partial(self._progress.rows_read, step))
            for shard, shard_stats in zip(job.shards, stats, strict=True):
                self._progress.shard_done(step, shard, shard_stats)
        elif job.scope == "corpus":
            self._progress.shard_done(step, 0, do_corpus(job, job.config.build()))
        else:
            await self._do_shards(step)

    async def _do_shards(self, step: PlannedStep) -> None:
        slots = asyncio.Semaphore(SHARDS_IN_HAND)
        worker = self._worker(step)

        async def one(shard: int) -> None:
            async with slots:
                stats = await do_shard(step.job, worker, shard)
            self._progress.shard_done(step, shard, stats)

        try:
            async with asyncio.TaskGroup() as group:
                for shard in step.missing:
                    group.create_task(one(shard))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    def _worker(self, step: PlannedStep) -> ShardWorker:
        if step.job.pool not in self._workers:
            self._workers[step.job.pool] = step.job.config.build()
            if step.held == "actor":
                self._progress.pool_started(step.job.pool, 1, "this process")
        return self._workers[step.job.pool]

    async def _close_unless(self, needed: set[str]) -> None:
        for pool in sorted(self._workers.keys() - needed):
            await self._workers.pop(pool).close()
