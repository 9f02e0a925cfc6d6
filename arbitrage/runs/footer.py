"""A copy of a shard's counts in its own footer: if its `_stats` are lost, the shard need not be made again."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from arbitrage.records import Record
from arbitrage.runs.layout import shard_path
from arbitrage.runs.manifest import ShardStats
from arbitrage.runs.paths import AnyPath, read_bytes
from arbitrage.runs.sealed import UnsealedError, seal, unseal
from arbitrage.runs.store import bytes_digest
from arbitrage.runs.verified import FACTS
from arbitrage.tables import arrow_schema


def footer(stats: ShardStats) -> Mapping[str, str]:
    """Return the footer of a shard's file: only values that are equal when the same shard is made again."""
    lasting = stats.model_copy(
        update={"seconds": 0.0, "num_replayed": 0, "num_damaged_lines": 0, "size_bytes": 0, "digest": ""}
    )
    return {FACTS.decode(): seal(lasting).decode()}


def stats_from_footer(directory: AnyPath, shard: int, record: type[Record]) -> ShardStats | None:
    """Return the counts in a shard's footer, or None if the shard is damaged.

    Every page of the file is read and checked against the checksum it was written with.
    """
    try:
        data = read_bytes(shard_path(directory, shard))
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        facts = (file.metadata.metadata or {}).get(FACTS, b"")
        stats = unseal(facts, ShardStats)
        table = file.read()
    except (FileNotFoundError, OSError, pa.ArrowException, UnsealedError):
        return None
    if table.num_rows != stats.num_rows or not table.schema.equals(arrow_schema(record)):
        return None
    return stats.model_copy(update={"size_bytes": len(data), "digest": bytes_digest(data)})
