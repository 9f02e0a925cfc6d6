"""Rows of Parquet: only the needed columns are read, in batches that fit into memory."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arbitrage.errors import DataError
from arbitrage.inputs.files import SourceFile
from arbitrage.inputs.rows import MAX_ROW_BYTES, InputFile, InputRow, RowFault, Unreadable, printable
from arbitrage.inputs.streams import BOMB_BYTES, refuse_bomb

BATCH_ROWS = 512
BATCH_BYTES = 256 * 2**20
"""Maximum size of a batch; it has fewer rows if its longest values could exceed this."""

SUSPECT_BYTES = 2**20
"""Writers end a dictionary at 1 MiB, so smaller column chunks need no check of repeated long values."""

ROWS_PER_BYTE = 20
MANY_ROWS = 1_000_000
"""A file with more rows than this, and more than `ROWS_PER_BYTE` per byte, only repeats values: it is refused."""

PARQUET_ERRORS = (OSError, pa.ArrowException, UnicodeDecodeError)  # the last one: names of columns
UNCONVERTIBLE = (ValueError, OverflowError, TypeError, KeyError, pa.ArrowException)
"""Errors of converting Arrow values to Python: dates beyond the year 9999, unknown time zones, …"""


def open_parquet(file: SourceFile, needed: Callable[[Sequence[str]], list[str]]) -> InputFile:
    """Open a file and read its footer.

    Args:
        file: which.
        needed: selects the columns to read.

    Raises:
        DataError: it is not a Parquet file, names a column twice, or decompresses to an implausible size.
    """
    parquet = _opened(file)
    columns = tuple(parquet.schema_arrow.names)
    wanted = needed(columns)
    _refuse_bomb(parquet, file)
    return InputFile(file.name, columns, _rows(parquet, wanted, file))


def read_parquet(file: SourceFile, names: Sequence[str]) -> pa.Table:
    """Read columns, all of them present, into memory. Raises DataError like `open_parquet`."""
    parquet = _opened(file)
    columns = list(dict.fromkeys(names))
    _refuse_bomb(parquet, file)
    try:
        with parquet:
            for group in range(parquet.metadata.num_row_groups):
                _batch_rows(parquet, group, columns, file)
            return parquet.read(columns=columns).select(columns)
    except PARQUET_ERRORS as error:
        raise DataError(f"{file.shown}: cannot be read as Parquet: {_reason(error)}") from error


def _opened(file: SourceFile) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(file.path, pre_buffer=False, page_checksum_verification=True)
        columns = tuple(parquet.schema_arrow.names)
    except PARQUET_ERRORS as error:
        raise DataError(f"{file.shown}: cannot be read as Parquet: {_reason(error)}") from error
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise DataError(f"{file.shown}: has {columns.count(twice[0])} columns '{printable(twice[0], 60)}'")
    return parquet


def _rows(parquet: pq.ParquetFile, columns: list[str], file: SourceFile) -> Iterator[InputRow | RowFault]:
    number = num_bytes = 0
    size_bytes = file.path.stat().st_size
    with parquet:
        try:
            for group in range(parquet.metadata.num_row_groups):
                size = _batch_rows(parquet, group, columns, file)
                for batch in parquet.iter_batches(size, row_groups=[group], columns=columns):
                    num_bytes += batch.nbytes
                    refuse_bomb(num_bytes, size_bytes, file)
                    for values in _values(batch):
                        number += 1
                        yield _checked(f"{file.name}:{number}", values)
        except PARQUET_ERRORS as error:
            raise DataError(f"{file.shown}: breaks off after row {number}: {_reason(error)}") from error


def _checked(position: str, values: "dict[str, Any] | RowFault") -> InputRow | RowFault:
    if isinstance(values, RowFault):
        return RowFault(position, values.reason, values.detail)
    return InputRow(position, values)


def _values(batch: pa.RecordBatch) -> list[dict[str, Any] | RowFault]:
    """Return the rows; if a value cannot be converted, row by row and cell by cell."""
    if not batch.num_columns:
        return [{} for _ in range(batch.num_rows)]
    if batch.nbytes > MAX_ROW_BYTES:
        # Some row may be too long: check its size before it is converted to text.
        return [_one(batch.slice(index, 1)) for index in range(batch.num_rows)]
    try:
        return list(batch.to_pylist())
    except UNCONVERTIBLE:
        return [_one(batch.slice(index, 1)) for index in range(batch.num_rows)]


def _one(row: pa.RecordBatch) -> dict[str, Any] | RowFault:
    if row.nbytes > MAX_ROW_BYTES:
        return RowFault("", "row_too_long", f"more than {MAX_ROW_BYTES} bytes")
    values: dict[str, Any] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            [values[name]] = column.to_pylist()
        except UnicodeDecodeError as error:
            return RowFault("", "invalid_utf8", f"byte {error.start} of a text in the column '{printable(name, 40)}'")
        except UNCONVERTIBLE:
            values[name] = Unreadable(printable(str(column.type), 60))
    return values


def _refuse_bomb(parquet: pq.ParquetFile, file: SourceFile) -> None:
    """Refuse a file whose footer shows an implausible number of rows or size."""
    size_bytes, num_rows = file.path.stat().st_size, parquet.metadata.num_rows
    if num_rows > MANY_ROWS and num_rows > ROWS_PER_BYTE * size_bytes:
        raise DataError(f"{file.shown}: claims {num_rows:,} rows in {size_bytes:,} bytes")
    num_bytes = sum(
        parquet.metadata.row_group(group).total_byte_size for group in range(parquet.metadata.num_row_groups)
    )
    refuse_bomb(num_bytes, size_bytes, file)


def _batch_rows(parquet: pq.ParquetFile, group: int, columns: Sequence[str], file: SourceFile) -> int:
    """Return how many rows fit into a batch, with the longest values that its dictionaries allow."""
    found = parquet.metadata.row_group(group)
    if found.total_byte_size <= SUSPECT_BYTES:
        return BATCH_ROWS
    indexes = [i for i in range(found.num_columns) if _is_of(parquet.schema.column(i).path, columns)]
    texts = [i for i in indexes if parquet.schema.column(i).physical_type == "BYTE_ARRAY"]
    names = [parquet.schema.column(i).path for i in texts]
    with pq.ParquetFile(file.path, read_dictionary=names, pre_buffer=False) as probe:
        row = next(probe.iter_batches(1, row_groups=[group], columns=columns), None)
    # `column` crashes on a contradictory footer; the batch was read, so this footer is consistent.
    num_values = max((found.column(i).num_values for i in texts), default=0)
    longest = max((_longest(column) for column in row.columns), default=0) if row is not None else 0
    row_bytes = longest * num_values / max(found.num_rows, 1)
    if row_bytes > BOMB_BYTES:
        raise DataError(f"{file.shown}: a row may unpack to {row_bytes:,.0f} bytes: at most {BOMB_BYTES:,} are read")
    return int(min(BATCH_ROWS, max(1, BATCH_BYTES // max(row_bytes, 1))))


def _is_of(path: str, columns: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in columns)


def _longest(column: pa.Array) -> int:
    """Return the size of the longest value in the dictionaries of a column, at any depth."""
    if isinstance(column, pa.DictionaryArray):
        return _longest(column.dictionary)
    if isinstance(column, pa.StructArray):
        return max((_longest(column.field(index)) for index in range(column.type.num_fields)), default=0)
    if isinstance(column, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray | pa.MapArray):
        return _longest(column.values)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_binary(column.type):
        return pc.max(pc.binary_length(column)).as_py() or 0
    return 0


def _reason(error: BaseException) -> str:
    return printable(" ".join(str(error).split()), 300)
