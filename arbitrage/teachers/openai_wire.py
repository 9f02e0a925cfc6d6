"""HTTP with an OpenAI-compatible endpoint: how a request is sent, and what becomes of one that breaks on the way."""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from pydantic_core import to_json
from yarl import URL

from arbitrage.teachers.openai import OpenAIEngine

_CONNECT_S = 30.0
_MAX_BODY_BYTES = 64 * 2**20
"""No answer is that long: 128 k tokens with their log-probabilities take about 15 MB."""


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


_JSON = {"Content-Type": "application/json"}

_SENT: ContextVar[_Sent] = ContextVar("_SENT")


class _Connector(aiohttp.TCPConnector):
    """Notes which requests needed a new connection; aiohttp's tracing, which says so too, costs 6 % of a request."""

    async def _create_connection(self, *about: Any) -> Any:
        if (sent := _SENT.get(None)) is not None:
            sent.is_reused = False
        return await super()._create_connection(*about)


def open_session(config: OpenAIEngine, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """Return a session for all endpoints of a teacher."""
    return aiohttp.ClientSession(
        headers=headers,
        connector=_Connector(limit=0),  # the limiters limit
        timeout=aiohttp.ClientTimeout(total=config.timeout_s, connect=None, sock_connect=_CONNECT_S),
    )


async def send(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    stall_timeout_s: float,
    body: Mapping[str, Any] | None = None,
) -> Reply:
    """Send a request and read the answer.

    Raises:
        Trouble: `unreachable`, `stale`, `fault`, `timeout` or `no_access`.
    """
    sent = _Sent()
    _SENT.set(sent)
    try:
        data = None if body is None else to_json(body)
        async with session.request(method, url, data=data, headers=_JSON, allow_redirects=False) as response:
            sent.has_headers = True
            content = await _read(response, stall_timeout_s)
            return Reply(response.status, content, response.headers.get("Retry-After"), response.headers.get("Date"))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _trouble(error, sent) from error


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
    too_large = f"an answer of more than {_MAX_BODY_BYTES // 2**20} MB"
    if (response.content_length or 0) > _MAX_BODY_BYTES:
        raise Trouble("fault", too_large)
    if response.content.is_eof():  # all of it has arrived, as with most: nothing to time
        body = await response.read()
        if len(body) > _MAX_BODY_BYTES:  # it was compressed
            raise Trouble("fault", too_large)
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
            raise Trouble("fault", too_large)
    return b"".join(pieces)
