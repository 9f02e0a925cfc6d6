"""Code that runs on the cluster: an actor that keeps workers across shards, and a task for light steps.

Only shard numbers and counts are sent between processes; rows are read from and written to Parquet by the workers.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from arbitrage.contracts.workers import Load, RequestWorker, ShardWorker
from arbitrage.execution.counters import Counters, LiveCounters
from arbitrage.execution.environment import collect_seldom, make_private_files
from arbitrage.execution.plan import Job
from arbitrage.execution.ray.metrics import Metrics
from arbitrage.execution.shard_task import Attempt, do_corpus, do_shard, is_request_worker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """Live counters of one worker, by step, and the load of its engine."""

    counters: dict[str, Counters]
    load: Load


@dataclass
class _Place:
    """One replica in this actor: a worker for each step or group of steps that its pool does, on one loaded model.

    Attributes:
        pool: the first one's pool, for metrics.
        workers: pool of a job → its worker, or why it could not be built.
    """

    pool: str
    live_counters: LiveCounters = field(default_factory=LiveCounters)
    building: asyncio.Lock = field(default_factory=asyncio.Lock)
    workers: dict[str, ShardWorker | RequestWorker | Exception] = field(default_factory=dict)
    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)

    def load(self) -> Load:
        """Return the load of the engine, which its workers share."""
        loads = [worker.load() for worker in list(self.workers.values()) if is_request_worker(worker)]
        return _sum(loads) if len(loads) != 1 else loads[0]

    async def close(self) -> None:
        """Close the workers; the last one ends the engine."""
        workers = [worker for worker in self.workers.values() if not isinstance(worker, Exception)]
        await asyncio.gather(*(worker.close() for worker in workers), return_exceptions=True)


class Host:
    """An actor with workers: builds one worker for each replica, and runs shards of its pool's jobs.

    An engine has its own actor. Workers that only wait for endpoints share one, because each process takes 210 MB. A
    failure in one does not affect the others.
    """

    def __init__(self) -> None:
        collect_seldom()
        make_private_files()
        self._places: dict[str, _Place] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_draining = False
        self._metrics = Metrics()

    async def do(self, job: Job, attempt: Attempt, replica: str) -> str:
        """Run one shard; return its counts as JSON."""
        place = self._place(job.pool, replica)
        try:
            return await self._with(place, self._do(place, job, attempt))
        finally:
            self._publish(place)  # the driver may kill this actor as soon as it knows that this shard has ended

    async def prepare(self, job: Job, replica: str) -> None:
        """Load the engine before there is work for it.

        Raises:
            ArbitrageError: it cannot be loaded.
        """
        place = self._place(job.pool, replica)
        await self._with(place, self._ready(place, job))

    async def report(self, is_draining: bool) -> dict[str, ReplicaReport]:
        """Return the counters of each replica, and receive the stop flag. In the control group, beside the work."""
        self._is_draining = is_draining
        found = {}
        for replica, place in list(self._places.items()):
            place.live_counters.is_draining = is_draining
            found[replica] = ReplicaReport(place.live_counters.by_step(), self._publish(place))
        return found

    async def leave(self, replica: str) -> None:
        """End one replica and its shards under way; the others continue. In the control group, like `stop`."""
        place = self._places.pop(replica, None)
        if place is not None:
            await self._on_loop(_end(place))
            self._metrics.forget(place.pool)

    async def stop(self) -> None:
        """Release the workers' engines, processes and connections.

        Called in the control group, which has a thread and a loop of its own and so never queues behind a shard;
        a worker is closed on the loop it was built on.
        """
        places = list(self._places.values())
        await self._on_loop(_close_all(places))
        for place in places:
            self._publish(place)

    def _place(self, pool: str, replica: str) -> _Place:
        self._loop = self._loop or asyncio.get_running_loop()
        place = self._places.setdefault(replica, _Place(pool))
        place.live_counters.is_draining = self._is_draining
        return place

    async def _do(self, place: _Place, job: Job, attempt: Attempt) -> str:
        worker = await self._ready(place, job)
        return (await do_shard(job, worker, attempt, place.live_counters)).model_dump_json()

    async def _ready(self, place: _Place, job: Job) -> ShardWorker | RequestWorker:
        async with place.building:
            if job.pool not in place.workers:
                try:
                    place.workers[job.pool] = job.config.build()
                except Exception as error:  # noqa: BLE001  # raised below, and for the next call without loading again
                    place.workers[job.pool] = error
            worker = place.workers[job.pool]
            if isinstance(worker, Exception):
                raise worker
            return worker

    async def _with(self, place: _Place, work: Coroutine[Any, Any, T]) -> T:
        """Do some work of a pool so that `leave` can end it."""
        task = asyncio.ensure_future(work)
        place.tasks.add(task)
        try:
            return await task
        finally:
            place.tasks.discard(task)

    async def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            work.close()
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _publish(self, place: _Place) -> Load:
        load = place.load()
        self._metrics.publish(place.pool, place.live_counters.since_start(), load)
        return load


async def _end(place: _Place) -> None:
    for task in place.tasks:
        task.cancel()
    await asyncio.gather(*place.tasks, return_exceptions=True)
    await asyncio.to_thread(place.live_counters.spent.remove)
    await place.close()


async def _close_all(places: list[_Place]) -> None:
    await asyncio.gather(*(place.close() for place in places), return_exceptions=True)


def _sum(loads: Sequence[Load]) -> Load:
    """Return the load of workers that share an engine."""
    return Load(
        num_in_flight=sum(load.num_in_flight for load in loads),
        num_waiting=sum(load.num_waiting for load in loads),
        num_retries=sum(load.num_retries for load in loads),
        num_refusals=sum(load.num_refusals for load in loads),
        notes=tuple(dict.fromkeys(note for load in loads for note in load.notes)),
        engine=next((load.engine for load in loads if load.engine is not None), None),
    )


def do_light(job: Job, attempts: Sequence[Attempt], *chain: Job) -> list[list[str]]:
    """Run shards of a light job, and the same shards of the light jobs that depend only on it.

    Returns the counts of each shard as JSON, for each finished job in order. If one fails after others are done, the
    finished ones are returned; the rest is sent again, and then the failing one is the first.
    """
    collect_seldom()
    make_private_files()
    if job.scope == "corpus":
        return [[do_corpus(job, job.config.build()).model_dump_json()]]
    return asyncio.run(_build_and_do((job, *chain), attempts))


async def _build_and_do(jobs: Sequence[Job], attempts: Sequence[Attempt]) -> list[list[str]]:
    workers: dict[str, Any] = {}
    done: list[list[str]] = []
    try:
        for attempt in attempts:
            done.append([])
            for job in jobs:
                if job.name not in workers:
                    workers[job.name] = job.config.build()
                stats = await do_shard(job, workers[job.name], attempt, LiveCounters())
                done[-1].append(stats.model_dump_json())
    except Exception:
        if not done[0]:
            raise
    finally:
        for worker in workers.values():
            await worker.close()
    return [stats for stats in done if stats]
