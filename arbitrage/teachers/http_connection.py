"""One connection to an HTTP/1.1 server: one request at a time, each answer read to its end, then the next."""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import cast

import aiohappyeyeballs

from arbitrage.teachers.http_answer import AnswerError, AnswerReader

_NEXT_ADDRESS_AFTER_S = 0.25
"""A host's other address is tried beside the first after so long (RFC 8305)."""


@dataclass(frozen=True, slots=True)
class Host:
    """Who is connected to. `tls`: None for plain text."""

    name: str
    port: int
    tls: ssl.SSLContext | None


async def connect(host: Host) -> "Connection":
    """Connect. Raises OSError, of which `ssl.SSLError` is one."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
    sock = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_AFTER_S)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # an engine may think for minutes
        named = None if host.tls is None else host.name
        _, connection = await loop.create_connection(Connection, sock=sock, ssl=host.tls, server_hostname=named)
    except BaseException:
        sock.close()
        raise
    return connection


class Connection(asyncio.Protocol):
    """A connection, and the one exchange that may be under way on it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._stall_timeout_s = 0.0
        self._stall: asyncio.TimerHandle | None = None
        self.idle_since = 0.0
        """By the event loop's clock."""

    @property
    def is_open(self) -> bool:
        """Whether it can take a request."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def has_head(self) -> bool:
        """Whether the headers of the answer under way have arrived."""
        return self._reader is not None and self._reader.head is not None

    async def exchange(self, request: bytes, timeout_s: float, stall_timeout_s: float) -> AnswerReader:
        """Send a request and read its answer. Whatever interrupts that closes the connection.

        Args:
            request: head and body.
            timeout_s: for the whole answer.
            stall_timeout_s: between two of its pieces once its headers have arrived.

        Raises:
            TimeoutError: it takes too long.
            AnswerError: it makes no sense, is too large, or stopped half way.
            ConnectionError: the connection was closed or broke.
        """
        if not self.is_open:
            raise ConnectionResetError("closed meanwhile")
        assert self._transport is not None
        reader = self._reader = AnswerReader()
        arrived = self._arrived = self._loop.create_future()
        self._stall_timeout_s = stall_timeout_s
        clock = self._loop.call_later(timeout_s, self._fail, TimeoutError("no answer in time"))
        try:
            self._transport.write(request)
            await arrived
        except BaseException:
            self.close()
            raise
        finally:
            clock.cancel()
            self._watch(is_reading=False)
            self._arrived = None
        if reader.may_go_on:
            self._reader, self.idle_since = None, self._loop.time()
        else:
            self.close()
        return reader

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on; what comes unasked ends the connection."""
        if self._arrived is None or self._reader is None:
            self.close()
            return
        try:
            self._reader.feed(data)
        except AnswerError as error:
            self._fail(error)
            return
        if self._reader.is_complete:
            self._succeed()
        else:
            self._watch(is_reading=self.has_head)

    def eof_received(self) -> None:
        """Close our side too: a server that has nothing more to say will not answer."""

    def connection_lost(self, error: Exception | None) -> None:
        """End what was under way."""
        if self._reader is not None:
            self._reader.end()
            if self._reader.is_complete:
                self._succeed()
        self._fail(ConnectionResetError(type(error).__name__ if error else "closed by the server"))

    def _succeed(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_exception(error)

    def _watch(self, is_reading: bool) -> None:
        """Wait for the next piece of an answer whose headers are there, but not for ever."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if is_reading:
            stopped = AnswerError(f"the answer stopped half way for {self._stall_timeout_s:g} s")
            self._stall = self._loop.call_later(self._stall_timeout_s, self._fail, stopped)
