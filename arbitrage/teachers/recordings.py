"""Recorded answers in memory: one Arrow table of the columns needed, and an index from key to rows."""

import glob
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arbitrage.errors import DataError

Key = tuple[str, ...]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recordings:
    """Rows of recorded answers.

    Attributes:
        tables: the columns needed, one table per file.
        index: key → (table, row), in the order of files and rows.
    """

    tables: tuple[pa.Table, ...]
    index: Mapping[Key, Sequence[tuple[int, int]]]

    @classmethod
    def empty(cls) -> "Recordings":
        """Return no recordings."""
        return cls((), {})

    @property
    def num_rows(self) -> int:
        """Number of answers."""
        return sum(len(rows) for rows in self.index.values())

    def find(self, key: Key) -> Sequence[tuple[int, int]]:
        """Return where the answers to a prompt are, in order."""
        return self.index.get(key, ())

    def row(self, place: tuple[int, int]) -> Row:
        """Return one recorded row."""
        table, row = place
        found: Row = self.tables[table].slice(row, 1).to_pylist()[0]
        return found


def read_recordings(
    paths: Sequence[str],
    columns: Sequence[str],
    where: Mapping[str, object],
    keys: Sequence[str],
    normalise: Callable[[str], str] | None,
) -> Recordings:
    """Read the columns of the rows that match `where`, indexed by the key columns as text.

    Args:
        paths: files, directories or globs.
        columns: what is needed, key columns included.
        where: column → value, compared as text.
        keys: columns that make up the key.
        normalise: applied to the first part of each key; None leaves it.

    Raises:
        DataError: nothing found, an unreadable file, or a missing column.
    """
    tables = []
    index: dict[Key, list[tuple[int, int]]] = {}
    for number, path in enumerate(expand_paths(paths)):
        needed = tuple(dict.fromkeys((*columns, *where)))
        table = _filter(_read(path, needed), where).select(list(columns))
        tables.append(table)
        for row, parts in enumerate(zip(*(table.column(k).to_pylist() for k in keys), strict=True)):
            if None not in parts:
                first, *rest = map(str, parts)
                key = (normalise(first) if normalise else first, *rest)
                index.setdefault(key, []).append((number, row))
    return Recordings(tuple(tables), index)


def expand_paths(paths: Sequence[str]) -> list[Path]:
    """Return the files meant, sorted; a directory means all Parquet and JSONL files below it.

    Raises:
        DataError: a path leads to nothing.
    """
    found: set[Path] = set()
    for path in paths:
        matches = sorted(Path(match) for match in glob.glob(path, recursive=True)) or [Path(path)]
        files = [f for match in matches for f in _files(match)]
        if not files:
            raise DataError(f"{path}: no recordings (*.parquet, *.jsonl) there")
        found.update(files)
    return sorted(found)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [f for pattern in ("*.parquet", "*.jsonl") for f in path.rglob(pattern) if f.name[0] not in "._"]
    return [path] if path.is_file() else []


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    try:
        table = _read_jsonl(path, columns) if path.suffix == ".jsonl" else _read_parquet(path, columns)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    return table


def _read_parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    present = pq.read_schema(path).names
    if missing := [name for name in columns if name not in present]:
        raise DataError(f"{path}: has no column '{missing[0]}'; it has {', '.join(present)}")
    return pq.read_table(path, columns=list(columns))


def _read_jsonl(path: Path, columns: Sequence[str]) -> pa.Table:
    rows = list(_json_rows(path))
    for name in columns:
        if rows and not any(name in row for row in rows):
            raise DataError(f"{path}: no line has the key '{name}'")
    return pa.table({name: [row.get(name) for row in rows] for name in columns})


def _json_rows(path: Path) -> Iterator[Row]:
    number = 0
    with path.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise DataError(f"{path}:{number}: expected an object, found {type(row).__name__}")
                    yield row
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not UTF-8 after line {number}") from error
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error


def _filter(table: pa.Table, where: Mapping[str, object]) -> pa.Table:
    for column, wanted in sorted(where.items()):
        keep = [value is not None and str(value) == str(wanted) for value in table.column(column).to_pylist()]
        table = table.filter(pa.array(keep, pa.bool_()))
    return table
