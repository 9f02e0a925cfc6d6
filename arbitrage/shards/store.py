"""Commit and read files so that a name which exists is complete.

On a disk: write beside, fsync, rename, fsync the directory. In an object store: write once, under the final name.
"""

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from arbitrage.errors import DataError, StorageError
from arbitrage.shards.place import Place, StorePath, why

TEMPORARY = "_tmp-"
COMPRESSION = "zstd"
COMPRESSION_LEVEL = 3


def commit_table(path: Place, table: pa.Table) -> None:
    """Write a table as Parquet under its final name. Raises StorageError like `commit_bytes`."""
    commit_bytes(path, parquet_bytes(table))


def parquet_bytes(table: pa.Table, footer: Mapping[str, str] | None = None) -> pa.Buffer:
    """Return a table as a Parquet file (zstd 3, page index, page checksums): equal bytes for equal tables.

    Args:
        table: the rows.
        footer: put among the file's key-value metadata.
    """
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, **writer_options()) as writer:
        writer.write_table(table.combine_chunks())
        if footer:
            writer.add_key_value_metadata(dict(footer))
    return sink.getvalue()


def commit_json(path: Place, value: BaseModel) -> None:
    """Write a model as indented JSON under its final name. Raises StorageError like `commit_bytes`."""
    commit_bytes(path, (value.model_dump_json(indent=1) + "\n").encode())


def commit_bytes(path: Place, data: bytes | pa.Buffer, is_durable: bool = True) -> None:
    """Write a file under its final name.

    Args:
        path: the name.
        data: the whole content.
        is_durable: whether it must survive the death of the machine from here on.

    Raises:
        StorageError: the disk refused (full, read-only, gone); nothing is left under the final name.
    """
    with staged_bytes(path, data) as beside:
        publish_staged(beside, path, data, is_durable)


@contextmanager
def staged_bytes(path: Place, data: bytes | pa.Buffer) -> Iterator[Path | None]:
    """Write a temporary file, for the caller to publish; what is not published is removed. A store needs none."""
    if isinstance(path, StorePath):
        yield None
        return
    beside = temporary_beside(path)
    try:
        with storage_errors(path), open_new(beside) as file:
            file.write(data)
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def publish_staged(beside: Path | None, path: Place, data: bytes | pa.Buffer, is_durable: bool = True) -> None:
    """Give staged bytes their final name."""
    if isinstance(path, StorePath):
        path.write_bytes(data)
    else:
        assert beside is not None
        publish(beside, path, is_durable)


def replace_json(path: Place, value: BaseModel) -> None:
    """Write a model as JSON in place of an older one; never half, but not durably: for what is soon outdated."""
    commit_bytes(path, (value.model_dump_json() + "\n").encode(), is_durable=False)


def read_table(path: Place, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet file that is no shard of a run (those are checked: `verified`); `columns`: of these alone.

    Raises:
        DataError: it is missing or not Parquet.
    """
    try:
        if isinstance(path, StorePath):
            with path.open_input() as file:
                return pq.read_table(file, columns=columns)
        return pq.read_table(path, columns=columns, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def file_digest(path: Path) -> str:
    """Return a digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=10)).hexdigest()


def bytes_digest(data: bytes | pa.Buffer) -> str:
    """Return the digest that `file_digest` returns of a file with this content."""
    return hashlib.blake2b(data, digest_size=10).hexdigest()


def writer_options() -> dict[str, object]:
    """Return the Parquet options shared by all writers."""
    return {
        "compression": COMPRESSION,
        "compression_level": COMPRESSION_LEVEL,
        "write_page_index": True,
        "write_page_checksum": True,
    }


def remove(path: Place) -> None:
    """Remove a file if it is there."""
    with storage_errors(path):
        path.unlink(missing_ok=True)


def publish(beside: Path, path: Place, is_durable: bool = True) -> None:
    """Give a finished, temporary file its final name; durably, unless told otherwise."""
    if isinstance(path, StorePath):
        path.upload(beside)
        return
    with storage_errors(path):
        if is_durable:
            _fsync(beside, os.O_RDONLY)
        beside.replace(path)
        if is_durable:
            _fsync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def make_durable(directory: Place) -> None:
    """Return when everything written below a directory survives the death of the machine."""
    if isinstance(directory, StorePath):
        return
    with storage_errors(directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            syncfs = getattr(ctypes.CDLL(None), "syncfs", None)  # of Linux; one call for all files
            if syncfs is None or syncfs(descriptor) != 0:
                os.sync()
        finally:
            os.close(descriptor)


def temporary_beside(path: Place) -> Path:
    """Return a temporary name in the same directory, invisible to data set readers; for `open_new`.

    No two writers share one, also where processes on two machines have the same number. For a store, a name among
    this machine's temporary files; the caller removes the file in any case.
    """
    name = f"{os.getpid()}-{os.urandom(4).hex()}-{path.name}"
    if isinstance(path, StorePath):
        return Path(tempfile.gettempdir()) / f"arbitrage-{name}"
    return path.with_name(TEMPORARY + name)


def open_new(path: Path) -> BinaryIO:
    """Create a file and open it for writing; what stands there already, a link too, is not written through.

    Raises OSError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    mode = 0o600 if path.parent == Path(tempfile.gettempdir()) else 0o640
    try:
        descriptor = os.open(path, flags, mode)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, mode)
    return os.fdopen(descriptor, "wb")


def remove_temporary(directory: Place, is_deep: bool = True) -> None:
    """Remove what killed processes left half-written in a directory, and unless told otherwise below it."""
    if isinstance(directory, StorePath):
        return  # nothing is ever half-written there
    for path in directory.glob(f"{'**/' if is_deep else ''}{TEMPORARY}*"):
        if path.is_symlink() or path.is_file():
            remove(path)


@contextmanager
def storage_errors(path: Place) -> Iterator[None]:
    """Translate an OSError into a StorageError that names the path."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {why(error)}") from error


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
