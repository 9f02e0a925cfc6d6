"""Write an export's data files: one series for each split and language, streamed, of bounded size.

    data/<split>/<language>.00000.parquet

A '.' ends the language because no BCP-47 tag contains one: `es.*` never matches `es-419.00000.parquet`. A split is
one flat directory because LLaMA-Factory reads no other, and because `datasets` guesses the splits from it without a
card.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from arbitrage.export.format import FileType
from arbitrage.runs.store import storage_errors, writer_options

ROW_GROUP_BYTES = 64 << 20
FILE_BYTES = 500 << 20
BUFFER_BYTES = 256 << 20
"""Memory limit of all series together; beyond it the largest buffer is written."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One finished file. `num_bytes` is its size as Arrow, `size_bytes` its size on disk."""

    path: str  # below the export's directory
    split: str
    language: str
    num_rows: int
    num_bytes: int
    size_bytes: int
    sha256: str


class FilePart(Protocol):
    """An open data file."""

    def write(self, table: pa.Table) -> None:
        """Append rows as one group."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class ParquetPart:
    """A Parquet file; each write is one row group."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, **writer_options())

    def write(self, table: pa.Table) -> None:
        """Append a row group."""
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


class JsonLinesPart:
    """A file with one JSON object per line."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._json = [
            field.name for field in schema if pa.types.is_list(field.type) and field.type.value_type == pa.json_()
        ]

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        for row in table.to_pylist():
            objects = {name: [json.loads(each) for each in row[name]] for name in self._json}
            self._file.write(json.dumps(row | objects, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class FileSeries:
    """The files of one split and language."""

    def __init__(self, root: Path, split: str, language: str, schema: pa.Schema, file_type: FileType) -> None:
        self._root, self._schema, self._type = root, schema, file_type
        self.split, self.language = split, language
        self._buffer: list[pa.Table] = []
        self.buffered_bytes = 0
        self._part: FilePart | None = None
        self._num_rows = self._num_bytes = 0
        self.files: list[DataFile] = []

    def add(self, table: pa.Table) -> None:
        """Add rows; they are written when a row group is full."""
        self._buffer.append(table)
        self.buffered_bytes += table.nbytes
        if self.buffered_bytes >= ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the buffered rows."""
        if not self._buffer:
            return
        table = pa.concat_tables(self._buffer).combine_chunks()
        self._buffer, self.buffered_bytes = [], 0
        for group in row_groups(table, ROW_GROUP_BYTES):
            self._write(group)

    def close(self) -> None:
        """Write the remaining rows and finish the last file."""
        self.flush()
        self._finish()

    @property
    def _path(self) -> Path:
        return self._root / "data" / self.split / f"{self.language}.{len(self.files):05d}.{self._type}"

    def _write(self, group: pa.Table) -> None:
        path = self._path
        with storage_errors(path):
            if self._part and path.stat().st_size + group.nbytes > FILE_BYTES:
                self._finish()
                path = self._path
            if self._part is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._part = (ParquetPart if self._type == "parquet" else JsonLinesPart)(path, self._schema)
            self._part.write(group)
        self._num_rows += group.num_rows
        self._num_bytes += group.nbytes

    def _finish(self) -> None:
        if self._part is None:
            return
        path = self._path
        with storage_errors(path):
            self._part.close()
            size, digest = path.stat().st_size, _sha256(path)
        name = path.relative_to(self._root).as_posix()
        self.files.append(DataFile(name, self.split, self.language, self._num_rows, self._num_bytes, size, digest))
        self._part, self._num_rows, self._num_bytes = None, 0, 0


class DataWriter:
    """All series of one export."""

    def __init__(self, root: Path, schema: pa.Schema, file_type: FileType) -> None:
        self._root, self._schema, self._type = root, schema, file_type
        self._series: dict[tuple[str, str], FileSeries] = {}

    def add(self, split: str, language: str, table: pa.Table) -> None:
        """Add rows of one split and language."""
        key = (split, language)
        if key not in self._series:
            self._series[key] = FileSeries(self._root, split, language, self._schema, self._type)
        self._series[key].add(table)
        if sum(s.buffered_bytes for s in self._series.values()) > BUFFER_BYTES:
            max(self._series.values(), key=lambda s: s.buffered_bytes).flush()

    def close(self) -> tuple[DataFile, ...]:
        """Finish all files.

        Returns:
            The files by split (train first), then language, then number.
        """
        for series in self._series.values():
            series.close()
        order = sorted(self._series, key=lambda key: (key[0] != "train", key))
        return tuple(file for key in order for file in self._series[key].files)


def row_groups(table: pa.Table, limit_bytes: int) -> Iterator[pa.Table]:
    """Split a table into halves until each is within the limit, or a single row."""
    if table.num_rows <= 1 or table.nbytes <= limit_bytes:
        yield table
        return
    half = table.num_rows // 2
    yield from row_groups(table.slice(0, half), limit_bytes)
    yield from row_groups(table.slice(half), limit_bytes)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
