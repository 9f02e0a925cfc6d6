"""Cache of small files that this process has just written or read, decoded, so that the next step need not read them.

The cache is bounded. A file that was replaced or changed has another inode or time, and is read and checked again.
"""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from arbitrage.errors import StorageError
from arbitrage.runs.paths import AnyPath, StorePath, why

T = TypeVar("T")

Identity = tuple[int, int, int, int, int]


def identity_of(path: AnyPath) -> Identity | None:
    """Return the identity of a file version (inode, size, times); None in a store.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it cannot be looked at.
    """
    if isinstance(path, StorePath):
        return None
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(str(path)) from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {why(error)}") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Recent(Generic[T]):
    """The values of the most recently used files. Thread-safe.

    Args:
        max_bytes: of all values together; a value larger than an eighth of it is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, tuple[Identity, T, int]] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def get(self, path: AnyPath, identity: Identity | None) -> T | None:
        """Return the cached value of a file, if the file is unchanged."""
        with self._lock:
            found = self._held.get(str(path))
            if found is None or found[0] != identity:
                return None
            self._held.move_to_end(str(path))
            return found[1]

    def put(self, path: AnyPath, identity: Identity | None, value: T, size_bytes: int) -> None:
        """Cache the value of a file; the least recently used ones are dropped."""
        with self._lock:
            self._drop(str(path))
            if identity is None or size_bytes > self._max_bytes // 8:
                return
            self._held[str(path)] = identity, value, size_bytes
            self._num_bytes += size_bytes
            while self._num_bytes > self._max_bytes:
                self._drop(next(iter(self._held)))

    def _drop(self, path: str) -> None:
        if (found := self._held.pop(path, None)) is not None:
            self._num_bytes -= found[2]
