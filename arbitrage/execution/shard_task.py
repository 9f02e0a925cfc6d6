"""Do one job's shard: read its inputs, run the worker (dear answers by way of a journal), check the law, commit."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from arbitrage.contracts.workers import AnswerWorker, CorpusWorker, Inputs, Item, Output, ShardWorker, Usage
from arbitrage.errors import ConservationError, OvertakenError, StorageError
from arbitrage.execution.answer_task import settle
from arbitrage.execution.claim import require_session
from arbitrage.execution.meter import Meter
from arbitrage.execution.plan import Feed, Job
from arbitrage.records import Reject, Score
from arbitrage.shards.crash import crash_point
from arbitrage.shards.journal import Journal, remove_journal
from arbitrage.shards.layout import rejects_path, shard_path, stats_path
from arbitrage.shards.lineage import Lineage, read_stats
from arbitrage.shards.manifest import Account, ShardStats
from arbitrage.shards.store import commit_json, commit_table, file_digest, publish, read_table, remove, staged_table
from arbitrage.tables import empty_table, require_schema

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a worker must know of an attempt at a shard.

    Attributes:
        shard: its number.
        session: the token of the run that asked; a run that took over the directory has another.
        died: whether the last attempt ended with the death of its engine.
        is_alone: whether it has its worker to itself, because one of its items may kill it.
    """

    shard: int
    session: str = ""
    died: bool = False
    is_alone: bool = False


async def do_shard(job: Job, worker: ShardWorker | AnswerWorker, attempt: Attempt, meter: Meter) -> ShardStats:
    """Run one shard of a shard-scoped job and commit it; what is dear and there already is not made again.

    Raises:
        ConservationError: the worker lost, doubled or invented an item.
        StorageError: the disk refused.
        RunDirectoryError: another run has taken over the directory.
        OvertakenError: another attempt has taken over the shard.
        DrainedError: it was asked to stop.
    """
    started = time.perf_counter()
    shard = attempt.shard
    if not isinstance(worker, AnswerWorker):
        inputs = await _in_thread(lambda: read_inputs(job, shard))
        return _finish(job, attempt, worker.items(inputs), await worker.run(inputs), started)
    made_from = job.lineage(shard, Lineage())
    if (there := await _in_thread(lambda: _take_published(job, shard, made_from))) is not None:
        return there
    asked = await _in_thread(lambda: worker.begin(read_inputs(job, shard)))
    journal = Journal(job.directory, shard, job.record, made_from)
    try:
        await _in_thread(lambda: _open(job, attempt, journal, made_from))
        with meter.counting(job.name, shard) as counters:
            output = await settle(job, asked, journal, counters, meter)
            num_replayed = counters.num_replayed
            stats = await _in_thread(
                lambda: _finish(job, attempt, asked.items, output, started, num_replayed, journal)
            )
    except (OvertakenError, StorageError):
        await _in_thread(journal.close)
        if (there := await _in_thread(lambda: _take_published(job, shard, made_from))) is not None:
            return there
        raise
    finally:
        await _in_thread(journal.close)
    await _in_thread(lambda: remove_journal(job.directory, shard))
    crash_point("journal.removed")
    return stats


def _open(job: Job, attempt: Attempt, journal: Journal, made_from: Mapping[str, str]) -> None:
    """Begin the attempt, unless its run is over or another has finished the shard just now."""
    require_session(job.directory.parent, attempt.session)
    journal.open(attempt.died)
    if _published(job, attempt.shard, made_from) is not None:
        raise OvertakenError(f"{job.name} shard {attempt.shard}: another attempt has published it")


def _published(job: Job, shard: int, made_from: Mapping[str, str]) -> ShardStats | None:
    stats = read_stats(job.directory, shard) if shard_path(job.directory, shard).exists() else None
    return stats if stats is not None and stats.made_from == made_from else None


def _take_published(job: Job, shard: int, made_from: Mapping[str, str]) -> ShardStats | None:
    """Return the counts of a shard that is there: its worker died before it could say so, or was thought dead."""
    stats = _published(job, shard, made_from)
    if stats is not None:
        remove_journal(job.directory, shard)
    return stats


async def _in_thread(work: Callable[[], T]) -> T:
    """Do what takes long away from the event loop, which feeds the engine meanwhile; see it through if cancelled."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _finish(
    job: Job,
    attempt: Attempt,
    owed: Sequence[Item],
    output: Output,
    started: float,
    num_replayed: int = 0,
    journal: Journal | None = None,
) -> ShardStats:
    accounts = balance(job, owed, output)
    stats = _stats(len(owed), output, accounts, time.perf_counter() - started, num_replayed)
    require_session(job.directory.parent, attempt.session)
    if journal is not None:
        journal.require_newest()
    commit(job, attempt.shard, output, stats)
    return stats


def do_corpus(job: Job, worker: CorpusWorker) -> ShardStats:
    """Run a corpus-scoped job over all shards and commit its one table."""
    started = time.perf_counter()
    output = worker.run(read_inputs(job, shard) for shard in job.shards)
    stats = _stats(output.table.num_rows, output, (), time.perf_counter() - started)
    commit(job, 0, output, stats)
    return stats


def read_inputs(job: Job, shard: int) -> Inputs:
    """Read shard k of each input: a corpus step's one table, whatever k; nothing, where an input does not reach k."""
    return Inputs({role: tuple(_read(feed, shard) for feed in feeds) for role, feeds in job.feeds.items()})


