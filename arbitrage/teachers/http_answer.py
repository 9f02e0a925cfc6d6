"""Read one HTTP/1.1 answer from the bytes of a connection as they come (RFC 9112 §4, §6, §7). Knows no sockets."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MAX_BODY_BYTES = 64 * 2**20
"""No answer is that long: 128 k tokens with their log-probabilities take about 15 MB."""

_MAX_LINES_BYTES = 64 * 2**10
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;.*)?")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_NO_BODY = frozenset({204, 304})
_GZIP = 31
"""Window bits that make zlib read gzip (RFC 1952)."""


class AnswerError(Exception):
    """What came is no HTTP answer, or none that is taken."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers, names in lower case; the values of one that is repeated are joined by a comma."""

    status: int
    headers: Mapping[bytes, bytes]
    is_kept_alive: bool

    def text(self, name: bytes) -> str | None:
        """Return a header's value."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


class AnswerReader:
    """Takes pieces until the answer is complete.

    Attributes:
        head: status and headers, once they are there.
        is_complete: whether all of it is.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self.is_complete = False
        self._pending = b""
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._framing: Literal["sized", "chunked", "until_closed"] = "sized"
        self._left = 0  # of a sized body, or of the chunk
        self._expects: Literal["size", "data", "line_end", "trailer"] = "size"

    @property
    def may_go_on(self) -> bool:
        """Whether the connection can serve another request after this one."""
        kept_alive = self.head is not None and self.head.is_kept_alive
        return self.is_complete and kept_alive and self._framing != "until_closed" and not self._pending

    def feed(self, data: bytes) -> None:
        """Take a piece. Raises AnswerError."""
        self._pending += data
        if self.head is None and not self._read_head():
            return
        if self._framing == "chunked":
            self._read_chunks()
            return
        piece = self._pending if self._framing == "until_closed" else self._pending[: self._left]
        self._pending = self._pending[len(piece) :]
        self._left -= len(piece)
        self._add(piece)
        self.is_complete = self._framing == "sized" and not self._left

    def end(self) -> None:
        """Note that the connection was closed: where nothing else told its size, this ends the body."""
        self.is_complete = self.is_complete or (self.head is not None and self._framing == "until_closed")

    def body(self) -> bytes:
        """Return the body, unpacked. Raises AnswerError."""
        assert self.head is not None
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        coding = self.head.headers.get(b"content-encoding", b"identity").lower()
        if coding == b"identity":
            return body
        if coding not in (b"gzip", b"x-gzip"):
            raise AnswerError("an answer in a content coding that nobody asked for")
        return _unpacked(body)

    def _add(self, piece: bytes) -> None:
        self._size_bytes += len(piece)
        if self._size_bytes > MAX_BODY_BYTES:
            raise _too_large()
        if piece:
            self._pieces.append(piece)

    def _read_head(self) -> bool:
        """Read status and headers; pass over those of status 1xx, which announce the real ones."""
        while True:
            if not self._pending.startswith(b"HTTP/"[: len(self._pending)]):
                raise AnswerError("what answers does not speak HTTP")
            end = self._pending.find(b"\r\n\r\n")
            if end < 0:
                _require_short(self._pending)
                return False
            head = parse_head(self._pending[:end])
            self._pending = self._pending[end + 4 :]
            if head.status >= 200:
                self._begin_body(head)
                return True

    def _begin_body(self, head: Head) -> None:
        """Find out how the body's end will be known (RFC 9112 §6.3)."""
        self.head = head
        coding, size = head.headers.get(b"transfer-encoding"), head.headers.get(b"content-length")
        if head.status in _NO_BODY:
            return
        if coding is not None:
            if coding.strip().lower() != b"chunked":
                raise AnswerError("an answer in a transfer coding that nobody asked for")
            self._framing = "chunked"
        elif size is None:
            self._framing = "until_closed"
        else:
            if not _DIGITS.fullmatch(size):
                raise AnswerError("an answer whose length is no number")
            self._left = int(size)
            if self._left > MAX_BODY_BYTES:
                raise _too_large()

    def _read_chunks(self) -> None:
        data, at = self._pending, 0
        while not self.is_complete:
            if self._expects == "data":
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._add(piece)
                if self._left:
                    break
                self._expects = "line_end"
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            self._take_line(data[at:end])
            at = end + 2
        self._pending = data[at:]
        if not self.is_complete:
            _require_short(self._pending)

    def _take_line(self, line: bytes) -> None:
        """Take a line between chunks: the size of the next, the end of the last, or a trailer, which says nothing."""
        if self._expects == "trailer":
            self.is_complete = not line
        elif self._expects == "line_end":
            if line:
                raise AnswerError("a chunk that does not end where it should")
            self._expects = "size"
        else:
            found = _CHUNK_SIZE.fullmatch(line)
            if found is None:
                raise AnswerError("a chunk without a size")
            self._left = int(found[1], 16)
            self._expects = "data" if self._left else "trailer"


def parse_head(data: bytes) -> Head:
    """Read a status line and headers, without the empty line that ends them. Raises AnswerError."""
    first, *lines = data.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise AnswerError("an answer without a status")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name[-1:].isspace() or name[:1].isspace():
            raise AnswerError("a header that is none")
        name, value = name.lower(), value.strip()
        headers[name] = headers[name] + b", " + value if name in headers else value
    connection = headers.get(b"connection", b"").lower()
    is_kept_alive = b"close" not in connection if status[1] == b"1" else b"keep-alive" in connection
    return Head(int(status[2]), headers, is_kept_alive)


def _unpacked(body: bytes) -> bytes:
    try:
        reader = zlib.decompressobj(_GZIP)
        found = reader.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise AnswerError("an answer that cannot be unpacked") from error
    if len(found) > MAX_BODY_BYTES:
        raise _too_large()
    if not reader.eof:
        raise AnswerError("a packed answer that ends half way")
    return found


def _require_short(lines: bytes) -> None:
    if len(lines) > _MAX_LINES_BYTES:
        raise AnswerError("headers without end")


def _too_large() -> AnswerError:
    return AnswerError(f"an answer of more than {MAX_BODY_BYTES // 2**20} MB")
