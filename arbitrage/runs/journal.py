"""The journal of a shard under way: every answer durable as it arrives, so a killed run loses what was in flight.

    <run>/<step>-<fingerprint>/_journal/shard-00007/00001.jsonl         one file for each attempt
    <run>/<step>-<fingerprint>/_journal/shard-00007/00001-00001.jsonl   in a store, one for each segment of it

An attempt is a file of lines, each a JSON object:

    {"begin": {"died": false}}           whether the last attempt's engine died
    {"alone": [id, …]}                   from here on, these are sent with nothing else in flight
    {"take": id}                         the item is handed to the engine
    {"row": {…}}  {"reject": {…}}        its answer

and each with two more keys at its end: "of", a digest of what the shard is made from, and "crc", the CRC-32 of the
line before it. So every line stands for itself: a line that was changed by as little as a bit is dropped, counted,
and its item sent again, and the others stay. A crash can tear the last line of a file; that is no damage.

The attempt with the highest number owns the shard. One that is thought dead and is not, beyond a network that is cut
or under a driver that was killed, finds a newer file beside its own, or its own gone, and stops (`require_newest`).
"""

import asyncio
import errno
import json
import os
import re
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from arbitrage.errors import OvertakenError, StorageError
from arbitrage.records import Record, Reject
from arbitrage.runs.crash import crash_point
from arbitrage.runs.journal_segments import SegmentWriter
from arbitrage.runs.layout import digest_json, journal_directory
from arbitrage.runs.paths import AnyPath, StorePath, names_in, open_unlinked, require_no_links, why
from arbitrage.runs.quarantine import Quarantine
from arbitrage.runs.store import remove, storage_errors
from arbitrage.tables import unwritable

SYNC_EVERY_S = 0.02
"""Answers that arrive within this time share one fsync."""

LOOK_EVERY_S, LOOK_IN_STORE_EVERY_S = 1.0, 10.0
"""How often an attempt looks whether it has been overtaken; in a store each look is a request, paid for."""

MAX_LINE_BYTES = 1 << 28
"""No answer is longer; a file that is one long line is not read into memory at once."""

