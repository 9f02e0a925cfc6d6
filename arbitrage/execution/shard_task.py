"""Run one shard of a job: read its inputs, run the worker, check the accounting, commit."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard, TypeVar, cast

import pyarrow as pa

from arbitrage.contracts.workers import (
    CorpusWorker,
    Inputs,
    Item,
    Output,
    RequestShard,
    RequestWorker,
    ShardWorker,
    Usage,
)
from arbitrage.errors import ConservationError, DataError, OvertakenError, StorageError
from arbitrage.execution.counters import LiveCounters
from arbitrage.execution.item_task import settle
from arbitrage.execution.lock import require_session
from arbitrage.execution.plan import Feed, Job
from arbitrage.records import Reject, Score
from arbitrage.runs.crash import crash_point
from arbitrage.runs.footer import footer
from arbitrage.runs.journal import Journal, item_id_of
from arbitrage.runs.layout import rejects_path, shard_path
from arbitrage.runs.lineage import Lineage, commit_stats, content_digest, read_stats
from arbitrage.runs.manifest import Account, FileMark, ShardStats
from arbitrage.runs.paths import AnyPath, size_of
from arbitrage.runs.store import (
    bytes_digest,
    commit_bytes,
    parquet_bytes,
    publish_staged,
    remove,
    staged_bytes,
)
from arbitrage.runs.verified import read_shard, remember
from arbitrage.tables import empty_table, from_table, require_schema

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """Facts about an attempt at a shard.

    Attributes:
        shard: its number.
        session: the token of the run; a run that took over the directory has another.
        died: whether the last attempt ended with the death of its engine.
        is_alone: whether no other shard is on its worker, because one of its items may crash it.
    """

    shard: int
    session: str = ""
    died: bool = False
    is_alone: bool = False


async def do_shard(
    job: Job, worker: ShardWorker | RequestWorker, attempt: Attempt, live_counters: LiveCounters
) -> ShardStats:
    """Run one shard of a shard-scoped job and commit it; results in its journal are not requested again.

    Raises:
        ConservationError: the worker lost, duplicated or invented an item.
        DamagedFileError: an input shard is damaged.
        StorageError: the disk refused.
        RunDirectoryError: another run has taken over the directory.
        OvertakenError: another attempt has taken over the shard.
        DrainedError: the run is stopping.
    """
    started = time.perf_counter()
    shard, lineage = attempt.shard, Lineage()
    if not is_request_worker(worker):
        pure, read = cast(ShardWorker, worker), partial(read_inputs, job, shard, lineage)
        inputs = read() if job.is_light else await _in_thread(read)
        items_in, output = pure.items(inputs), await pure.run(inputs)
        return _finish(job, attempt, items_in, output, lineage, _Effort(started))
    requesting = worker
    made_from = job.lineage(shard, lineage)
    journal = Journal(job.directory, shard, job.record, made_from)
    try:
        begun = await _in_thread(lambda: _begin(job, attempt, requesting, journal, made_from, lineage))
        if isinstance(begun, ShardStats):
            stats = begun
        else:
            with live_counters.counting(job.name, shard) as counters:
                output = await settle(job, begun, journal, counters, live_counters)
                effort = _Effort(started, counters.num_replayed, journal.num_damaged)
                stats = await _in_thread(lambda: _end(job, attempt, begun.items, output, lineage, effort, journal))
    except (OvertakenError, StorageError):
        await _in_thread(journal.close)
        there = await _in_thread(lambda: _published(job, shard, made_from))
        if there is None:
            raise
        stats = there
    except BaseException:
        await _in_thread(journal.close)
        raise
    if live_counters.spent.add(job.directory, shard, stats.size_bytes):
        await _in_thread(live_counters.spent.remove)
    crash_point("journal.removed")  # or is about to be
    return stats


def is_request_worker(worker: object) -> TypeGuard[RequestWorker]:
    """Whether a worker processes shards item by item."""
    kind = type(worker)
    if kind not in _is_request_worker:
        _is_request_worker[kind] = issubclass(kind, RequestWorker)  # looks for each of its methods: 50 µs
    return _is_request_worker[kind]


_is_request_worker: dict[type, bool] = {}


def reusable_stats(job: Job, shard: int) -> ShardStats | None:
    """Return the counts of a shard that exists, is intact by its sizes, and was made from its current inputs."""
    return _published(job, shard, job.lineage(shard, Lineage()))


@dataclass(frozen=True, slots=True)
class _Effort:
    """Effort of an attempt: nothing that the rows depend on."""

    started: float
    num_replayed: int = 0
    num_damaged_lines: int = 0


def _begin(
    job: Job,
    attempt: Attempt,
    worker: RequestWorker,
    journal: Journal,
    made_from: Mapping[str, str],
    lineage: Lineage,
) -> RequestShard | ShardStats:
    """Read the shard and open its journal; if another attempt has finished the shard, return its counts.

    The worker of such an attempt died before it could report, or was declared dead.
    """
    if (there := _published(job, attempt.shard, made_from)) is not None:
        return there
    requests = worker.begin(read_inputs(job, attempt.shard, lineage))
    require_session(job.directory.parent, attempt.session)
    journal.open(attempt.died)
    if _published(job, attempt.shard, made_from) is not None:
        raise OvertakenError(f"{job.name} shard {attempt.shard}: another attempt has published it")
    _take_over_rows(job, attempt.shard, journal, made_from)
    return requests


def _take_over_rows(job: Job, shard: int, journal: Journal, made_from: Mapping[str, str]) -> None:
    """Journal the rows of a shard of which only the rejects are lost: only those items are requested again."""
    stats = read_stats(job.directory, shard)
    if stats is None or stats.made_from != made_from or not shard_path(job.directory, shard).exists():
        return
    try:
        rows = from_table(read_shard(job.directory, shard, stats=stats), job.record)
    except DataError:
        return  # damaged as well: everything is made again
    for row in rows:
        if (item_id := item_id_of(row)) not in journal.settled:
            journal.settle(item_id, row)


def _published(job: Job, shard: int, made_from: Mapping[str, str]) -> ShardStats | None:
    path, rejects = shard_path(job.directory, shard), rejects_path(job.directory, shard)
    stats = read_stats(job.directory, shard) if path.exists() else None
    if stats is None or stats.made_from != made_from or size_of(path) != stats.size_bytes:
        return None
    return stats if stats.rejects is None or size_of(rejects) == stats.rejects.size_bytes else None


async def _in_thread(work: Callable[[], T]) -> T:
    """Run slow work outside the event loop, which feeds the engine meanwhile; finish it even if cancelled."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _end(
    job: Job,
    attempt: Attempt,
    items_in: Sequence[Item],
    output: Output,
    lineage: Lineage,
    effort: _Effort,
    journal: Journal,
) -> ShardStats:
    """Commit a shard with a durable journal: the shard itself need not be durable."""
    journal.close()
    return _finish(job, attempt, items_in, output, lineage, effort, journal)


