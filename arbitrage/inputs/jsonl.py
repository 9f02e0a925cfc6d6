"""Rows of JSON Lines (one object per line), of one JSON array of objects, and of objects over several lines."""

import json
from collections.abc import Iterator
from typing import IO, Any

from arbitrage.errors import DataError
from arbitrage.inputs.files import SourceFile
from arbitrage.inputs.rows import MAX_ROW_BYTES, InputFile, InputRow, RowFault, printable
from arbitrage.inputs.streams import PACKED, lines_of, open_stream, read_bytes

JSON_SUFFIXES = tuple(stem + packed for stem in (".jsonl", ".ndjson", ".json") for packed in PACKED)

METADATA_NAMES = frozenset(
    (
        "config.json",
        "dataset_dict.json",
        "dataset_info.json",
        "dataset_infos.json",
        "generation_config.json",
        "package.json",
        "provenance.json",
        "run.json",
        "state.json",
        "training.json",
    )
)
"""JSON files beside data that hold no rows."""

CHUNK_BYTES = 1 << 18


def open_jsonl(file: SourceFile) -> InputFile:
    """Open a JSON file, whatever its columns.

    Raises:
        DataError: it cannot be read.
    """
    return InputFile(file.name, None, _rows(open_stream(file), file))


def looks_like_rows(file: SourceFile) -> bool:
    """Tell whether a `.json` file found in a folder holds rows: an array, or an object in its first line."""
    if not file.path.name.lower().endswith(tuple(".json" + packed for packed in PACKED)):
        return True
    if file.path.name.lower() in METADATA_NAMES:
        return False
    try:
        with open_stream(file) as stream:
            first = _first_line(stream, file)[1]
    except DataError:
        return True  # reading it will report the error
    return first is None or first.lstrip()[:1] == b"[" or isinstance(_parsed(first), dict)


class DuplicateKeyError(ValueError):
    """A JSON object with two values for one key, which is ambiguous."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DuplicateKeyError(f"the key '{printable(twice, 40)}' is given twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _rows(stream: IO[bytes], file: SourceFile) -> Iterator[InputRow | RowFault]:
    with stream:
        number, first = _first_line(stream, file)
        start = first.lstrip()[:1] if first is not None else b""
        if start == b"[" and _is_array(first or b"", stream):
            yield from _array(first or b"", stream, file)
        elif start == b"{" and _is_opened(first or b"", stream):
            yield from _documents(first or b"", stream, file)
        elif number:
            yield from _line(f"{file.name}:{number}", first)
            for line in lines_of(stream, file):
                number += 1
                yield from _line(f"{file.name}:{number}", line)


def _first_line(stream: IO[bytes], file: SourceFile) -> tuple[int, bytes | None]:
    """Return the first line that is not blank, and its number; 0 where there is none."""
    for number, line in enumerate(lines_of(stream, file), 1):
        if line is None or line.strip():
            return number, line
    return 0, b""


def _line(position: str, line: bytes | None) -> Iterator[InputRow | RowFault]:
    if line is None:
        yield RowFault(position, "row_too_long", f"more than {MAX_ROW_BYTES} bytes")
    elif line.strip():
        yield _row(position, line)


def _row(position: str, line: bytes) -> InputRow | RowFault:
    try:
        values = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RowFault(position, "invalid_utf8", f"byte {line[error.start]:#04x} at byte {error.start} of the line")
    except (ValueError, RecursionError) as error:
        start = printable(line[:60].decode("utf-8", "replace").strip())
        what = str(error) if isinstance(error, DuplicateKeyError) else type(error).__name__
        return RowFault(position, "broken_json", f"{what} in: {start}")
    return _checked(position, values)


def _checked(position: str, values: Any) -> InputRow | RowFault:
    if not isinstance(values, dict):
        return RowFault(position, "broken_row", f"expected an object, found {type(values).__name__}")
    return InputRow(position, values)


def _parsed(line: bytes) -> Any:
    """Return a line's value; None if the line is not a complete JSON value."""
    try:
        return _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _is_array(first: bytes, stream: IO[bytes]) -> bool:
    """Tell whether a file is one array, given its first line; otherwise the line is a (possibly broken) row."""
    found = _parsed(first)
    if isinstance(found, list):
        return not found or isinstance(found[0], dict)
    return first.strip() == b"[" or not _is_row_next(stream)


