"""A table in a file of any format: opened by content, with checked columns, as rows or as an Arrow table."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import pyarrow as pa

from arbitrage.errors import ConfigError, DataError
from arbitrage.inputs.columns import ColumnMap, R
from arbitrage.inputs.csv import CSV_SUFFIXES, open_csv
from arbitrage.inputs.files import Found, SourceFile, find_files
from arbitrage.inputs.jsonl import JSON_SUFFIXES, looks_like_rows, open_jsonl
from arbitrage.inputs.parquet import open_parquet, read_parquet
from arbitrage.inputs.rows import InputFile, InputRow, RowFault
from arbitrage.inputs.streams import is_parquet
from arbitrage.inputs.values import MISSING, Untyped, id_text

PARQUET_SUFFIXES = (".parquet",)
SUFFIXES = (*PARQUET_SUFFIXES, *JSON_SUFFIXES, *CSV_SUFFIXES)
"""Suffixes that every reader accepts."""

SUFFIXES_TEXT = ".parquet, .jsonl, .ndjson, .json, .csv, .tsv (text files also compressed)"

SNIFFED_ROWS = 100
"""Number of first rows of a file without a header among which each configured column must occur."""

Needed = Callable[[Sequence[str]], list[str]]
Check = Callable[[Sequence[str]], None]


def find_tables(patterns: Sequence[str], where: str, suffixes: Sequence[str] = SUFFIXES) -> Found:
    """Return the table files of paths, globs and folders. Raises like `find_files`."""
    return find_files(patterns, suffixes, where, lambda path: looks_like_rows(SourceFile(path.name, path)))


def open_table(file: SourceFile, needed: Needed = list, delimiter: str | None = None) -> InputFile:
    """Open a file by content: Parquet by its first bytes, CSV by its name, else JSON.

    Args:
        file: which.
        needed: selects the columns to read, if the format allows it.
        delimiter: delimiter of CSV.

    Raises:
        ConfigError: the name has none of these suffixes.
        DataError: it cannot be read.
    """
    name = file.path.name.lower()
    if is_parquet(file):
        part = open_parquet(file, needed)
    elif name.endswith(CSV_SUFFIXES):
        part = open_csv(file, delimiter)
    elif name.endswith(JSON_SUFFIXES):
        part = open_jsonl(file)
    else:
        raise ConfigError(f"{file.shown}: is not one of {SUFFIXES_TEXT}")
    return with_partitions(part, file)


def with_partitions(part: InputFile, file: SourceFile) -> InputFile:
    """Add the columns from folder names to the rows of a file that lacks them."""
    added = dict(file.partitions)
    if not added:
        return part
    rows = (
        InputRow(row.position, added | dict(row.values)) if isinstance(row, InputRow) else row for row in part.rows
    )
    columns = None if part.columns is None else (*part.columns, *(name for name in added if name not in part.columns))
    return InputFile(part.name, columns, rows, part.notes)


def checked_rows(part: InputFile, check: Check, *, needs_one: bool) -> Iterator[InputRow | RowFault]:
    """Yield a part's rows after checking its columns: from the header at once, else after the first rows.

    Args:
        part: a file.
        check: raises if a column is missing among those present.
        needs_one: whether a file of which no row at all can be read is an error.
    """
    if part.columns is not None:
        check(part.columns)
        yield from part.rows
        return
    present: dict[str, None] = {}
    num_rows = num_faults = 0
    fault, is_open = None, True
    for row in part.rows:
        if isinstance(row, RowFault):
            fault, num_faults = fault or row, num_faults + 1
        elif is_open:
            num_rows += 1
            present.update(dict.fromkeys(row.values))
            if num_rows == SNIFFED_ROWS:
                check(tuple(present))
                is_open = False
        yield row
    if is_open and num_rows:
        check(tuple(present))
    elif fault is not None and not num_rows and needs_one:
        raise DataError(f"{part.name}: none of the first {num_faults} rows can be read ({fault.detail})")


def read_columns(file: SourceFile, columns: ColumnMap[R], required: Sequence[R], faults: Counter[str]) -> pa.Table:
    """Read a file into memory as a table whose columns are named by their roles.

    Each column has one type: values of several types are written like ids. A role without a column in the file is
    left out.

    Args:
        file: which.
        columns: role → columns.
        required: roles for which the file must have a column.
        faults: gets the number of unreadable rows, by reason.

    Raises:
        ConfigError: a column is missing.
        DataError: the file cannot be read.
    """
    if is_parquet(file) and not file.partitions:
        present = columns_of(file)
        found = columns.resolve(present, file.shown, required)
        if set(found.values()) <= set(present):  # no column is a path into objects
            table = read_parquet(file, sorted(set(found.values())))
            return pa.table({role: table[name] for role, name in found.items()})
    return _table_of_rows(file, columns, required, faults)


def _table_of_rows(file: SourceFile, columns: ColumnMap[R], required: Sequence[R], faults: Counter[str]) -> pa.Table:
    values: dict[R, list[object]] = {role: [] for role in columns.names}
    found: dict[R, str] = {}

    def check(present: Sequence[str]) -> None:
        found.update(columns.resolve(present, file.shown, required))

    for row in checked_rows(open_table(file, columns.needed), check, needs_one=True):
        if isinstance(row, RowFault):
            faults[row.reason] += 1
            continue
        for role, column in values.items():
            value = columns.value(row.values, role)
            column.append(id_text(value) if isinstance(value, Untyped) else None if value is MISSING else value)
    return pa.table({role: _array(column) for role, column in values.items() if role in (found or values)})


def columns_of(file: SourceFile) -> tuple[str, ...]:
    """Return the columns of a file; without a header those of its first rows.

    Raises:
        ConfigError: it is not a table.
        DataError: it cannot be read.
    """
    part = open_table(file)
    if part.columns is not None:
        return part.columns
    head = islice((row for row in part.rows if isinstance(row, InputRow)), SNIFFED_ROWS)
    return tuple(dict.fromkeys(name for row in head for name in row.values))


def _array(values: Sequence[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, ValueError, OverflowError, TypeError):  # of several types, or too large for any
        return pa.array([id_text(value) for value in values], pa.string())
