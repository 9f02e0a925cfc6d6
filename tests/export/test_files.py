"""Data files: bounded row groups, bounded files, bounded memory, nothing lost on the way."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.export import files
from arbitrage.export.files import DataWriter, row_groups
from arbitrage.export.licences import hub_licence

SCHEMA = pa.schema([("text", pa.string())])


def rows(texts: list[str]) -> pa.Table:
    return pa.table({"text": texts}, schema=SCHEMA)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=40), st.integers(1, 200))
def test_row_groups_keep_order_and_limit(texts: list[str], limit: int) -> None:
    table = rows(texts)
    groups = list(row_groups(table, limit))
    assert [text for group in groups for text in group["text"].to_pylist()] == texts
    assert all(group.nbytes <= limit or group.num_rows == 1 for group in groups if group.num_rows)


def test_row_groups_and_files_stay_within_their_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROW_GROUP_BYTES", 40_000)
    monkeypatch.setattr(files, "FILE_BYTES", 100_000)
    texts = [hashlib.shake_256(str(i).encode()).hexdigest(250) for i in range(900)]
    writer = DataWriter(tmp_path, SCHEMA, "parquet")
    for start in range(0, 900, 100):
        writer.add("train", "sw", rows(texts[start : start + 100]))
    written = writer.close()
    assert len(written) > 1
    assert [f.path for f in written] == [f"data/train/sw.{i:05d}.parquet" for i in range(len(written))]
    assert all(f.size_bytes <= 100_000 + 4096 for f in written)
    for file in written:
        meta = pq.read_metadata(tmp_path / file.path)
        assert all(meta.row_group(i).total_byte_size <= 44_000 for i in range(meta.num_row_groups))
    again = [text for f in written for text in pq.read_table(tmp_path / f.path)["text"].to_pylist()]
    assert again == texts
    assert sum(f.num_rows for f in written) == 900


def test_many_languages_share_one_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BUFFER_BYTES", 50_000)
    writer = DataWriter(tmp_path, SCHEMA, "parquet")
    peak = 0
    for number in range(300):
        writer.add("train", f"l{number % 7}", rows(["x" * 2_000]))
        peak = max(peak, sum(series.buffered_bytes for series in writer._series.values()))
    written = writer.close()
    assert 40_000 < peak <= 52_100
    assert sum(f.num_rows for f in written) == 300
    assert sum(len(pq.read_table(tmp_path / f.path)) for f in written) == 300


def test_files_come_by_split_then_language(tmp_path: Path) -> None:
    writer = DataWriter(tmp_path, SCHEMA, "jsonl")
    for split, language in (("test", "ar"), ("train", "sw"), ("train", "ar")):
        writer.add(split, language, rows(["line\nbreak\u2028and 'quotes' \"here\""]))
    written = writer.close()
    assert [(f.split, f.language) for f in written] == [("train", "ar"), ("train", "sw"), ("test", "ar")]
    assert (tmp_path / written[0].path).read_bytes().count(b"\n") == 1


def test_no_rows_no_files(tmp_path: Path) -> None:
    assert DataWriter(tmp_path, SCHEMA, "parquet").close() == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("licences", "fields"),
    [
        (["Apache-2.0"], {"license": "apache-2.0"}),
        (["unknown"], {"license": "unknown"}),
        (["Tongyi Qianwen"], {"license": "other", "license_name": "tongyi-qianwen"}),
        (["Apache-2.0", "unknown"], {"license": "other", "license_name": "mixed-see-card"}),
    ],
)
def test_hub_licence(licences: list[str], fields: dict[str, str]) -> None:
    assert hub_licence(licences) == fields
