"""Rows of CSV and TSV with a header."""

import csv
from collections.abc import Iterator
from typing import IO, Protocol

from arbitrage.errors import DataError
from arbitrage.inputs.files import SourceFile
from arbitrage.inputs.rows import MAX_ROW_BYTES, InputFile, InputRow, RowFault, printable
from arbitrage.inputs.streams import PACKED, lines_of, open_stream
from arbitrage.inputs.values import Untyped

CSV_SUFFIXES = tuple(stem + packed for stem in (".csv", ".tsv") for packed in PACKED)


class CsvReader(Protocol):
    """What `csv.reader` returns; the standard library does not name it."""

    line_num: int

    def __next__(self) -> list[str]:
        """Return the fields of the next record."""
        ...


def open_csv(file: SourceFile, delimiter: str | None = None) -> InputFile:
    """Open a file and read its header.

    Args:
        file: which.
        delimiter: by default a tab in `*.tsv*`; elsewhere a comma, or the delimiter of a header without commas.

    Raises:
        DataError: it cannot be read, or its header cannot.
    """
    stream = open_stream(file)
    text = _lines(stream, file)
    first = next(text, "")
    csv.field_size_limit(MAX_ROW_BYTES)  # limit, so that an unclosed quote is an error instead of filling the memory
    reader = csv.reader(_joined(first, text), delimiter=delimiter or _delimiter(file, first))
    header = _next(reader)
    if isinstance(header, csv.Error):
        raise DataError(f"{file.shown}: the header cannot be read: {header}")
    columns = tuple(name.strip() for name in header or ())
    if _is_foreign(first):
        raise DataError(f"{file.shown}: the header is not UTF-8")
    if header is not None and len(set(columns)) < len(columns):
        raise DataError(f"{file.shown}: the header names a column twice: {printable(', '.join(columns), 400)}")
    # An empty file has no header; it then has no columns to be missing either.
    return InputFile(file.name, columns if header is not None else None, _rows(stream, reader, columns, file))


def _delimiter(file: SourceFile, header: str) -> str:
    if ".tsv" in file.path.name.lower():
        return "\t"
    return next((mark for mark in (",", ";", "\t") if mark in header), ",")


def _lines(stream: IO[bytes], file: SourceFile) -> Iterator[str]:
    """Yield lines as text; a line that is too long becomes a field that the reader refuses."""
    for line in lines_of(stream, file):
        # A bad byte becomes a lone surrogate, which identifies its field: only that row is rejected.
        yield _TOO_LONG if line is None else line.decode("utf-8", "surrogateescape")


_TOO_LONG = "\udfff\n"
"""A character that no byte decodes to."""


def _joined(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _rows(
    stream: IO[bytes], reader: CsvReader, columns: tuple[str, ...], file: SourceFile
) -> Iterator[InputRow | RowFault]:
    with stream:
        while True:
            position = f"{file.name}:{reader.line_num + 1}"
            fields = _next(reader)
            if fields is None:
                return
            if isinstance(fields, csv.Error):
                yield RowFault(position, "broken_row", str(fields))
            elif fields:
                yield _row(position, columns, fields)


def _row(position: str, columns: tuple[str, ...], fields: list[str]) -> InputRow | RowFault:
    if fields == [_TOO_LONG.strip()]:
        return RowFault(position, "row_too_long", f"more than {MAX_ROW_BYTES} bytes")
    if len(fields) != len(columns):
        return RowFault(position, "broken_row", f"{len(fields)} fields under {len(columns)} columns")
    for name, text in zip(columns, fields, strict=True):
        if _is_foreign(text):
            return RowFault(position, "invalid_utf8", f"in the column '{printable(name, 40)}'")
    return InputRow(position, {name: _cell(text) for name, text in zip(columns, fields, strict=True)})


def _cell(text: str) -> str:
    """Mark values such as 7.0, which pandas writes for whole numbers in a column with missing values."""
    return Untyped(text) if text.endswith(".0") and text[:-2].removeprefix("-").isdecimal() else text


def _is_foreign(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= c <= "\udfff" for c in text)


def _next(reader: CsvReader) -> list[str] | csv.Error | None:
    """Return the next record, an error that affects only it, or None at the end."""
    try:
        return next(reader)
    except StopIteration:
        return None
    except csv.Error as error:
        return error