def _is_opened(first: bytes, stream: IO[bytes]) -> bool:
    """Tell whether a line begins an object that continues in the next line, as pretty printers write it."""
    text = first.strip()
    if text[-1:] not in (b"{", b"[", b",", b":") or _parsed(first) is not None:
        return False
    return text == b"{" or not _is_row_next(stream)


def _is_row_next(stream: IO[bytes]) -> bool:
    """Tell whether the next line is a complete object: then each line is a row."""
    line: bytes = stream.peek(CHUNK_BYTES).split(b"\n", 1)[0]  # type: ignore[attr-defined]
    return isinstance(_parsed(line), dict)


def _array(first: bytes, stream: IO[bytes], file: SourceFile) -> Iterator[InputRow | RowFault]:
    """Yield the items of one JSON array, holding one at a time."""
    text = _Text(first, stream, file)
    text.take("[")
    if text.peek() == "]":
        text.take("]")
    else:
        number = 0
        while True:
            number += 1
            yield _checked(f"{file.name}:{number}", text.value(f"item {number}"))
            if text.peek() == "]":
                text.take("]")
                break
            text.take(",")
    if text.peek():
        raise DataError(
            f"{file.shown}: holds more than one JSON value, the first of them an array; `jq -c '.[]'` makes JSON "
            "Lines of it"
        )


def _documents(first: bytes, stream: IO[bytes], file: SourceFile) -> Iterator[InputRow | RowFault]:
    """Yield objects written over several lines, one after the other, as `jq` writes them."""
    text = _Text(first, stream, file)
    number, held = 0, None
    while text.peek():
        number += 1
        row = _checked(f"{file.name}:{number}", text.value(f"object {number}"))
        if number == 1:
            held = row
            continue
        if held is not None:
            yield held
            held = None
        yield row
    if held is not None:
        _refuse_wrapped(held, file)
        yield held


def _refuse_wrapped(row: InputRow | RowFault, file: SourceFile) -> None:
    """Refuse a file that is one object with its rows in a list inside."""
    if isinstance(row, RowFault):
        return
    for key, value in row.values.items():
        is_rows = isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
        if is_rows and not any(name in value[0] for name in ("role", "from")):
            raise DataError(
                f"{file.shown}: is one JSON object with its rows under '{printable(key, 40)}', not JSON Lines; "
                f"`jq -c '.{printable(key, 40)}[]'` makes JSON Lines of it"
            )


class _Text:
    """JSON text that is read piece by piece, value after value."""

    def __init__(self, first: bytes, stream: IO[bytes], file: SourceFile) -> None:
        self._stream = stream
        self._file = file
        self._text = ""
        self._at = 0
        self._pending = first

    def peek(self) -> str:
        """Return the next character that is not blank, or nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        """Skip the character that must come next."""
        found = self.peek()
        if found != wanted:
            raise self._broken(f"expected '{wanted}', found {printable(found) or 'the end'}")
        self._at += 1

    def value(self, what: str) -> Any:
        """Return the next value."""
        self.peek()
        size = CHUNK_BYTES
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (DuplicateKeyError, RecursionError) as error:
                raise self._broken(f"{what}: {error}") from error
            except ValueError as error:
                # Incomplete so far, or broken: read more text to decide.
                if len(self._text) - self._at > MAX_ROW_BYTES or not self._more(size):
                    raise self._broken(f"{what}: {error}") from error
                size *= 2
                continue
            if end == len(self._text) and self._more():  # a number may continue
                continue
            self._at = end
            return value

    def _more(self, size: int = CHUNK_BYTES) -> bool:
        block = self._pending or read_bytes(self._stream, size, self._file)
        self._pending = b""
        if not block:
            return False
        block += self._stream.readline(MAX_ROW_BYTES) if not block.endswith(b"\n") else b""  # whole characters
        try:
            self._text = self._text[self._at :] + block.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._broken(f"is not UTF-8: byte {block[error.start]:#04x}") from error
        self._at = 0
        return True

    def _broken(self, reason: str) -> DataError:
        return DataError(
            f"{self._file.shown}: is JSON over several lines and cannot be read: {reason}; JSON Lines hold "
            "one object per line"
        )
