"""What a process keeps in memory of a run's files: never another content than the file's, and never much."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arbitrage.errors import DamagedFileError, StorageError
from arbitrage.runs.layout import shard_path, stats_path
from arbitrage.runs.lineage import commit_stats, read_stats
from arbitrage.runs.manifest import FileMark, ShardStats
from arbitrage.runs.recent import Recent, identity_of
from arbitrage.runs.store import bytes_digest, commit_bytes, parquet_bytes
from arbitrage.runs.verified import read_shard, read_verified, remember

TABLE = pa.table({"text": ["one", "two"], "number": [1, 2]})
OTHER = pa.table({"text": ["six", "ten"], "number": [6, 9]})


def stats(num_rows: int = 2, **more: object) -> ShardStats:
    return ShardStats(num_in=2, num_rows=num_rows, accounts=(), seconds=0.0).model_copy(update=more)


def written(path: Path, table: pa.Table) -> FileMark:
    data = parquet_bytes(table)
    commit_bytes(path, data)
    return FileMark(size_bytes=data.size, digest=bytes_digest(data))


def test_rows_just_written_are_those_that_a_reader_finds(tmp_path: Path) -> None:
    path = tmp_path / "step" / "shard-00000.parquet"
    mark = written(path, TABLE)
    remember(path, mark.digest, TABLE)
    assert read_verified(path, mark, tmp_path) is TABLE
    assert pq.read_table(path).equals(TABLE)
    assert read_verified(path, mark, tmp_path, ["number"]).equals(pq.read_table(path, columns=["number"]))


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "step" / "shard-00000.parquet"
    remember(path, written(path, TABLE).digest, TABLE)
    mark = written(path, OTHER)
    assert read_verified(path, mark, tmp_path).equals(OTHER)


def test_rows_in_memory_do_not_hide_damage_lost_files_or_links(tmp_path: Path) -> None:
    path = tmp_path / "step" / "shard-00000.parquet"
    mark = written(path, TABLE)
    remember(path, mark.digest, TABLE)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.rename(tmp_path / "sound")
    with pytest.raises(DamagedFileError, match="is missing"):
        read_verified(path, mark, tmp_path)
    path.symlink_to(tmp_path / "sound")
    with pytest.raises(StorageError, match="it is a link"):
        read_verified(path, mark, tmp_path)
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match="expected digest"):
        read_verified(path, mark, tmp_path)


def test_counts_that_say_otherwise_than_the_rows_in_memory_win(tmp_path: Path) -> None:
    directory = tmp_path / "step"
    path = shard_path(directory, 0)
    mark = written(path, TABLE)
    remember(path, mark.digest, TABLE)
    commit_stats(directory, 0, stats(size_bytes=mark.size_bytes, digest="of-something-else"))
    with pytest.raises(DamagedFileError, match="expected digest of-something-else"):
        read_shard(directory, 0)


def test_counts_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    commit_stats(tmp_path, 3, stats(5))
    assert read_stats(tmp_path, 3) == stats(5)
    commit_stats(tmp_path, 3, stats(6))
    assert read_stats(tmp_path, 3) == stats(6)
    stats_path(tmp_path, 3).rename(tmp_path / "aside")
    assert read_stats(tmp_path, 3) is None
    (tmp_path / "aside").rename(stats_path(tmp_path, 3))
    text = stats_path(tmp_path, 3).read_text()
    stats_path(tmp_path, 3).unlink()
    stats_path(tmp_path, 3).write_text(text.replace('"num_rows": 6', '"num_rows": 7'))
    assert read_stats(tmp_path, 3) is None  # damaged: its checksum does not fit


def test_memory_is_bounded_and_what_was_used_last_stays(tmp_path: Path) -> None:
    recent: Recent[str] = Recent(max_bytes=80)
    paths = [tmp_path / str(n) for n in range(10)]
    for path in paths:
        path.touch()
    for path in paths[:8]:
        recent.put(path, identity_of(path), path.name, 10)
    assert recent.get(paths[0], identity_of(paths[0])) == "0"
    recent.put(paths[8], identity_of(paths[8]), "8", 10)
    assert recent.get(paths[0], identity_of(paths[0])) == "0"
    assert recent.get(paths[1], identity_of(paths[1])) is None
    recent.put(paths[9], identity_of(paths[9]), "too large", 11)
    assert recent.get(paths[9], identity_of(paths[9])) is None
    assert recent.get(paths[8], identity_of(paths[8])) == "8"


@pytest.mark.parametrize(("rows", "compression"), [(3, "SNAPPY"), (20_000, "ZSTD")])
def test_small_files_are_compressed_cheaply_and_large_ones_well(rows: int, compression: str) -> None:
    table = pa.table({"text": [f"row {n}" for n in range(rows)]})
    data = parquet_bytes(table, {"key": "value"})
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    assert file.metadata.row_group(0).column(0).compression == compression
    assert file.metadata.metadata[b"key"] == b"value"
    assert file.read().equals(table)
    pieces = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert parquet_bytes(pieces, {"key": "value"}).equals(data)
