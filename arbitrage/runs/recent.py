"""Small files of a run that this process has just written or read, decoded: the next step need not read them again.

Bounded, so memory does not grow with the run. A file that was replaced or changed since has another inode or another
time and is read, and so checked, again.
"""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from arbitrage.errors import StorageError
from arbitrage.runs.paths import AnyPath, StorePath, why

T = TypeVar("T")

Identity = tuple[int, int, int, int, int]


def identity_of(path: AnyPath) -> Identity | None:
    """Return what a file has in common with itself only: None in a store, where it is read whole each time.

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
    """The values of the files that were used last. Safe for threads.

    Args:
        max_bytes: of all values together; a value larger than an eighth of it is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, tuple[Identity, T, int]] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def get(self, path: AnyPath, identity: Identity | None) -> T | None:
        """Return the value of a file, if it is held and the file is still the same."""
        with self._lock:
            found = self._held.get(str(path))
            if found is None or found[0] != identity:
                return None
            self._held.move_to_end(str(path))
            return found[1]

    def put(self, path: AnyPath, identity: Identity | None, value: T, size_bytes: int) -> None:
        """Hold the value of a file; what was used longest ago goes."""
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
