"""Remove the journals of complete shards, in batches, once the shards would survive a crash of the machine.

A shard is renamed into place without an fsync, which takes longer than a small shard itself; its journal stays until
a sync of the file system has written all shards of the batch. If the machine crashes before, the shard's size or
digest shows that it is incomplete, and it is made again from its journal: nothing is generated again.
"""

import threading
from collections.abc import Iterable

from arbitrage.runs.journal import remove_journal
from arbitrage.runs.layout import rejects_path, shard_path
from arbitrage.runs.lineage import read_stats
from arbitrage.runs.paths import AnyPath, StorePath
from arbitrage.runs.store import make_durable
from arbitrage.runs.verified import is_sound, mark_of

MAX_SHARDS, MAX_BYTES = 32, 1 << 22
"""Maximum number of complete shards with a journal: a journal is several times as large as its shard."""


class SpentJournals:
    """Journals that a worker no longer needs. Thread-safe."""

    def __init__(self) -> None:
        self._shards: list[tuple[AnyPath, int]] = []
        self._num_bytes = 0
        self._lock = threading.Lock()

    def add(self, directory: AnyPath, shard: int, size_bytes: int) -> bool:
        """Register a published shard; return whether it is time to call `remove`.

        Args:
            directory: of the step.
            shard: its number.
            size_bytes: of its file.
        """
        with self._lock:
            self._shards.append((directory, shard))
            self._num_bytes += size_bytes
            is_full = len(self._shards) >= MAX_SHARDS or self._num_bytes >= MAX_BYTES
        return is_full or isinstance(directory, StorePath)  # there it is durable, and its owner may be on any node

    def remove(self) -> None:
        """Make the shards durable, and remove their journals."""
        with self._lock:
            shards, self._shards, self._num_bytes = self._shards, [], 0
        _remove(shards)


def remove_spent(directory: AnyPath, shards: Iterable[int]) -> None:
    """Remove journals that another process left beside complete shards, except those of damaged shards."""
    _remove((directory, shard) for shard in shards if _is_complete(directory, shard))


def _is_complete(directory: AnyPath, shard: int) -> bool:
    stats = read_stats(directory, shard)
    if stats is None or not is_sound(shard_path(directory, shard), mark_of(stats)):
        return False  # the next plan sets it aside, and it is made again from its journal
    return stats.rejects is None or is_sound(rejects_path(directory, shard), stats.rejects)


def _remove(shards: Iterable[tuple[AnyPath, int]]) -> None:
    shards = tuple(shards)
    for directory in dict.fromkeys(directory for directory, _ in shards):
        make_durable(directory)
    for directory, shard in shards:
        remove_journal(directory, shard)
