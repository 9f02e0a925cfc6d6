"""The run lock: one driver for each run directory, and a token that stops workers of an earlier driver.

A worker of a dead driver may keep running for a moment. It has the token of its own run, and before it publishes a
shard it checks that the directory still holds that token. On a disk the lock is an operating system lock, which ends
with the process.

In an object store it is an object that its holder renews; an old one has expired. Two drivers that start at the same
moment may both find none and both write one; the later write wins. Each checks after SETTLE_S whether the object is
still its own, so both hold the directory only if a write takes longer than that, and then the token check before
publishing detects it. (S3 could refuse the second write by `If-None-Match`; pyarrow does not offer it.)
Ages are measured by the clocks of the machines, which must agree to within about ten seconds.

The object is rewritten while others read it, and reading takes two requests: the length, then that many bytes. So all
versions of one holder have the same length; otherwise a reader would now and then get one that is cut off.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from arbitrage.config import Config
from arbitrage.errors import RunDirectoryError, StorageError
from arbitrage.runs.paths import AnyPath, StorePath, read_bytes, why

LOCK_FILE = "_lock"
RENEW_EVERY_S = 10.0
STALE_AFTER_S = 60
SETTLE_S = 0.5
READ_TRIES = 3


class StoreLock(Config):
    """`_lock`. `renewed_at` in whole seconds since the epoch, which have as many digits tomorrow."""

    token: str
    host: str
    pid: int
    renewed_at: int


@contextmanager
def hold_store_lock(run_dir: StorePath, token: str) -> Iterator[None]:
    """Hold a run directory in an object store under this token.

    Raises:
        RunDirectoryError: there is no such bucket, or another process holds the directory.
        StorageError: the store cannot be reached, or refuses.
    """
    held = read_store_lock(run_dir)
    if held is not None and (age := time.time() - held.renewed_at) < STALE_AFTER_S:
        raise RunDirectoryError(
            f"{run_dir}: another process is running in it (process {held.pid} on {held.host}, last active "
            f"{max(age, 0):.0f} s ago); if it is dead, run again in {STALE_AFTER_S - age:.0f} s"
        )
    try:
        _write(run_dir, token)
    except StorageError:
        run_dir.require_bucket()  # only now, because credentials for a prefix may not be allowed to access the bucket
        raise
    time.sleep(SETTLE_S)
    if not _is_ours(run_dir, token):
        raise RunDirectoryError(f"{run_dir}: another process has just started in it")
    released = threading.Event()
    thread = threading.Thread(target=_renew, args=(run_dir, token, released), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        released.set()
        thread.join()
        if _is_ours(run_dir, token):
            (run_dir / LOCK_FILE).unlink(missing_ok=True)


def read_store_lock(run_dir: StorePath) -> StoreLock | None:
    """Return the current lease, however old, or None."""
    for _ in range(READ_TRIES):
        try:
            return StoreLock.model_validate_json((run_dir / LOCK_FILE).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            continue  # another holder's, of another length, was written meanwhile
    return None


def _renew(run_dir: StorePath, token: str, released: threading.Event) -> None:
    """Renew until released, or until another driver has taken the lock. If the store is unreachable, retry."""
    while not released.wait(RENEW_EVERY_S):
        try:
            if not _is_ours(run_dir, token):
                return  # this run's shards are refused when they are published
            _write(run_dir, token)
        except StorageError:
            continue


def _is_ours(run_dir: StorePath, token: str) -> bool:
    held = read_store_lock(run_dir)
    return held is not None and held.token == token


def _write(run_dir: StorePath, token: str) -> None:
    mine = StoreLock(token=token, host=os.uname().nodename, pid=os.getpid(), renewed_at=int(time.time()))
    (run_dir / LOCK_FILE).write_bytes((mine.model_dump_json() + "\n").encode())


@contextmanager
def hold_run_lock(run_dir: AnyPath) -> Iterator[str]:
    """Hold the run directory for this process, and yield the token of this run.

    The lock ends with the process; in an object store, up to a minute after a crash.

    Raises:
        RunDirectoryError: it cannot be written, or another process holds it.
        StorageError: the disk or the store refused.
    """
    session = f"{os.uname().nodename}:{os.getpid()}:{time.time_ns()}"
    if isinstance(run_dir, StorePath):
        with hold_store_lock(run_dir, session):
            yield session
    else:
        with _lock(run_dir, session):
            yield session


@contextmanager
def _lock(run_dir: Path, session: str) -> Iterator[None]:
    try:
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        run_dir.mkdir(mode=0o750, exist_ok=True)  # prompts and candidates are private
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


def require_session(run_dir: AnyPath, session: str) -> None:
    """Refuse to publish for a run whose directory has been taken over by another.

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


def _read(run_dir: AnyPath) -> str:
    if isinstance(run_dir, StorePath):
        held = read_store_lock(run_dir)
        return held.token if held else ""
    try:
        return read_bytes(run_dir / LOCK_FILE).decode(errors="replace")
    except (FileNotFoundError, StorageError):
        return ""
