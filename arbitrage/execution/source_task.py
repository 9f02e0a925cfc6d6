"""Read a source once and deal its prompts to shards, streaming: memory does not grow with the number of rows."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from arbitrage.contracts import SourceWorker
from arbitrage.execution.plan import Job
from arbitrage.languages import UNKNOWN
from arbitrage.records import Prompt, Record, Reject
from arbitrage.shards.layout import rejects_path, shard_of, shard_path, stats_path
from arbitrage.shards.manifest import Account, ShardStats
from arbitrage.shards.store import (
    commit_json,
    publish,
    remove,
    storage_errors,
    temporary_beside,
    writer_options,
)
from arbitrage.tables import arrow_schema, to_table

FLUSH_ROWS = 4096
"""Rows kept in memory for each shard between writes: one Parquet row group."""


def do_source(job: Job, worker: SourceWorker, on_rows: Callable[[int], None] = lambda _: None) -> list[ShardStats]:
    """Read everything once and commit every shard of the step; returns the counts of `job.shards`, in order.

    All shards are dealt, also those beyond `job.shards`: a pilot reads its source no differently.
    """
    started = time.perf_counter()
    shards = [_ShardWriter(job.directory, shard) for shard in range(job.num_shards)]
    try:
        for batch in worker.read():
            for prompt in batch.prompts:
                shards[shard_of(prompt.prompt_id, job.num_shards)].add_prompt(prompt)
            for reject in batch.rejects:
                shards[shard_of(reject.item_id, job.num_shards)].add_reject(reject)
            shards[0].notes.update(batch.notes)
            on_rows(batch.num_read)
        seconds = (time.perf_counter() - started) / len(shards)
        stats = [shard.commit(seconds) for shard in shards]
    finally:
        for shard in shards:
            shard.discard()
    return [stats[k] for k in job.shards]


class _ShardWriter:
    """Collects one shard of prompts and its rejects under temporary names."""

    def __init__(self, directory: Path, shard: int) -> None:
        self._place = directory, shard
        self._prompts = _RowWriter(shard_path(directory, shard), Prompt)
        self._rejects = _RowWriter(rejects_path(directory, shard), Reject)
        self._by_language: Counter[str] = Counter()
        self._by_reason: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def add_prompt(self, prompt: Prompt) -> None:
        self._by_language[prompt.language] += 1
        self._prompts.add(prompt)

    def add_reject(self, reject: Reject) -> None:
        self._by_reason[reject.reason] += 1
        self._rejects.add(reject)

    def commit(self, seconds: float) -> ShardStats:
        num_rows, num_rejected = self._by_language.total(), self._by_reason.total()
        stats = ShardStats(
            num_in=num_rows + num_rejected,
            num_rows=num_rows,
            accounts=self._accounts(),
            seconds=round(seconds, 6),
            notes=dict(sorted(self.notes.items())),
        )
        if num_rejected:
            self._rejects.publish()
        else:
            remove(rejects_path(*self._place))
        commit_json(stats_path(*self._place), stats)
        self._prompts.publish()
        return stats

    def discard(self) -> None:
        self._prompts.discard()
        self._rejects.discard()

    def _accounts(self) -> tuple[Account, ...]:
        found = [
            Account(language=language, teacher=None, num_in=n, num_out=n, rejected={})
            for language, n in sorted(self._by_language.items())
        ]
        if self._by_reason:  # a row that could not be read has no language yet
            lost = dict(sorted(self._by_reason.items()))
            found.append(Account(language=UNKNOWN, teacher=None, num_in=sum(lost.values()), num_out=0, rejected=lost))
        return tuple(found)


class _RowWriter:
    """Streams records of one kind into one Parquet file that appears when published."""

    def __init__(self, path: Path, record: type[Record]) -> None:
        self._path, self._record = path, record
        self._beside = temporary_beside(path)
        self._rows: list[Record] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: Record) -> None:
        self._rows.append(row)
        if len(self._rows) >= FLUSH_ROWS:
            self._flush()

    def publish(self) -> None:
        self._flush()
        with storage_errors(self._path):
            self._open().close()
        publish(self._beside, self._path)

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._beside.unlink(missing_ok=True)

    def _flush(self) -> None:
        rows: Sequence[Record] = self._rows
        with storage_errors(self._path):
            writer = self._open()
            if rows:
                writer.write_table(to_table(rows, self._record))
        self._rows = []

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._beside, arrow_schema(self._record), **writer_options())
        return self._writer
