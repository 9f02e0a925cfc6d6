"""Lineage of shards: digests of the inputs that a shard was made from, to decide whether it is up to date."""

import hashlib
from collections.abc import Mapping, Sequence

import pyarrow as pa

from arbitrage.runs.layout import digest_json, stats_path, step_name
from arbitrage.runs.manifest import ShardStats
from arbitrage.runs.paths import AnyPath, for_each, read_bytes
from arbitrage.runs.recent import Recent, identity_of
from arbitrage.runs.sealed import UnsealedError, commit_sealed, unseal

RECENT_BYTES, STATS_BYTES = 1 << 24, 1 << 12
"""Memory for cached counts, and the size of one shard's counts."""

_recent: Recent[ShardStats] = Recent(RECENT_BYTES)


def read_stats(directory: AnyPath, shard: int) -> ShardStats | None:
    """Return a shard's counts and lineage, or None where they are missing or damaged."""
    path = stats_path(directory, shard)
    try:
        identity = identity_of(path)
        if (known := _recent.get(path, identity)) is not None:
            return known
        stats = unseal(read_bytes(path), ShardStats)
    except (FileNotFoundError, UnsealedError):
        return None
    _recent.put(path, identity, stats, STATS_BYTES)
    return stats


def commit_stats(directory: AnyPath, shard: int, stats: ShardStats) -> None:
    """Write a shard's counts; without fsync, because its footer holds them too."""
    path = stats_path(directory, shard)
    commit_sealed(path, stats, is_durable=False)
    _recent.put(path, identity_of(path), stats, STATS_BYTES)


class ContentDigest:
    """A digest of rows, whatever file they are written to: of one table, or of several in order."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=10, person=b"content")

    def update(self, table: pa.Table) -> None:
        """Add more rows. The digest depends on how rows are split into tables."""
        for batch in table.combine_chunks().to_batches():
            self._hash.update(batch.serialize())

    def hexdigest(self) -> str:
        """Return the digest of all rows so far."""
        return self._hash.hexdigest()


def content_digest(table: pa.Table) -> str:
    """Return a digest of a table's rows."""
    digest = ContentDigest()
    digest.update(table)
    return digest.hexdigest()


class Lineage:
    """Reads and caches the counts of shards."""

    def __init__(self) -> None:
        self._stats: dict[tuple[AnyPath, int], ShardStats | None] = {}

    def look_up(self, directory: AnyPath, shards: Sequence[int]) -> None:
        """Read the counts of many shards of a step in advance."""
        read = for_each(directory, lambda k: read_stats(directory, k), shards)
        self._stats.update({(directory, k): stats for k, stats in zip(shards, read, strict=True)})

    def learn(self, directory: AnyPath, shard: int, stats: ShardStats) -> None:
        """Cache a shard's counts that were read elsewhere."""
        self._stats[directory, shard] = stats

    def stats(self, directory: AnyPath, shard: int) -> ShardStats | None:
        """Return a shard's counts, like `read_stats`."""
        if (directory, shard) not in self._stats:
            self._stats[directory, shard] = read_stats(directory, shard)
        return self._stats[directory, shard]

    def made_from(self, reads: Mapping[AnyPath, int | Sequence[int]]) -> dict[str, str]:
        """Return step name → digest of the rows that are read from it: of one shard, or of several together.

        By name, not by directory, because the reader's fingerprint already contains those of its inputs.
        """
        return {
            step_name(path.name): self._content(path, read)
            if isinstance(read, int)
            else digest_json([self._content(path, k) for k in sorted(read)])
            for path, read in sorted(reads.items())
        }

    def _content(self, path: AnyPath, shard: int) -> str:
        stats = self.stats(path, shard)
        return stats.content if stats else ""
