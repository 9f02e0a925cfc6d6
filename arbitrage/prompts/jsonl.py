"""Prompts from JSON Lines, plain or compressed (.gz, .zst, .bz2, .lz4)."""

import io
import json
from collections.abc import Iterator
from typing import ClassVar, Literal

import pyarrow as pa

from arbitrage.errors import DataError
from arbitrage.prompts.files import FileSourceConfig, SourceFile
from arbitrage.prompts.rows import MAX_ROW_BYTES, Fault, Part, Row, printable

JSONL_SUFFIXES = tuple(
    stem + packed for stem in (".jsonl", ".ndjson") for packed in ("", ".gz", ".zst", ".bz2", ".lz4")
)

BOM = b"\xef\xbb\xbf"


class JsonlConfig(FileSourceConfig):
    """Prompts in JSON Lines files: one object per line."""

    suffixes: ClassVar[tuple[str, ...]] = JSONL_SUFFIXES

    kind: Literal["jsonl"] = "jsonl"

    def open_file(self, file: SourceFile) -> Part:
        """Open a file; its columns are only known from its rows."""
        return open_jsonl(file)


def open_jsonl(file: SourceFile) -> Part:
    """Open a JSON Lines file, whatever its columns."""
    return Part(file.name, None, _rows(file))


def open_stream(file: SourceFile) -> io.BufferedReader:
    """Open a file for reading bytes, unpacked as its suffix says.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return io.BufferedReader(pa.input_stream(str(file.path), compression="detect"), 1 << 18)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file.path}: cannot be read: {error}") from error


def _rows(file: SourceFile) -> Iterator[Row | Fault]:
    for number, line in _lines(file):
        position = f"{file.name}:{number}"
        if line is None:
            yield Fault(position, "row_too_long", f"more than {MAX_ROW_BYTES} bytes")
        elif line.strip():
            yield _row(position, line)


def _row(position: str, line: bytes) -> Row | Fault:
    try:
        values = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Fault(position, "invalid_utf8", f"byte {line[error.start]:#04x} at byte {error.start} of the line")
    except (ValueError, RecursionError) as error:
        start = printable(line[:60].decode("utf-8", "replace"))
        return Fault(position, "broken_json", f"{type(error).__name__} in: {start}")
    if not isinstance(values, dict):
        return Fault(position, "broken_row", f"expected an object, found {type(values).__name__}")
    return Row(position, values)


def _lines(file: SourceFile) -> Iterator[tuple[int, bytes | None]]:
    """Yield numbered lines, from 1; None for one that is too long."""
    with open_stream(file) as stream:
        number = 0
        try:
            while line := stream.readline(MAX_ROW_BYTES):
                number += 1
                if number == 1:
                    line = line.removeprefix(BOM)
                    _refuse_array(line, file)
                yield number, line if line.endswith(b"\n") or not _skip_line(stream) else None
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file.path}: breaks off after line {number}: {error}") from error


def _skip_line(stream: io.BufferedReader) -> bool:
    """Skip the rest of a line; tell whether there was any."""
    is_longer = False
    while rest := stream.readline(MAX_ROW_BYTES):
        is_longer = True
        if rest.endswith(b"\n"):
            break
    return is_longer


def _refuse_array(first: bytes, file: SourceFile) -> None:
    if first.lstrip()[:1] == b"[":
        raise DataError(
            f"{file.path}: is one JSON array, not JSON Lines (one object per line); `jq -c '.[]'` converts it"
        )
