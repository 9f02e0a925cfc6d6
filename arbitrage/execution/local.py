"""The local backend: one process, one step after the other; light steps together. For debugging and small runs."""

import asyncio
from collections.abc import Collection, Sequence, Set
from dataclasses import replace
from functools import partial

import uvloop

from arbitrage.contracts.workers import Load, RequestWorker, ShardWorker
from arbitrage.errors import ArbitrageError, DrainedError, EngineDiedError, TeacherError
from arbitrage.execution.counters import LiveCounters
from arbitrage.execution.given_up import GivenUp
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.execution.progress import RunMonitor
from arbitrage.execution.retries import Retries, has_suspects
from arbitrage.execution.shard_task import Attempt, do_corpus, do_shard, is_request_worker, reusable_stats
from arbitrage.execution.source_task import do_source

TICK_S = 0.5


class LocalBackend:
    """Runs every step in this process; an engine is loaded for its first shard and released after its last."""

    name = "local"

    def run(self, execution: ExecutionPlan, watch: RunMonitor) -> None:
        """Do all missing shards."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_LocalRun(execution, watch).run())


class _LocalRun:
    def __init__(self, execution: ExecutionPlan, watch: RunMonitor) -> None:
        self._execution, self._watch = execution, watch
        self._left = {step.step.name: set(step.missing) for step in execution.steps}
        self._workers: dict[str, ShardWorker | RequestWorker] = {}
        self._load_keys: dict[str, str] = {}  # pool → digest of the model that its worker loaded
        self._retries = Retries()
        self._given_up = GivenUp(execution.steps)
        self._live_counters = LiveCounters()
        self._name = "this process"

    async def run(self) -> None:
        chains = _chains([step for step in self._execution.steps if step.missing])
        try:
            for position, chain in enumerate(chains):
                await self._do_chain(chain)
                for step in chain:
                    if not self._given_up.blocks(step.step.name):
                        await self._do_or_give_up(step)
                await self._close_unless(self._needed([step for later in chains[position + 1 :] for step in later]))
            self._given_up.raise_first()
        finally:
            await asyncio.to_thread(self._live_counters.spent.remove)
            await self._close_unless(needed=set())

    def _needed(self, later: Sequence[PlannedStep]) -> set[str]:
        """Return the pools of later steps, and one worker of each model that a later step's worker loads, too.

        Two teachers with adapters of one base share its weights: the second one's worker borrows them from the first.
        """
        needed = {step.job.pool for step in later}
        keys = (
            {key for step in later if (key := step.job.config.load_key()) is not None} if self._load_keys else set()
        )
        for pool in sorted(self._workers.keys() - needed):
            if (key := self._load_keys.get(pool)) in keys:
                needed.add(pool)
                keys.discard(key)
        return needed

    async def _do_chain(self, chain: Sequence[PlannedStep]) -> None:
        """Run light steps shard by shard, each on the previous one's rows in memory.

        If one fails and others may succeed, the rest is done step by step.
        """
        steps = [step for step in chain if not self._given_up.blocks(step.step.name)]
        if len(steps) < 2:
            return
        try:
            for shard in sorted({k for step in steps for k in step.missing}):
                self._watch.stop.require_none()
                for step in steps:
                    if shard in self._left[step.step.name]:
                        await self._do_one(step, self._worker(step), Attempt(shard, self._execution.session))
                self._watch.tick(partial(_under_way, steps, [shard]))
                await asyncio.sleep(0)  # for signals
        except ArbitrageError as error:
            if not error.retryable and not isinstance(error, TeacherError):
                raise

    async def _do_one(self, step: PlannedStep, worker: ShardWorker | RequestWorker, attempt: Attempt) -> None:
        if not self._keep(step, attempt.shard):
            stats = await do_shard(step.job, worker, attempt, self._live_counters)
            self._left[step.step.name].remove(attempt.shard)
            self._watch.shard_done(step, attempt.shard, stats)

    async def _do_or_give_up(self, step: PlannedStep) -> None:
        """Run a step; if its teacher cannot serve, steps that do not need it continue."""
        try:
            await self._do_step(step)
        except TeacherError as error:
            self._given_up.add(step.job.pool, error)
            if any(s.missing and not self._given_up.blocks(s.step.name) for s in self._later(step)):
                self._watch.progress.note(f"{step.job.pool} is given up: {error}. Steps that do not need it continue")

    def _later(self, step: PlannedStep) -> tuple[PlannedStep, ...]:
        steps = self._execution.steps
        return steps[steps.index(step) + 1 :]

    async def _do_step(self, step: PlannedStep) -> None:
        self._watch.stop.require_none()
        job = step.job
        if job.scope == "source":
            stats = do_source(job, job.config.build(), partial(self._watch.rows_read, step))
            for shard, shard_stats in zip(job.shards, stats, strict=True):
                self._watch.shard_done(step, shard, shard_stats)
        elif job.scope == "shard":
            await self._do_shards(step)
        elif not self._keep(step, 0):
            self._watch.shard_done(step, 0, do_corpus(job, job.config.build()))

    def _keep(self, step: PlannedStep, shard: int) -> bool:
        """Keep a doubtful shard if its inputs are unchanged."""
        stats = reusable_stats(step.job, shard) if shard in step.doubtful else None
        if stats is not None:
            self._left[step.step.name].discard(shard)
            self._watch.shard_kept(step, shard, stats)
        return stats is not None

    async def _do_shards(self, step: PlannedStep) -> None:
        """Run all shards; one that holds suspects runs with no other beside it."""
        session = self._execution.session
        shards = [k for k in sorted(self._left[step.step.name]) if not self._keep(step, k)]
        left = {k: Attempt(k, session, is_alone=has_suspects(step.job, k)) for k in shards}
        while left:
            suspects = [attempt for attempt in left.values() if attempt.is_alone]
            in_hand: set[int] = set()
            try:
                await self._try_all(step, suspects[:1] or list(left.values()), left, in_hand)
            except ArbitrageError as error:
                if not error.retryable:
                    raise
                await self._start_again(step, error, left, in_hand)
            if left:
                self._watch.stop.require_none()

    async def _try_all(
        self, step: PlannedStep, attempts: list[Attempt], left: dict[int, Attempt], in_hand: set[int]
    ) -> None:
        """Run shards, a few at a time, with progress reports; the first error cancels the others."""
        worker, waiting = self._worker(step), iter(attempts)

        async def some() -> None:
            for attempt in waiting:
                if self._watch.stop.is_requested:
                    return
                in_hand.add(attempt.shard)
                try:
                    await self._do_one(step, worker, attempt)
                except DrainedError:
                    return
                in_hand.remove(attempt.shard)
                del left[attempt.shard]
                await asyncio.sleep(0)  # for signals, if no worker waits for anything

        tasks = {asyncio.create_task(some()) for _ in attempts[: step.job.config.shards_in_hand]}
        pending = tasks
        try:
            while pending:
                done, pending = await asyncio.wait(pending, timeout=TICK_S, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
                self._report(worker, in_hand, step)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._watch.gone(self._name)

    def _report(self, worker: ShardWorker | RequestWorker, in_hand: set[int], step: PlannedStep) -> None:
        self._live_counters.is_draining = self._watch.stop.is_requested
        load = worker.load() if is_request_worker(worker) else Load()
        self._watch.counters_received(self._name, self._live_counters.by_step(), load)
        self._watch.tick(partial(_under_way, [step], in_hand))

    async def _start_again(
        self, step: PlannedStep, error: ArbitrageError, left: dict[int, Attempt], in_hand: set[int]
    ) -> None:
        died = isinstance(error, EngineDiedError)
        for shard in sorted(in_hand & left.keys()):
            self._retries.failed(step.job, shard, error, died)
            left[shard] = replace(left[shard], died=died, is_alone=died)
        self._watch.progress.note(f"{step.step.name}: {error}; starting its worker again")
        self._watch.restarted(step.step.name)
        await self._close_unless(needed=self._workers.keys() - {step.job.pool})

    def _worker(self, step: PlannedStep) -> ShardWorker | RequestWorker:
        if step.job.pool not in self._workers:
            with self._watch.stop.at_once():
                self._workers[step.job.pool] = step.job.config.build()
                if (key := step.job.config.load_key()) is not None:
                    self._load_keys[step.job.pool] = key
            self._watch.pool_size(step.job.pool, 1)
            if step.held == "actor":
                self._watch.progress.pool_started(step.job.pool, 1, "this process")
        return self._workers[step.job.pool]

    async def _close_unless(self, needed: Set[str]) -> None:
        """Close the other workers: all of them, even if one fails to close."""
        failures = []
        for pool in sorted(self._workers.keys() - needed):
            try:
                await self._workers.pop(pool).close()
            except Exception as error:  # noqa: BLE001  # raised below, when the others are closed
                failures.append(error)
        if failures:
            raise failures[0]


def _chains(steps: Sequence[PlannedStep]) -> list[list[PlannedStep]]:
    """Return the steps in order, with consecutive light steps grouped: groups run shard by shard."""
    chains: list[list[PlannedStep]] = []
    for step in steps:
        if chains and _is_link(step) and _is_link(chains[-1][-1]):
            chains[-1].append(step)
        else:
            chains.append([step])
    return chains


def _is_link(step: PlannedStep) -> bool:
    return step.job.scope == "shard" and step.held == "task"


def _under_way(steps: Sequence[PlannedStep], shards: Collection[int]) -> str:
    return f"{', '.join(step.step.name for step in steps)}, shards {', '.join(map(str, sorted(shards)))}"
