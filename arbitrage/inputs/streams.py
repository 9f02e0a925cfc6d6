"""Bytes of a text file: decompressed by content, in UTF-8, in lines of bounded length.

gzip, bzip2, xz, Zstandard and LZ4 are recognised by their first bytes, whatever the file is called.
"""

import io
import lzma
import os
import zlib
from collections.abc import Iterator
from typing import IO, Final, Literal

import pyarrow as pa

from arbitrage.errors import DataError
from arbitrage.inputs.files import SourceFile
from arbitrage.inputs.rows import MAX_ROW_BYTES

PACKED: Final = ("", ".gz", ".bz2", ".xz", ".zst", ".lz4")
"""Endings of compressed text files."""

STREAM_ERRORS: Final = (OSError, EOFError, lzma.LZMAError, zlib.error, pa.ArrowException)
"""Errors of damaged streams."""

BOM: Final = b"\xef\xbb\xbf"
HEAD_BYTES = 64
BOMB_BYTES = 2**30
BOMB_RATIO = 1000
"""A file that decompresses to more than this many times its size, and to more than 1 GiB, is refused. Texts compress
3 to 10 times, generated tables of one repeated value about 100 times."""

Kind = Literal["gzip", "bz2", "xz", "zstd", "lz4"]

_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_ENDINGS: dict[str, Kind] = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".lz4": "lz4"}
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive (or an Excel or numpy file); unpack or export it"),
    (b"ARROW1", "an Arrow file; `pyarrow` writes Parquet of it"),
    (b"\xff\xff\xff\xff", "an Arrow stream; `pyarrow` writes Parquet of it"),
    (b"Obj\x01", "an Avro file; convert it to JSON Lines or Parquet"),
    (b"SQLite format 3", "an SQLite database; export the table"),
    (b"PAR1", "a Parquet file"),
)
_ENCODINGS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def open_stream(file: SourceFile) -> IO[bytes]:
    """Open a text file for reading bytes, decompressed, without a UTF-8 byte order mark.

    Raises:
        DataError: it cannot be read, is not compressed as its name says, is in another encoding than UTF-8, or is no
            text file at all.
    """
    try:
        with file.path.open("rb") as raw:
            head = raw.read(HEAD_BYTES)
        kind = _packing(file, head)
        packed = _unpacked(file, kind)
        stream = io.BufferedReader(_Metered(packed, file), 1 << 18) if kind else packed
        _refuse_foreign(stream, file)
    except STREAM_ERRORS as error:
        raise DataError(f"{file.shown}: cannot be read: {_reason(error)}") from error
    return stream


def is_parquet(file: SourceFile) -> bool:
    """Tell whether a file is Parquet by its first bytes, or by its name if it cannot be read."""
    try:
        with file.path.open("rb") as raw:
            return raw.read(4) == b"PAR1" or file.path.name.lower().endswith(".parquet")
    except OSError:
        return file.path.name.lower().endswith(".parquet")


def lines_of(stream: IO[bytes], file: SourceFile) -> Iterator[bytes | None]:
    """Yield lines with their ends; None for one that is longer than `MAX_ROW_BYTES`, whose rest is skipped.

    Raises:
        DataError: the stream breaks off.
    """
    number = 0
    try:
        while line := stream.readline(MAX_ROW_BYTES):
            number += 1
            yield line if line.endswith(b"\n") or not _skip_line(stream) else None
    except STREAM_ERRORS as error:
        raise DataError(f"{file.shown}: breaks off after line {number}: {_reason(error)}") from error


def read_bytes(stream: IO[bytes], size: int, file: SourceFile) -> bytes:
    """Read a block.

    Raises:
        DataError: the stream breaks off.
    """
    try:
        return stream.read(size)
    except STREAM_ERRORS as error:
        raise DataError(f"{file.shown}: breaks off: {_reason(error)}") from error


def refuse_bomb(num_bytes: int, size_bytes: int, file: SourceFile) -> None:
    """Raise DataError if the decompressed size is implausible."""
    if num_bytes > BOMB_BYTES and num_bytes > BOMB_RATIO * size_bytes:
        raise DataError(
            f"{file.shown}: {size_bytes:,} bytes unpack to more than {num_bytes:,}: at most {BOMB_RATIO} times its "
            "size is read"
        )


class _Metered(io.RawIOBase):
    """Decompressed bytes, counted against the size of the file."""

    def __init__(self, inner: IO[bytes], file: SourceFile) -> None:
        self._inner = inner
        self._file = file
        self._size_bytes = os.path.getsize(file.path)
        self._num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._inner.read(len(buffer))
        buffer[: len(block)] = block
        self._num_bytes += len(block)
        refuse_bomb(self._num_bytes, self._size_bytes, self._file)
        return len(block)

    def close(self) -> None:
        self._inner.close()
        super().close()


def _packing(file: SourceFile, head: bytes) -> Kind | None:
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    named = _ENDINGS.get(file.path.suffix.lower())
    if named is not None and kind is None and head and head.lstrip()[:1] not in (b"{", b"[", b'"'):
        raise DataError(f"{file.shown}: is not compressed by {named}, as its name says")
    return kind


def _unpacked(file: SourceFile, kind: Kind | None) -> IO[bytes]:
    if kind == "xz":
        return lzma.open(file.path)
    if kind is None:
        return file.path.open("rb", buffering=1 << 18)
    return pa.input_stream(str(file.path), compression=kind)  # type: ignore[no-any-return]


def _refuse_foreign(stream: IO[bytes], file: SourceFile) -> None:
    """Skip a UTF-8 byte order mark; refuse other encodings and binary files."""
    head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]  # type: ignore[attr-defined]
    if head.startswith(BOM):
        stream.read(len(BOM))
        return
    encoding = next((name for mark, name in _ENCODINGS if head.startswith(mark)), None) or _wide(head)
    if encoding is not None:
        raise DataError(f"{file.shown}: is not UTF-8 but {encoding}; `iconv -f {encoding} -t UTF-8` converts it")
    if foreign := next((what for magic, what in _FOREIGN if head.startswith(magic)), None):
        raise DataError(f"{file.shown}: is {foreign}")


def _wide(head: bytes) -> str | None:
    """Return the encoding of text with characters of two or four bytes and without byte order mark."""
    if len(head) < 8 or b"\0" not in head[:4]:
        return None
    zeros = tuple(byte == 0 for byte in head[:8])
    patterns: dict[tuple[bool, ...], str] = {
        (False, True) * 4: "UTF-16LE",
        (True, False) * 4: "UTF-16BE",
        (False, True, True, True) * 2: "UTF-32LE",
        (True, True, True, False) * 2: "UTF-32BE",
    }
    return patterns.get(zeros)


def _skip_line(stream: IO[bytes]) -> bool:
    """Skip the rest of a line; tell whether there was any."""
    is_longer = False
    while rest := stream.readline(MAX_ROW_BYTES):
        is_longer = True
        if rest.endswith(b"\n"):
            break
    return is_longer


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
