"""Recorded completions in memory: one Arrow table of them, and an index from key to rows."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from arbitrage.errors import ConfigError, DataError
from arbitrage.inputs.columns import ColumnMap, column_map
from arbitrage.inputs.files import Found, SourceFile
from arbitrage.inputs.notes import note_text
from arbitrage.inputs.rows import InputRow, RowFault
from arbitrage.inputs.tables import checked_rows, find_tables, open_table
from arbitrage.inputs.values import id_text

Key = tuple[str, ...]
Recorded = Mapping[str, Any]

_BATCH_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Recordings:
    """Recorded completions.

    Attributes:
        tables: pieces of the table, each of at most `_BATCH_ROWS` rows.
        index: key → (table, row), in the order of files and rows.
        lost: rows without a key and files that are not read: description → count.
        notes: counts of other remarks.
    """

    tables: tuple[pa.Table, ...] = ()
    index: Mapping[Key, Sequence[tuple[int, int]]] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Number of completions."""
        return sum(len(rows) for rows in self.index.values())

    def find(self, key: Key) -> Sequence[tuple[int, int]]:
        """Return where the completions of a prompt are, in order."""
        return self.index.get(key, ())

    def row(self, place: tuple[int, int]) -> Recorded:
        """Return one recorded row."""
        table, row = place
        found: Recorded = self.tables[table].slice(row, 1).to_pylist()[0]
        return found


@dataclass(frozen=True, slots=True)
class RecordingReader:
    """Reads rows that match `where`.

    Attributes:
        columns: roles → columns; `key` must be among them, `language` may be a part of the key.
        where: column → value, compared as ids are.
        schema: of the table.
        read: function that turns a row into one of the table, and counts notes.
        normalise: applied to the first part of each key; None takes it as an id.
    """

    columns: ColumnMap[Any]
    where: Mapping[str, object]
    schema: pa.Schema
    read: Callable[[Mapping[str, Any], Counter[str]], Recorded]
    normalise: Callable[[object], str | None]

    def read_all(self, paths: Sequence[str]) -> Recordings:
        """Read files, folders and globs.

        Raises:
            ConfigError: a path matches nothing, or a column is missing.
            DataError: a file cannot be read.
        """
        found = find_recordings(paths)
        building = _Building(self)
        building.lost.update({note_text(note): count for note, count in found.notes.items()})
        for file in found.files:
            building.read(file)
        return building.finish()


def find_recordings(paths: Sequence[str]) -> Found:
    """Return the files of paths, globs and folders.

    Raises:
        DataError: a path matches nothing.
    """
    try:
        return find_tables(paths, "engine.paths")
    except ConfigError as error:
        raise DataError(str(error)) from error


class _Building:
    def __init__(self, reader: RecordingReader) -> None:
        self.lost: Counter[str] = Counter()
        self._reader = reader
        self._where: ColumnMap[str] = column_map({}, {name: name for name in reader.where}, "where.{role}")
        self._tables: list[pa.Table] = []
        self._rows: list[Recorded] = []
        self._index: dict[Key, list[tuple[int, int]]] = {}
        self._notes: Counter[str] = Counter()

    def read(self, file: SourceFile) -> None:
        part = open_table(file, self._needed)
        check = partial(self._check, file=file)
        for row in checked_rows(part, check, needs_one=True):
            if isinstance(row, RowFault):
                self.lost[f"rows that cannot be read ({row.reason}; the first: {row.position})"[:200]] += 1
            elif self._matches(row):
                self._take(row)

    def _needed(self, present: Sequence[str]) -> list[str]:
        needed = {*self._reader.columns.needed(present), *self._where.needed(present)}
        return [name for name in present if name in needed]

    def finish(self) -> Recordings:
        self._flush()
        return Recordings(tuple(self._tables), self._index, dict(self.lost), dict(self._notes))

    def _check(self, present: Sequence[str], file: SourceFile) -> None:
        try:
            self._reader.columns.check(present, file.shown, ("key",))
            self._where.resolve(present, file.shown, tuple(self._reader.where))
        except ConfigError as error:
            raise DataError(str(error)) from error

    def _matches(self, row: InputRow) -> bool:
        wanted = self._reader.where.items()
        return all(id_text(self._where.value(row.values, column)) == id_text(value) for column, value in wanted)

    def _take(self, row: InputRow) -> None:
        columns, values = self._reader.columns, row.values
        key = [self._reader.normalise(columns.value(values, "key"))]
        if "language" in columns.given:
            key.append(id_text(columns.value(values, "language")))
        parts = [part for part in key if part is not None]
        if len(parts) < len(key):
            self.lost["rows without a key"] += 1
            return
        self._index.setdefault(tuple(parts), []).append((len(self._tables), len(self._rows)))
        self._rows.append(self._reader.read(values, self._notes))
        if len(self._rows) == _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._tables.append(pa.Table.from_pylist(list(map(dict, self._rows)), self._reader.schema))
            self._rows = []
