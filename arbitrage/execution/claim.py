"""One driver for each run directory: a claim that ends with its process, and a token that shuts out stragglers.

A worker of a driver that is dead may live on for a moment. It carries the token of its own run, and before it
publishes a shard it looks whether that still stands in the directory. On a disk the claim is a lock of the operating
system; in an object store it is a lease (`lease`).
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arbitrage.errors import RunDirectoryError, StorageError
from arbitrage.execution.lease import LOCK_FILE, lease, read_lease
from arbitrage.shards.place import Place, StorePath, read_bytes, why


@contextmanager
def claim(run_dir: Place) -> Iterator[str]:
    """Hold the run directory for this process alone, and yield the token of this run.

    The hold ends with the process, however it ends; in an object store, a minute after it ended badly.

    Raises:
        RunDirectoryError: it cannot be written, or another process holds it.
        StorageError: the disk or the store refused.
    """
    session = f"{os.uname().nodename}:{os.getpid()}:{time.time_ns()}"
    if isinstance(run_dir, StorePath):
        with lease(run_dir, session):
            yield session
    else:
        with _lock(run_dir, session):
            yield session


@contextmanager
def _lock(run_dir: Path, session: str) -> Iterator[None]:
    try:
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        run_dir.mkdir(mode=0o750, exist_ok=True)  # prompts and answers are nobody else's business
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.fdopen(os.open(run_dir / LOCK_FILE, flags, 0o640), "a+", encoding="utf-8")
    except OSError as error:
        raise RunDirectoryError(f"{error.filename or run_dir}: cannot be written: {why(error)}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(run_dir)
            raise RunDirectoryError(f"{run_dir}: another process is running in it{holder}") from error
        except OSError as error:
            raise StorageError(f"{run_dir}: cannot be locked: {error.strerror or error}") from error
        try:
            lock.truncate(0)
            lock.write(session)
            lock.flush()
        except OSError as error:
            raise StorageError(f"{run_dir}: cannot be written: {error.strerror or error}") from error
        yield


def require_session(run_dir: Place, session: str) -> None:
    """Refuse to publish for a run that has lost its directory to another.

    Raises:
        RunDirectoryError: another run has taken over.
    """
    if session and (now := _read(run_dir)) != session:
        raise RunDirectoryError(
            f"{run_dir}: another run has taken over ({now or 'and ended'}); this worker publishes nothing more"
        )


def _holder(run_dir: Path) -> str:
    parts = _read(run_dir).split(":")
    return f" (process {parts[1]} on {parts[0]})" if len(parts) == 3 else ""


def _read(run_dir: Place) -> str:
    if isinstance(run_dir, StorePath):
        held = read_lease(run_dir)
        return held.token if held else ""
    try:
        return read_bytes(run_dir / LOCK_FILE).decode(errors="replace")
    except (FileNotFoundError, StorageError):
        return ""
