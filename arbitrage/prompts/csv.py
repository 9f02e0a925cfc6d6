"""Prompts from CSV and TSV with a header row, plain or compressed."""

import csv
import io
from collections.abc import Iterator
from typing import ClassVar, Literal, Protocol

import pyarrow as pa
from pydantic import Field

from arbitrage.errors import DataError
from arbitrage.prompts.files import FileSourceConfig, SourceFile
from arbitrage.prompts.jsonl import open_stream
from arbitrage.prompts.rows import MAX_ROW_BYTES, Fault, Part, Row, printable


class CsvReader(Protocol):
    """What `csv.reader` returns; the standard library does not name it."""

    line_num: int

    def __next__(self) -> list[str]:
        """Return the fields of the next record."""
        ...


class CsvConfig(FileSourceConfig):
    """Prompts in CSV files in UTF-8, each with a header.

    Attributes:
        delimiter: one character; by default a tab in `*.tsv*`, a comma elsewhere.
    """

    suffixes: ClassVar[tuple[str, ...]] = tuple(
        stem + packed for stem in (".csv", ".tsv") for packed in ("", ".gz", ".zst", ".bz2", ".lz4")
    )

    kind: Literal["csv"] = "csv"
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)

    def open_file(self, file: SourceFile) -> Part:
        """Open a file and read its header."""
        # A bad byte becomes a lone surrogate, which is found again in the field that holds it: only that row suffers.
        stream = io.TextIOWrapper(open_stream(file), "utf-8-sig", errors="surrogateescape", newline="")
        delimiter = self.delimiter or ("\t" if ".tsv" in file.path.name else ",")
        csv.field_size_limit(MAX_ROW_BYTES)  # beyond it an unclosed quote is an error, not a full memory
        reader = csv.reader(stream, delimiter=delimiter)
        header = _next(reader, file)
        if isinstance(header, csv.Error):
            raise DataError(f"{file.path}: the header cannot be read: {header}")
        columns = tuple(name.strip() for name in header or ())
        if header is not None and len(set(columns)) < len(columns):
            raise DataError(f"{file.path}: the header names a column twice: {', '.join(columns)}")
        # An empty file has no header; it then has no columns to be missing either.
        return Part(file.name, columns if header is not None else None, _rows(stream, reader, columns, file))


def _rows(
    stream: io.TextIOWrapper, reader: CsvReader, columns: tuple[str, ...], file: SourceFile
) -> Iterator[Row | Fault]:
    with stream:
        while True:
            position = f"{file.name}:{reader.line_num + 1}"
            fields = _next(reader, file)
            if fields is None:
                return
            if isinstance(fields, csv.Error):
                yield Fault(position, "broken_row", str(fields))
            elif fields:
                yield _row(position, columns, fields)


def _row(position: str, columns: tuple[str, ...], fields: list[str]) -> Row | Fault:
    if len(fields) != len(columns):
        return Fault(position, "broken_row", f"{len(fields)} fields under {len(columns)} columns")
    for name, text in zip(columns, fields, strict=True):
        if not text.isascii() and any("\udc80" <= c <= "\udcff" for c in text):
            return Fault(position, "invalid_utf8", f"in the column '{printable(name, 40)}'")
    return Row(position, dict(zip(columns, fields, strict=True)))


def _next(reader: CsvReader, file: SourceFile) -> list[str] | csv.Error | None:
    """Return the next record, an error that concerns only it, or None at the end."""
    try:
        return next(reader)
    except StopIteration:
        return None
    except csv.Error as error:
        return error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file.path}: breaks off after line {reader.line_num}: {error}") from error