def _finish(
    job: Job,
    attempt: Attempt,
    items_in: Sequence[Item],
    output: Output,
    lineage: Lineage,
    effort: _Effort,
    journal: Journal | None = None,
) -> ShardStats:
    accounts = balance(job, items_in, output)
    stats = _stats(len(items_in), output, accounts, effort)
    require_session(job.directory.parent, attempt.session)
    if journal is not None:
        journal.require_newest()
    return commit(job, attempt.shard, output, stats, lineage)


def do_corpus(job: Job, worker: CorpusWorker) -> ShardStats:
    """Run a corpus-scoped job over all shards and commit its one table."""
    started = time.perf_counter()
    lineage = Lineage()
    output = worker.run(read_inputs(job, shard, lineage) for shard in job.shards)
    stats = _stats(output.table.num_rows, output, (), _Effort(started))
    return commit(job, 0, output, stats, lineage)


def read_inputs(job: Job, shard: int, lineage: Lineage) -> Inputs:
    """Read shard k of each input: of a corpus step its one table; empty if an input does not have shard k."""
    return Inputs({role: tuple(_read(feed, shard, lineage) for feed in feeds) for role, feeds in job.feeds.items()})


def commit(job: Job, shard: int, output: Output, stats: ShardStats, lineage: Lineage) -> ShardStats:
    """Write rejects and counts, then the shard itself: its file marks completion. Return the counts.

    None of them needs to be durable before the run ends, or before the shard's journal is removed: if the machine
    crashes before, sizes or digests show it, and the shard is made again. An fsync takes longer than a shard of a
    hundred rows.
    """
    require_schema(output.table.schema, job.record)
    require_schema(output.rejects.schema, Reject)
    path = shard_path(job.directory, shard)
    table, made_from = output.table.combine_chunks(), job.lineage(shard, lineage)
    mark = _commit_rejects(rejects_path(job.directory, shard), with_step(output.rejects, job.name))
    stats = stats.model_copy(
        update={"content": content_digest(table), "rejects": mark, "made_from": made_from, "size_bytes": 0}
    )
    data = parquet_bytes(table, footer(stats))
    stats = stats.model_copy(update={"size_bytes": data.size, "digest": bytes_digest(data)})
    with staged_bytes(path, data) as beside:
        crash_point("shard.staged")
        remove(path)  # an older one must not be found with the new counts
        commit_stats(job.directory, shard, stats)
        crash_point("stats.committed")
        publish_staged(beside, path, data, is_durable=False)
        crash_point("shard.published")
    remember(path, stats.digest, table)
    return stats


