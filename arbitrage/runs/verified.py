"""Read shards and rejects of a run; each is checked against the size and digest in its counts first.

A file is read whole and hashed once for each process; after that its size, times and inode say that it is the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arbitrage.errors import DamagedFileError
from arbitrage.runs.layout import rejects_path, shard_path, stats_path
from arbitrage.runs.lineage import read_stats
from arbitrage.runs.manifest import FileMark, ShardStats
from arbitrage.runs.paths import AnyPath, open_unlinked, read_bytes
from arbitrage.runs.recent import Identity, Recent, identity_of
from arbitrage.runs.sealed import remedy_for
from arbitrage.runs.store import bytes_digest

FACTS = b"arbitrage.shard"
"""Key of the counts in a shard's footer, in case its `_stats` are lost."""

SMALL_BYTES = 1 << 20
"""Below this, starting threads takes longer than decoding."""

RECENT_BYTES = 1 << 26
"""Tables kept in memory: enough for the shards under way."""

_known: dict[tuple[str, Identity], str] = {}  # file → its digest
_recent: Recent[tuple[str, pa.Table]] = Recent(RECENT_BYTES)  # file → the digest of its bytes, and its rows


def read_shard(
    directory: AnyPath, shard: int, columns: Sequence[str] | None = None, stats: ShardStats | None = None
) -> pa.Table:
    """Read one shard of a step.

    Args:
        directory: of the step.
        shard: its number.
        columns: columns to read (default: all).
        stats: the shard's counts, if they have been read already.

    Raises:
        DamagedFileError: it is missing, or is not what was written.
    """
    path = shard_path(directory, shard)
    return read_verified(path, shard_mark(directory, shard, stats), directory.parent, columns)


def read_rejects(directory: AnyPath, shard: int) -> pa.Table | None:
    """Read the rejects of one shard of a step, or None if it has none. Raises like `read_shard`."""
    stats = _require_stats(directory, shard)
    if stats.rejects is None:
        return None
    return read_verified(rejects_path(directory, shard), stats.rejects, directory.parent)


def require_sound_shard(directory: AnyPath, shard: int) -> None:
    """Compare a shard with its size and digest. Raises like `read_shard`."""
    path, run_dir = shard_path(directory, shard), directory.parent
    _sound_bytes(path, shard_mark(directory, shard), run_dir, _identity(path, run_dir))


def is_sound(path: AnyPath, mark: FileMark) -> bool:
    """Whether a file exists and is intact."""
    try:
        return difference(read_bytes(path), mark) is None
    except FileNotFoundError:
        return False


def shard_mark(directory: AnyPath, shard: int, stats: ShardStats | None = None) -> FileMark:
    """Return the expected size and digest of a shard's file. Raises DamagedFileError without its counts."""
    return mark_of(stats or _require_stats(directory, shard))


def mark_of(stats: ShardStats) -> FileMark:
    """Return the expected size and digest of the file of a shard with these counts."""
    return FileMark(size_bytes=stats.size_bytes, digest=stats.digest)


def read_verified(path: AnyPath, mark: FileMark, run_dir: AnyPath, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file of a run. Raises like `read_shard`."""
    identity = _identity(path, run_dir)
    digest, table = _recent.get(path, identity) or ("", None)
    if table is None or digest != mark.digest:
        data = _sound_bytes(path, mark, run_dir, identity)
        source = path if data is None else pa.BufferReader(data)
        if columns is not None:
            return _parse(path, source, columns, mark.size_bytes)
        table = _parse(path, source, None, mark.size_bytes)
        _keep(path, identity, mark.digest, table)
    return table if columns is None else table.select([name for name in table.column_names if name in columns])


def remember(path: AnyPath, digest: str, table: pa.Table) -> None:
    """Cache the rows of a file that was just written."""
    _keep(path, identity_of(path), digest, table)


def _keep(path: AnyPath, identity: Identity | None, digest: str, table: pa.Table) -> None:
    _recent.put(path, identity, (digest, table), table.get_total_buffer_size())


def _identity(path: AnyPath, run_dir: AnyPath) -> Identity | None:
    try:
        return identity_of(path)
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path}: is missing; {remedy_for(run_dir)}", path) from error


def _sound_bytes(path: AnyPath, mark: FileMark, run_dir: AnyPath, identity: Identity | None) -> bytes | None:
    """Return a file's content, compared with what it must be; None where this process has compared it before."""
    if identity is not None and _known.get((str(path), identity)) == mark.digest:
        return None
    try:
        data = read_bytes(path)
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path}: is missing; {remedy_for(run_dir)}", path) from error
    if problem := difference(data, mark):
        raise DamagedFileError(f"{path}: is damaged: {problem}; {remedy_for(run_dir)}", path)
    if identity is not None:
        _known[str(path), identity] = mark.digest
    return data


def difference(data: bytes, mark: FileMark) -> str | None:
    """Return how a content differs from the expected one, or None."""
    if len(data) != mark.size_bytes:
        return f"expected {mark.size_bytes} bytes, found {len(data)}"
    if (found := bytes_digest(data)) != mark.digest:
        return f"expected digest {mark.digest}, found {found}"
    return None


def _require_stats(directory: AnyPath, shard: int) -> ShardStats:
    stats = read_stats(directory, shard)
    if stats is None:
        path = stats_path(directory, shard)
        what = "is damaged" if path.exists() else "is missing"
        raise DamagedFileError(
            f"{path}: {what}, and so {shard_path(directory, shard).name} cannot be checked; "
            f"{remedy_for(directory.parent)}",
            path,
        )
    return stats


def _parse(path: AnyPath, source: Any, columns: Sequence[str] | None, size_bytes: int) -> pa.Table:
    try:
        if isinstance(source, Path):
            with open_unlinked(source) as file:
                return _table(pa.PythonFile(file, mode="r"), columns, size_bytes)
        return _table(source, columns, size_bytes)
    except (OSError, pa.ArrowException) as error:
        raise DamagedFileError(f"{path}: cannot be read as Parquet: {error}", path) from error


def _table(source: Any, columns: Sequence[str] | None, size_bytes: int) -> pa.Table:
    table = pq.ParquetFile(source).read(columns=columns, use_threads=size_bytes > SMALL_BYTES)
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != FACTS}
    return table.replace_schema_metadata(metadata)