_ROW, _REJECT = '{"row":', '{"reject":'
_CRC = b'","crc":"%08x"}\n'
_CRC_BYTES = len(_CRC % 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPT = re.compile(r"[0-9]{5,9}(-[0-9]{5,9})?\.jsonl")


class Journal:
    """One attempt at a shard, on top of what earlier ones left.

    Attributes:
        settled: item id → its row or Reject.
        quarantine: what an engine died on.
        num_damaged: lines of earlier attempts that were dropped.
    """

    def __init__(self, directory: AnyPath, shard: int, record: type[Record], made_from: Mapping[str, str]) -> None:
        self.settled: dict[str, Record] = {}
        self.quarantine = Quarantine()
        self.num_damaged = 0
        self._record = record
        self._of = digest_json(dict(made_from))
        self._directory = journal_directory(directory, shard)
        self._file: _LineWriter | None = None
        self._first: str | None = None  # name of its first file, once it is closed
        self._number = 0
        self._opened_at = 0.0

    def open(self, died: bool) -> None:
        """Begin an attempt, on top of what earlier ones left; `died`: the last ended with the death of its engine."""
        self._start(died)  # first: an older one that lives on is overtaken from here, and what it has is read below
        self.replay()
        self.quarantine.begin(self.settled, died)

    def replay(self) -> None:
        """Read what earlier attempts left. Answers made from other inputs than today's are passed over."""
        earlier = [path for path in attempts(self._directory) if _attempt_of(path) != self._number]
        for _, files in groupby(earlier, key=_attempt_of):
            for line in _lines(files):
                if (noted := _verified(line)) is None:
                    self.num_damaged += 1
                elif noted.of == self._of:
                    self._replay(noted.text)

    def _start(self, died: bool) -> None:
        self._number = max(map(_attempt_of, attempts(self._directory)), default=0) + 1
        begin = self._line(_text({"begin": {"died": died}}))
        self._file = _open_attempt(self._directory, self._number, begin)
        self._opened_at = time.monotonic()

    def alone(self, item_ids: Sequence[str]) -> None:
        """Note that these items are sent with nothing else in flight."""
        self.quarantine.alone(item_ids)
        self._write(_text({"alone": list(item_ids)}))

    def take(self, item_id: str) -> None:
        """Note that an item is handed to the engine."""
        self.quarantine.take(item_id)
        self._write(f'{{"take":"{item_id}"')

    def settle(self, item_id: str, answer: Record) -> None:
        """Note an item's row or Reject.

        Raises:
            StorageError: the disk refused.
        """
        self.settled[item_id] = answer
        prefix = _REJECT if isinstance(answer, Reject) else _ROW
        self._write(f"{prefix}{answer.model_dump_json()}")
        crash_point("journal.append")

    @property
    def look_every_s(self) -> float:
        """How often to call `require_newest` while answers arrive."""
        return LOOK_IN_STORE_EVERY_S if isinstance(self._directory, StorePath) else LOOK_EVERY_S

    @property
    def is_look_due(self) -> bool:
        """Whether so long has passed since it was opened."""
        return time.monotonic() - self._opened_at > self.look_every_s

    def require_newest(self) -> None:
        """Refuse to go on where another attempt has begun after this one, or has finished the shard.

        Raises:
            OvertakenError: so it is.
            StorageError: the directory cannot be listed.
        """
        found = attempts(self._directory)
        first = self._file.first if self._file is not None else self._first
        is_gone = first is not None and first not in {path.name for path in found}
        if is_gone or max(map(_attempt_of, found), default=0) > self._number:
            raise OvertakenError(
                f"{self._directory}: attempt {self._number} has been overtaken by another and publishes nothing"
            )

    def close(self) -> None:
        """Wait until everything is durable."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()
            self._first = file.first

    def _write(self, text: str) -> None:
        """Write a JSON object that lacks its end."""
        assert self._file is not None, "open() comes first"
        self._file.write(self._line(text))

    def _line(self, text: str) -> bytes:
        body = f'{text},"of":"{self._of}'.encode()
        return body + _CRC % zlib.crc32(body)

    def _replay(self, text: bytes) -> None:
        """Take in a line whose checksum holds: whoever wrote it, it is a line of this kind, or it is dropped."""
        for prefix, record in ((_ROW, self._record), (_REJECT, Reject)):
            if text.startswith(prefix.encode()):
                try:
                    answer: Record = record.model_validate_json(text[len(prefix) :])
                except ValidationError:
                    answer = None  # type: ignore[assignment]
                if answer is None or unwritable(answer) is not None:
                    self.num_damaged += 1
                    return
                self.settled[item_id_of(answer)] = answer
                return
        noted = _object(text + b"}")
        if isinstance(begin := noted.get("begin"), dict):
            self.quarantine.begin(self.settled, died=bool(begin.get("died")))
        elif isinstance(alone := noted.get("alone"), list):
            self.quarantine.alone([str(item_id) for item_id in alone])
        elif isinstance(taken := noted.get("take"), str):
            self.quarantine.take(taken)
        else:
            self.num_damaged += 1


@contextmanager
def open_journal(
    directory: AnyPath, shard: int, record: type[Record], made_from: Mapping[str, str], died: bool
) -> Iterator[Journal]:
    """Open the journal of a shard for one attempt, earlier ones replayed.

    Args:
        directory: of the step.
        shard: its number.
        record: of its rows.
        made_from: digests of the shards it is made from: answers made from others do not count.
        died: whether the last attempt ended with the death of its engine.
    """
    journal = Journal(directory, shard, record, made_from)
    journal.open(died)
    try:
        yield journal
    finally:
        journal.close()


def remove_journal(directory: AnyPath, shard: int) -> None:
    """Remove all attempts at a shard: its file has taken their place."""
    folder = journal_directory(directory, shard)
    if isinstance(folder, StorePath):
        for path in attempts(folder):
            remove(path)
    elif folder.exists():
        for path in attempts(folder):
            remove(path)
        with storage_errors(folder):
            try:
                folder.rmdir()
            except OSError as error:  # an overtaken attempt has a file here, or removes the same
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                    raise


def has_journal(directory: AnyPath, shard: int) -> bool:
    """Whether an attempt at a shard has left anything."""
    return bool(names_in(journal_directory(directory, shard)))


def count_lines(directory: AnyPath) -> tuple[int, int]:
    """Return how many lines a shard's journal has, and how many of them are damaged."""
    num_lines = num_damaged = 0
    for _, files in groupby(attempts(directory), key=_attempt_of):
        for line in _lines(files):
            num_lines += 1
            num_damaged += _verified(line) is None
    return num_lines, num_damaged


def attempts(directory: AnyPath) -> list[AnyPath]:
    """List the files of a shard's journal, oldest first; files of other names are passed over."""
    if isinstance(directory, Path):
        require_no_links(directory.parent, [directory.name])
    with storage_errors(directory):
        return [directory / name for name in names_in(directory) if _ATTEMPT.fullmatch(name)]


def item_id_of(answer: Record) -> str:
    """Return the id of the item that a row or a Reject settles."""
    value: str = getattr(answer, answer.item_key)
    return value


class _LineWriter(Protocol):
    """Takes the lines of one attempt.

    Attributes:
        first: name of its first file, which is written once and never again; None where none is there yet.
    """

    @property
    def first(self) -> str | None: ...

    def write(self, data: bytes) -> None:
        """Take a line."""
        ...

    def close(self) -> None:
        """Return when all are durable."""
        ...


def _open_attempt(directory: AnyPath, number: int, first_line: bytes) -> _LineWriter:
    if isinstance(directory, StorePath):
        segments = SegmentWriter(directory, number)
        segments.write(first_line)
        return segments
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    return _Appender(directory / f"{number:05d}.jsonl", first_line)


def _text(line: Mapping[str, object]) -> str:
    """Return a JSON object without its end."""
    return json.dumps(line, separators=(",", ":")).removesuffix("}")


def _attempt_of(path: AnyPath) -> int:
    return int(path.name.partition(".")[0].partition("-")[0])


@dataclass(frozen=True, slots=True)
class _Noted:
    """A line whose checksum holds: the JSON object it holds, without its end, and the digest it is of."""

    text: bytes
    of: str


def _lines(files: Iterable[AnyPath]) -> Iterator[bytes]:
    """Yield the lines of one attempt; the last one, where a crash has torn it, is left out."""
    torn = b""
    for path in files:
        if torn:
            yield torn  # not at the attempt's end: damage
        torn = b""
        for line in _raw_lines(path):
            torn = b"" if line.endswith(b"\n") else line
            if not torn:
                yield line
        if torn and _verified(torn + b"\n") is not None:
            yield torn + b"\n"
            torn = b""


def _raw_lines(path: AnyPath) -> Iterator[bytes]:
    """Yield a file's lines with their ends, in pieces where they are longer than any that was written."""
    try:
        with BytesIO(path.read_bytes()) if isinstance(path, StorePath) else open_unlinked(path) as file:
            while line := file.readline(MAX_LINE_BYTES):
                yield line
    except FileNotFoundError:
        return  # removed since it was listed: by whoever finished the shard
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {why(error)}") from error


def _verified(line: bytes) -> _Noted | None:
    body, end = line[:-_CRC_BYTES], line[-_CRC_BYTES:]
    if end != _CRC % zlib.crc32(body):
        return None
    text, separator, of = body.rpartition(b',"of":"')
    return _Noted(text, of.decode()) if separator else None


class _Appender:
    """Writes within the event loop's turn, so that the death of this process loses nothing that was there before it.

    Lines of one turn share a write. A thread makes them survive the machine's death too; a shard that is done sooner
    than the first fsync is due needs none: closing does it.
    """

    def __init__(self, path: Path, first_line: bytes) -> None:
        self._path, self.first = path, path.name
        self._lines: list[bytes] = [first_line]
        self._error: OSError | None = None
        self._is_dirty, self._is_closing = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_thread_due = False
        with storage_errors(path):
            self._descriptor = os.open(path, _CREATE, 0o640)
        self._flush()
        self._raise()

    def write(self, line: bytes) -> None:
        """Raises StorageError where this or an earlier line could not be written."""
        self._raise()
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # no event loop
                self._start_thread()
                self._flush()
                self._raise()
                return
            loop.call_soon(self._flush)
            if not self._is_thread_due:
                self._is_thread_due = True
                loop.call_later(SYNC_EVERY_S, self._start_thread)

    def close(self) -> None:
        self._flush()
        with self._lock:
            self._is_closing.set()
        self._is_dirty.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is None:
            self._fsync()
        os.close(self._descriptor)
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise StorageError(f"{self._path}: cannot be written: {self._error.strerror}") from self._error

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        data = b"".join(lines)
        if not data or self._error is not None:
            return
        try:
            if os.write(self._descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._error = error
        self._is_dirty.set()

    def _start_thread(self) -> None:
        with self._lock:
            if self._thread is None and not self._is_closing.is_set():
                self._thread = threading.Thread(target=self._sync, name="journal", daemon=True)
                self._thread.start()

    def _sync(self) -> None:
        while not self._is_closing.is_set():
            self._is_dirty.wait()
            self._is_dirty.clear()
            self._fsync()
            if self._error is not None:
                return
            self._is_closing.wait(SYNC_EVERY_S)

    def _fsync(self) -> None:
        crash_point("journal.sync")
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system without fsync: nothing more can be promised
                self._error = error


def _object(line: bytes) -> dict[str, object]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