def with_step(rejects: pa.Table, name: str) -> pa.Table:
    """Return rejects with the name of their step, which workers do not know."""
    index = rejects.schema.get_field_index("step")
    names = pa.repeat(pa.scalar(name, pa.string()), rejects.num_rows)
    return rejects.set_column(index, rejects.schema.field(index), names)


def _commit_rejects(path: AnyPath, rejects: pa.Table) -> FileMark | None:
    if not rejects.num_rows:
        remove(path)
        return None
    data = parquet_bytes(rejects)
    commit_bytes(path, data, is_durable=False)
    return FileMark(size_bytes=data.size, digest=bytes_digest(data))


def balance(job: Job, items_in: Sequence[Item], output: Output) -> tuple[Account, ...]:
    """Check that every item came out exactly once, as rows or as a Reject, and count by language and teacher.

    Raises:
        ConservationError: names the step and the first offending item.
    """
    _require_unique_rows(job, output.table)
    done = set(_column(output.table, job.record.item_key))
    rejected = dict(_reject_reasons(output.rejects))
    items = {item.item_id: item for item in items_in}
    problems = {
        "is listed twice in the input": _doubled(item.item_id for item in items_in),
        "is rejected twice": _doubled(_column(output.rejects, "item_id")),
        "is unexpected in the output": (done | rejected.keys()) - items.keys(),
        "is both in the output and rejected": done & rejected.keys(),
        "vanished": items.keys() - done - rejected.keys(),
    }
    for problem, ids in problems.items():
        if ids:
            raise ConservationError(f"step {job.name}: item {min(ids)} {problem} ({len(ids)} such items)")
    return _accounts(items_in, rejected)


def _require_unique_rows(job: Job, table: pa.Table) -> None:
    """No row may occur twice, and every item must have the same number of scores."""
    key = job.record.row_key
    rows = Counter(zip(*(_column(table, name) for name in key), strict=True))
    if twice := sorted(row for row, count in rows.items() if count > 1):
        raise ConservationError(f"step {job.name}: the row {dict(zip(key, twice[0], strict=True))} occurs twice")
    if job.record is Score:
        num_scores = Counter(_column(table, job.record.item_key))
        if len(set(num_scores.values())) > 1:
            fewest = min(num_scores, key=lambda item: (num_scores[item], item))
            raise ConservationError(f"step {job.name}: item {fewest} has fewer scores than others")


def _accounts(items_in: Sequence[Item], rejected: dict[str, str]) -> tuple[Account, ...]:
    counts: dict[tuple[str, str | None], Counter[str | None]] = defaultdict(Counter)
    for item in items_in:
        counts[item.language, item.teacher][rejected.get(item.item_id)] += 1
    accounts = []
    for (language, teacher), reasons in sorted(counts.items(), key=lambda entry: (entry[0][0], entry[0][1] or "")):
        lost = {reason: n for reason, n in sorted(reasons.items(), key=str) if reason is not None}
        num_in = sum(reasons.values())
        accounts.append(
            Account(language=language, teacher=teacher, num_in=num_in, num_out=reasons[None], rejected=lost)
        )
    return tuple(accounts)


def _stats(num_in: int, output: Output, accounts: tuple[Account, ...], effort: _Effort) -> ShardStats:
    usage: Usage = output.usage
    return ShardStats(
        num_in=num_in,
        num_rows=output.table.num_rows,
        accounts=accounts,
        seconds=round(time.perf_counter() - effort.started, 6),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=usage.cost_usd,
        num_replayed=effort.num_replayed,
        num_damaged_lines=effort.num_damaged_lines,
    )


def _read(feed: Feed, shard: int, lineage: Lineage) -> pa.Table:
    read = feed.reads(shard)
    if read is None:
        return empty_table(feed.record)
    return read_shard(feed.directory, read, stats=lineage.stats(feed.directory, read))


def _column(table: pa.Table, name: str) -> list[str]:
    values: list[str] = table.column(name).to_pylist()
    return values


def _reject_reasons(rejects: pa.Table) -> Iterator[tuple[str, str]]:
    yield from zip(_column(rejects, "item_id"), _column(rejects, "reason"), strict=True)


def _doubled(ids: "Iterator[str] | Sequence[str]") -> set[str]:
    return {item_id for item_id, count in Counter(ids).items() if count > 1}
