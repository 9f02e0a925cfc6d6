"""HTTP with OpenAI-compatible endpoints: how a request is sent, and what becomes of one that breaks on the way."""

import asyncio
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from arbitrage.teachers.openai import OpenAIEngine

_CONNECT_S = 30.0
_MAX_BODY_BYTES = 64 * 2**20
"""No answer is that long: 128 k tokens with their log-probabilities take about 15 MB."""

_SAID_ALWAYS = {
    hdrs.USER_AGENT: "arbitrage",
    hdrs.ACCEPT: "application/json",
    hdrs.ACCEPT_ENCODING: "gzip",
    hdrs.CONTENT_TYPE: "application/json",
}


class Trouble(Exception):
    """No answer.

    Attributes:
        kind: `unreachable`: no connection. `stale`: a kept-alive connection that the server had closed meanwhile.
            `busy`: it says "not now". `fault`: an error inside it, a connection that broke, an answer that makes no
            sense. `timeout`: it takes too long. `no_access`: it refuses us for good.
        wait_s: the pause it asks for, or None.
    """

    def __init__(
        self,
        kind: Literal["unreachable", "stale", "busy", "fault", "timeout", "no_access"],
        why: str,
        wait_s: float | None = None,
    ) -> None:
        super().__init__(why)
        self.kind = kind
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint answered."""

    status: int
    body: bytes
    retry_after: str | None
    date: str | None


@dataclass(slots=True)
class _Sent:
    """What became of a request."""

    is_reused: bool = True
    has_headers: bool = False


_SENT: ContextVar[_Sent] = ContextVar("_SENT")


class Wire:
    """Keeps connections to a teacher's endpoints. Made in the event loop it belongs to; the limiters limit how many.

    Headers, cookies and sockets are settled once for all requests: a tenth less processor time for each.
    """

    def __init__(self, config: OpenAIEngine, headers: Mapping[str, str]) -> None:
        self._stall_timeout_s = config.stall_timeout_s
        said = CIMultiDict(_SAID_ALWAYS)
        said.update(headers)
        self._session = aiohttp.ClientSession(
            headers=said,
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_open_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=config.timeout_s, connect=None, sock_connect=_CONNECT_S),
        )

    async def send(self, method: Literal["GET", "POST"], url: URL, body: bytes | None = None) -> Reply:
        """Send a request and read the answer.

        Raises:
            Trouble: `unreachable`, `stale`, `fault`, `timeout` or `no_access`.
        """
        sent = _Sent()
        _SENT.set(sent)
        try:
            data = None if body is None else aiohttp.BytesPayload(body)
            response = await self._session.request(method, url, data=data, allow_redirects=False)
            sent.has_headers = True
            try:  # a body read to its end has given its connection back
                content = await _read(response, self._stall_timeout_s)
            except BaseException:
                response.close()
                raise
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _trouble(error, sent) from error
        said = response.headers
        return Reply(response.status, content, said.get(hdrs.RETRY_AFTER), said.get(hdrs.DATE))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def _open_socket(address: tuple[Any, ...]) -> socket.socket:
    """Open a socket that finds out when its peer is gone, and note that this request needs a new connection.

    aiohttp's tracing says that too, but costs 6 % of a request.
    """
    if (sent := _SENT.get(None)) is not None:
        sent.is_reused = False
    opened = socket.socket(*address[:3])
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # an engine may think for minutes
    return opened


def _trouble(error: Exception, sent: _Sent) -> Trouble:
    name = type(error).__name__
    match error:
        case aiohttp.ConnectionTimeoutError():
            return Trouble("unreachable", "no connection in time")
        case aiohttp.ClientConnectorCertificateError():
            return Trouble("no_access", "shows a certificate that is not trusted")
        case aiohttp.ClientConnectorError():
            return Trouble("unreachable", f"no connection ({error.os_error.strerror or name})")
        case TimeoutError():
            return Trouble("timeout", "no answer in time")
        case aiohttp.ClientConnectionError() if sent.is_reused and not sent.has_headers:
            return Trouble("stale", f"a kept-alive connection was closed ({name})")
    return Trouble("fault", f"the connection broke ({name})")


async def _read(response: aiohttp.ClientResponse, stall_timeout_s: float) -> bytes:
    """Read a body piece by piece: endless ones and those that stall end here, not at the timeout of the whole."""
    if (response.content_length or 0) > _MAX_BODY_BYTES:
        raise _too_large()
    if response.content.is_eof():  # all of it has arrived, as with most: nothing to time
        body = response.content.read_nowait()
        if len(body) > _MAX_BODY_BYTES:  # it was compressed
            raise _too_large()
        return body
    pieces: list[bytes] = []
    size_bytes = 0
    while not response.content.at_eof():
        try:
            async with asyncio.timeout(stall_timeout_s) as clock:
                pieces.append(await response.content.readany())
        except TimeoutError as error:
            if clock.expired():
                raise Trouble("fault", f"the answer stopped half way for {stall_timeout_s:g} s") from error
            raise
        size_bytes += len(pieces[-1])
        if size_bytes > _MAX_BODY_BYTES:
            raise _too_large()
    return b"".join(pieces)


def _too_large() -> Trouble:
    return Trouble("fault", f"an answer of more than {_MAX_BODY_BYTES // 2**20} MB")
