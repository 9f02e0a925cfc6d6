"""Read a source once and assign its prompts to shards, streaming: memory does not grow with the number of rows."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from arbitrage.contracts.workers import SourceWorker
from arbitrage.execution.plan import Job
from arbitrage.languages import UNKNOWN
from arbitrage.processes import open_files
from arbitrage.records import Prompt, Record, Reject
from arbitrage.runs.footer import footer
from arbitrage.runs.layout import rejects_path, shard_of, shard_path
from arbitrage.runs.lineage import ContentDigest, commit_stats, read_stats
from arbitrage.runs.manifest import Account, FileMark, ShardStats
from arbitrage.runs.paths import AnyPath, size_of
from arbitrage.runs.store import (
    bytes_digest,
    file_digest,
    open_new,
    parquet_bytes,
    publish,
    remove,
    storage_errors,
    temporary_beside,
    write_new,
    writer_options,
)
from arbitrage.tables import arrow_schema, empty_table, to_table

BUFFERED_ROWS = 65_536
"""Maximum number of rows in memory, over all shards; beyond it, the fullest shards are written."""

GROUP_ROWS, GROUP_BYTES = 65_536, 1 << 28
"""Rows per row group of a Parquet file, and in memory."""


def do_source(job: Job, worker: SourceWorker, on_rows: Callable[[int], None] = lambda _: None) -> list[ShardStats]:
    """Read everything once and commit every shard of the step; returns the counts of `job.shards`, in order.

    Prompts are assigned to all shards, also those not in `job.shards`: a pilot reads its source in the same way.
    """
    started = time.perf_counter()
    shards = [_ShardWriter(job.name, job.directory, shard) for shard in range(job.num_shards)]
    buffered = 0
    num_files = open_files.reserve(2 * job.num_shards)  # a shard under way is one or two
    try:
        for batch in worker.read():
            for prompt in batch.prompts:
                shards[shard_of(prompt.prompt_id, job.num_shards)].add_prompt(prompt)
            for reject in batch.rejects:
                shards[shard_of(reject.item_id, job.num_shards)].add_reject(reject)
            shards[0].notes.update(batch.notes)
            buffered = _write_fullest(shards, buffered + batch.num_read)
            on_rows(batch.num_read)
        seconds = (time.perf_counter() - started) / len(shards)
        stats = [_committed(shard, seconds) for shard in shards]
    finally:
        for shard in shards:
            shard.discard()
        open_files.release(num_files)
    return [stats[k] for k in job.shards]


def _committed(shard: "_ShardWriter", seconds: float) -> ShardStats:
    stats = shard.commit(seconds)
    shard.discard()
    return stats


def _write_fullest(shards: Sequence["_ShardWriter"], buffered: int) -> int:
    """Write shards with at least the mean number of rows, if too many rows are held; return how many are left."""
    if buffered < BUFFERED_ROWS:
        return buffered
    for shard in shards:
        if shard.num_buffered * len(shards) >= buffered:
            shard.flush()
    return sum(shard.num_buffered for shard in shards)


class _ShardWriter:
    """Collects one shard of prompts and its rejects under temporary names, on this machine."""

    def __init__(self, name: str, directory: AnyPath, shard: int) -> None:
        self._name, self._place = name, (directory, shard)
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
        self._rejects.add(reject.model_copy(update={"step": self._name}))

    @property
    def num_buffered(self) -> int:
        return self._prompts.num_buffered + self._rejects.num_buffered

    def flush(self) -> None:
        self._prompts.flush()
        self._rejects.flush()

    def commit(self, seconds: float) -> ShardStats:
        directory, shard = self._place
        if (there := self._published()) is not None:
            return there  # complete from an earlier run
        num_rows, num_rejected = self._by_language.total(), self._by_reason.total()
        stats = ShardStats(
            num_in=num_rows + num_rejected,
            num_rows=num_rows,
            accounts=self._accounts(),
            seconds=round(seconds, 6),
            notes=dict(sorted(self.notes.items())),
        )
        if num_rejected:
            stats = stats.model_copy(update={"rejects": self._rejects.finish(lambda _: {})})
            self._rejects.publish()
        else:
            remove(rejects_path(directory, shard))

        def facts(content: str) -> Mapping[str, str]:
            nonlocal stats
            stats = stats.model_copy(update={"content": content})
            return footer(stats)

        mark = self._prompts.finish(facts)
        stats = stats.model_copy(update={"size_bytes": mark.size_bytes, "digest": mark.digest})
        remove(shard_path(directory, shard))
        commit_stats(directory, shard, stats)
        self._prompts.publish()
        return stats

    def _published(self) -> ShardStats | None:
        directory, shard = self._place
        if (size := size_of(shard_path(directory, shard))) is None:
            return None
        stats = read_stats(directory, shard)
        if stats is None or size != stats.size_bytes:
            return None
        has_rejects = stats.rejects is None or size_of(rejects_path(directory, shard)) == stats.rejects.size_bytes
        return stats if has_rejects else None

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
    """Gathers records of one kind into one Parquet file that appears when published.

    Rows that do not fit into memory are in an Arrow stream until then. An open Parquet file would keep the metadata
    of every piece in memory: 2 GB for ten million rows in a thousand shards.
    """

    def __init__(self, path: AnyPath, record: type[Record]) -> None:
        self._path, self._record = path, record
        self._rows: list[Record] = []
        self._beside: Path | None = None  # what is not published yet, and
        self._pieces: Path | None = None  # what did not fit into memory
        self._sink: pa.PythonFile | None = None
        self._stream: pa.ipc.RecordBatchStreamWriter | None = None

    @property
    def num_buffered(self) -> int:
        return len(self._rows)

    def add(self, row: Record) -> None:
        self._rows.append(row)

    def flush(self) -> None:
        if self._rows:
            with storage_errors(self._path):
                self._open().write_table(to_table(self._rows, self._record))
            self._rows = []

    def finish(self, footer: Callable[[str], Mapping[str, str]]) -> FileMark:
        """Write the file under its temporary name; return its size and digest.

        Args:
            footer: returns its key-value metadata, given the digest of its rows.
        """
        content, self._beside = ContentDigest(), temporary_beside(self._path)
        groups = _groups(self._tables())
        first, second = next(groups, empty_table(self._record)), next(groups, None)
        content.update(first)
        with storage_errors(self._path):
            if second is None:
                data = parquet_bytes(first, footer(content.hexdigest()))
                write_new(self._beside, data)
                return FileMark(size_bytes=data.size, digest=bytes_digest(data))
            with (
                open_new(self._beside) as file,
                pq.ParquetWriter(file, arrow_schema(self._record), **writer_options()) as writer,
            ):
                writer.write_table(first)
                for group in (second, *groups):
                    writer.write_table(group)
                    content.update(group)
                writer.add_key_value_metadata(dict(footer(content.hexdigest())))
        return FileMark(size_bytes=self._beside.stat().st_size, digest=file_digest(self._beside))

    def publish(self) -> None:
        assert self._beside is not None, "finish() comes first"
        publish(self._beside, self._path, is_durable=False)  # the source is read again if the machine crashes
        if isinstance(self._path, Path):
            self._beside = None  # it was renamed

    def discard(self) -> None:
        with suppress(OSError):
            if self._sink is not None:
                self._sink.close()
        for path in (self._pieces, self._beside):
            if path is not None:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        self._pieces = self._beside = None

    def _open(self) -> pa.ipc.RecordBatchStreamWriter:
        if self._stream is None:
            self._pieces = temporary_beside(self._path)
            self._sink = pa.PythonFile(open_new(self._pieces), mode="w")
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._stream = pa.ipc.new_stream(self._sink, arrow_schema(self._record), options=options)
        return self._stream

    def _tables(self) -> Iterator[pa.Table]:
        """Yield all rows, in order, in the pieces they came in."""
        if self._stream is not None and self._sink is not None:
            self._stream.close()
            self._sink.close()
            with pa.memory_map(str(self._pieces)) as pieces, pa.ipc.open_stream(pieces) as batches:
                for batch in batches:
                    yield pa.Table.from_batches([batch])
        if self._rows:
            yield to_table(self._rows, self._record)


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join pieces to row groups, independent of the pieces' sizes, unless texts are very long."""
    held: list[pa.Table] = []
    for table in tables:
        rest = table
        while len(rest):
            room = GROUP_ROWS - sum(map(len, held))
            held.append(rest.slice(0, room))
            rest = rest.slice(room)
            if sum(map(len, held)) == GROUP_ROWS or sum(part.nbytes for part in held) >= GROUP_BYTES:
                yield pa.concat_tables(held).combine_chunks()
                held = []
    if held:
        yield pa.concat_tables(held).combine_chunks()
