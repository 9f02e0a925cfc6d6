"""Commit and read files so that a name which exists is complete.

On a disk: write beside, fsync, rename, fsync the directory. In an object store: write once, under the final name.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from arbitrage.errors import DataError, StorageError
from arbitrage.shards.place import Place, StorePath

TEMPORARY = "_tmp-"
COMPRESSION = "zstd"
COMPRESSION_LEVEL = 3


def commit_table(path: Place, table: pa.Table) -> None:
    """Write a table as Parquet (zstd 3, page index) under its final name.

    Raises:
        StorageError: the disk refused (full, read-only, gone); nothing is left under the final name.
    """
    with staged_table(path, table) as beside:
        publish(beside, path)


@contextmanager
def staged_table(path: Place, table: pa.Table) -> Iterator[Path]:
    """Write a table to a temporary file, for the caller to `publish`; what is not published is removed."""
    beside = temporary_beside(path)
    try:
        with storage_errors(path):
            beside.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, beside, **writer_options())
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def commit_json(path: Place, value: BaseModel) -> None:
    """Write a model as indented JSON under its final name. Raises StorageError like `commit_table`."""
    commit_bytes(path, (value.model_dump_json(indent=1) + "\n").encode())


def commit_bytes(path: Place, data: bytes) -> None:
    """Write a small file under its final name. Raises StorageError like `commit_table`."""
    if isinstance(path, StorePath):
        path.write_bytes(data)
        return
    beside = temporary_beside(path)
    try:
        with storage_errors(path):
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(data)
        publish(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def replace_json(path: Place, value: BaseModel) -> None:
    """Write a model as JSON in place of an older one; never half, but not durably: for what is soon outdated."""
    if isinstance(path, StorePath):
        path.write_bytes((value.model_dump_json() + "\n").encode())
        return
    beside = temporary_beside(path)
    with storage_errors(path):
        beside.write_text(value.model_dump_json() + "\n", encoding="utf-8")
        beside.replace(path)


def read_table(path: Place, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet file; `columns`: of these alone.

    Raises:
        DataError: it is missing or not Parquet.
    """
    try:
        if isinstance(path, StorePath):
            with path.open_input() as file:
                return pq.read_table(file, columns=columns)
        return pq.read_table(path, columns=columns, partitioning=None)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def count_rows(path: Place) -> int:
    """Return a file's number of rows, from its footer."""
    try:
        if isinstance(path, StorePath):
            with path.open_input() as file:
                return int(pq.read_metadata(file).num_rows)
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def file_digest(path: Path) -> str:
    """Return a digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=10)).hexdigest()


def writer_options() -> dict[str, object]:
    """Return the Parquet options shared by all writers."""
    return {"compression": COMPRESSION, "compression_level": COMPRESSION_LEVEL, "write_page_index": True}


def remove(path: Place) -> None:
    """Remove a file if it is there."""
    with storage_errors(path):
        path.unlink(missing_ok=True)


def publish(beside: Path, path: Place) -> None:
    """Give a finished, temporary file its final name, durably."""
    if isinstance(path, StorePath):
        path.upload(beside)
        return
    with storage_errors(path):
        _fsync(beside, os.O_RDONLY)
        beside.replace(path)
        _fsync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def temporary_beside(path: Place) -> Path:
    """Return a temporary name in the same directory, invisible to data set readers.

    For a store, an empty file of this machine that only its user can read; the caller removes it in any case.
    """
    if isinstance(path, StorePath):
        with storage_errors(path):
            descriptor, name = tempfile.mkstemp(prefix="arbitrage-", suffix=f"-{path.name}")
            os.close(descriptor)
        return Path(name)
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")


def remove_temporary(directory: Place, is_deep: bool = True) -> None:
    """Remove what killed processes left half-written in a directory, and unless told otherwise below it."""
    if isinstance(directory, StorePath):
        return  # nothing is ever half-written there
    for path in directory.glob(f"{'**/' if is_deep else ''}{TEMPORARY}*"):
        remove(path)


@contextmanager
def storage_errors(path: Place) -> Iterator[None]:
    """Translate an OSError into a StorageError that names the path."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
