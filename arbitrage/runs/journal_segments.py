"""A journal in an object store, which cannot append: lines are collected and written as a sequence of objects."""

import threading
import time

from arbitrage.errors import StorageError
from arbitrage.runs.crash import crash_point
from arbitrage.runs.paths import StorePath

SEGMENT_EVERY_S = 2.0
"""Maximum time lost when a machine dies. Each segment is a paid request: 1,800 per hour and shard."""

FIRST_AFTER_S = 0.05
"""The first two segments are written at once: they name the items sent to the engine, which may crash the process."""

SEGMENT_BYTES = 1 << 20


class SegmentWriter:
    """Collects lines; a thread writes them as whole objects, `<attempt>-00001.jsonl`, `<attempt>-00002.jsonl`, …

    A line is durable once its segment is written; lines collected since the last one are lost if this process dies.
    """

    def __init__(self, directory: StorePath, attempt: int) -> None:
        self._directory, self._attempt, self._num_there = directory, attempt, 0
        self._gathered = bytearray()
        self._error: StorageError | None = None
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._upload, name="journal", daemon=True)
        self._thread.start()

    @property
    def first(self) -> str | None:
        """Name of the first segment, once it is written."""
        return self._name(1) if self._num_there else None

    def write(self, data: bytes) -> None:
        """Add a line. Raises StorageError if the store refused an earlier one."""
        with self._changed:
            self._raise()
            self._gathered += data
            self._changed.notify()

    def close(self) -> None:
        """Write the remaining lines and wait for them."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise StorageError(str(self._error)) from self._error

    def _upload(self) -> None:
        not_before = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._gathered or self._is_closing)
                deadline = max(not_before, time.monotonic() + FIRST_AFTER_S)
                while not self._is_full() and (left := deadline - time.monotonic()) > 0:
                    self._changed.wait(left)
                segment, self._gathered = bytes(self._gathered), bytearray()
                is_last = self._is_closing
            if self._num_there:  # the first may hold only the beginning of the attempt; requests are sent after it
                not_before = time.monotonic() + SEGMENT_EVERY_S
            if segment:
                crash_point("journal.sync")
                try:
                    (self._directory / self._name(self._num_there + 1)).write_bytes(segment)
                except StorageError as error:
                    self._error = error
                    return
                self._num_there += 1
            if is_last:
                return

    def _name(self, number: int) -> str:
        return f"{self._attempt:05d}-{number:05d}.jsonl"

    def _is_full(self) -> bool:
        return self._is_closing or len(self._gathered) >= SEGMENT_BYTES