def commit(job: Job, shard: int, output: Output, stats: ShardStats) -> None:
    """Write rejects and counts, then the shard itself: its file is the mark of completion."""
    require_schema(output.table.schema, job.record)
    require_schema(output.rejects.schema, Reject)
    if output.rejects.num_rows:
        commit_table(rejects_path(job.directory, shard), output.rejects)
    else:
        remove(rejects_path(job.directory, shard))
    path = shard_path(job.directory, shard)
    with staged_table(path, output.table) as beside:
        lineage = {"digest": file_digest(beside), "made_from": job.lineage(shard, Lineage())}
        crash_point("shard.staged")
        commit_json(stats_path(job.directory, shard), stats.model_copy(update=lineage))
        crash_point("stats.committed")
        publish(beside, path)
        crash_point("shard.published")


def balance(job: Job, owed: Sequence[Item], output: Output) -> tuple[Account, ...]:
    """Check that every owed item came out exactly once, as rows or as a Reject, and count by language and teacher.

    Raises:
        ConservationError: names the step and the first offending item.
    """
    _require_unique_rows(job, output.table)
    done = set(_column(output.table, job.record.item_key))
    rejected = dict(_reject_reasons(output.rejects))
    items = {item.item_id: item for item in owed}
    problems = {
        "is owed twice": _doubled(item.item_id for item in owed),
        "is rejected twice": _doubled(_column(output.rejects, "item_id")),
        "came out though nobody asked for it": (done | rejected.keys()) - items.keys(),
        "both came out and was rejected": done & rejected.keys(),
        "vanished": items.keys() - done - rejected.keys(),
    }
    for problem, ids in problems.items():
        if ids:
            raise ConservationError(f"step {job.name}: item {min(ids)} {problem} ({len(ids)} such items)")
    return _accounts(owed, rejected)


def _require_unique_rows(job: Job, table: pa.Table) -> None:
    """No row may come twice, and every scored item must have been scored by as many opinions as the others."""
    key = job.record.row_key
    rows = Counter(zip(*(_column(table, name) for name in key), strict=True))
    if twice := sorted(row for row, count in rows.items() if count > 1):
        raise ConservationError(f"step {job.name}: the row {dict(zip(key, twice[0], strict=True))} came out twice")
    if job.record is Score:
        opinions = Counter(_column(table, job.record.item_key))
        if len(set(opinions.values())) > 1:
            fewest = min(opinions, key=lambda item: (opinions[item], item))
            raise ConservationError(f"step {job.name}: item {fewest} has fewer scores than others")


def _accounts(owed: Sequence[Item], rejected: dict[str, str]) -> tuple[Account, ...]:
    counts: dict[tuple[str, str | None], Counter[str | None]] = defaultdict(Counter)
    for item in owed:
        counts[item.language, item.teacher][rejected.get(item.item_id)] += 1
    accounts = []
    for (language, teacher), reasons in sorted(counts.items(), key=lambda entry: (entry[0][0], entry[0][1] or "")):
        lost = {reason: n for reason, n in sorted(reasons.items(), key=str) if reason is not None}
        num_in = sum(reasons.values())
        accounts.append(
            Account(language=language, teacher=teacher, num_in=num_in, num_out=reasons[None], rejected=lost)
        )
    return tuple(accounts)


def _stats(
    num_in: int, output: Output, accounts: tuple[Account, ...], seconds: float, num_replayed: int = 0
) -> ShardStats:
    usage: Usage = output.usage
    return ShardStats(
        num_in=num_in,
        num_rows=output.table.num_rows,
        accounts=accounts,
        seconds=round(seconds, 6),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=usage.cost_usd,
        num_replayed=num_replayed,
    )


def _read(feed: Feed, shard: int) -> pa.Table:
    read = feed.reads(shard)
    return empty_table(feed.record) if read is None else read_table(shard_path(feed.directory, read))


def _column(table: pa.Table, name: str) -> list[str]:
    values: list[str] = table.column(name).to_pylist()
    return values


def _reject_reasons(rejects: pa.Table) -> Iterator[tuple[str, str]]:
    yield from zip(_column(rejects, "item_id"), _column(rejects, "reason"), strict=True)


def _doubled(ids: "Iterator[str] | Sequence[str]") -> set[str]:
    return {item_id for item_id, count in Counter(ids).items() if count > 1}
