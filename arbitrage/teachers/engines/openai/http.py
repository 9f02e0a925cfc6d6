"""HTTP requests to OpenAI-compatible endpoints, and the classification of connection problems."""

import errno
import io
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from arbitrage.teachers.engines.openai.active_clock import ActiveClock
from arbitrage.teachers.engines.openai.proxies import Proxy, proxy_for
from arbitrage.teachers.engines.openai.settings import EndpointSettings

_CONNECT_S = 30.0
_MAX_BODY_BYTES = 64 * 2**20
"""Maximum size of a response: 128 k tokens with log-probabilities take about 15 MB."""

_TCP_OPTIONS = {"TCP_USER_TIMEOUT": 15_000, "TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A peer is gone if it does not acknowledge data within 15 s (in ms), or four keep-alive probes while it computes (in
s). A server whose accept queue overflows leaves connections that look open from here."""

_NO_ISSUER = frozenset({18, 19, 20, 21})
"""OpenSSL's verify codes of a self-signed certificate, and of one with an unknown authority."""

_FIXED_HEADERS = {
    hdrs.USER_AGENT: "arbitrage",
    hdrs.ACCEPT: "application/json",
    hdrs.ACCEPT_ENCODING: "gzip",
    hdrs.CONTENT_TYPE: "application/json",
}


ProblemKind = Literal[
    "unreachable",
    "stale",
    "stood_still",
    "busy",
    "fault",
    "unfinished",
    "malformed",
    "timeout",
    "denied",
    "not_found",
    "no_access",
]
"""`unreachable`: no connection. `stale`: a kept-alive connection that the server had closed meanwhile.
`stood_still`: this process was suspended while it waited. `busy`: the endpoint is overloaded. `fault`: a server
error, or a connection that broke. `unfinished`: a response that may not be complete. `malformed`: a response that
cannot be read. `timeout`: it takes too long. `denied`, `not_found`: it refuses this request, or all. `no_access`: it
refuses all
requests permanently."""


class ConnectionProblem(Exception):
    """A request without a usable response.

    Attributes:
        kind: kind of the problem.
        wait_s: the pause that the endpoint requests, or None.
    """

    def __init__(self, kind: ProblemKind, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.kind = kind
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response of an endpoint."""

    status: int
    body: bytes
    retry_after: str | None = None
    date: str | None = None
    location: URL | None = None
    charset: str | None = None


@dataclass(slots=True)
class _Sent:
    """State of a request."""

    is_reused: bool = True
    has_headers: bool = False


_SENT: ContextVar[_Sent] = ContextVar("_SENT")


class HttpClient:
    """Keeps connections to a teacher's endpoints. Made in the event loop it belongs to; the limiters limit how many.

    Headers, cookies and sockets are prepared once for all requests, which saves a tenth of the processor time.
    """

    def __init__(self, config: EndpointSettings, headers: Mapping[str, str], clock: ActiveClock) -> None:
        self._config, self._clock = config, clock
        named = {URL(url).authority: proxy_for(url) for url in config.urls}
        self._proxies = {authority: proxy for authority, proxy in named.items() if proxy is not None}
        fixed = CIMultiDict(_FIXED_HEADERS)
        fixed.update(headers)
        self._session = aiohttp.ClientSession(
            headers=fixed,
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_open_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=_CONNECT_S),
        )

    async def send(
        self,
        method: Literal["GET", "POST"],
        url: URL,
        body: bytes | None = None,
        content_type: str | None = None,
        most_bytes: int = _MAX_BODY_BYTES,
    ) -> HttpResponse:
        """Send a request and read the response.

        Args:
            method: of HTTP.
            url: where to.
            body: of the request.
            content_type: of the body, where it is not JSON.
            most_bytes: a longer response is a fault.

        Raises:
            ConnectionProblem: `unreachable`, `stale`, `stood_still`, `fault`, `timeout` or `no_access`.
        """
        sent, still_s = _Sent(), self._clock.stood_still_s
        _SENT.set(sent)
        limit = self._clock.limit(self._config.timeout_s)
        try:
            async with limit:
                return await self._exchange(method, url, body, content_type, most_bytes, sent)
        except (aiohttp.ClientError, TimeoutError, ConnectionProblem) as error:
            if self._clock.stood_still_s > still_s:
                raise ConnectionProblem("stood_still", "this process was suspended meanwhile") from error
            if isinstance(error, ConnectionProblem):
                raise
            raise _problem_of(error, sent, self._proxies.get(url.authority)) from error

    async def _exchange(
        self,
        method: Literal["GET", "POST"],
        url: URL,
        body: bytes | None,
        content_type: str | None,
        most_bytes: int,
        sent: "_Sent",
    ) -> HttpResponse:
        data = None if body is None else _payload(body)
        more: dict[str, Any] = {}
        if self._proxies and (proxy := self._proxies.get(url.authority)):
            more = {"proxy": proxy.url, "proxy_auth": proxy.auth}
        if content_type is not None:
            more["headers"] = {hdrs.CONTENT_TYPE: content_type}
        response = await self._session.request(method, url, data=data, allow_redirects=False, **more)
        sent.has_headers = True
        try:  # a body read to its end has given its connection back
            content = await self._read(response, most_bytes)
        except BaseException:
            response.close()
            raise
        headers = response.headers
        return HttpResponse(
            response.status,
            content,
            headers.get(hdrs.RETRY_AFTER),
            headers.get(hdrs.DATE),
            _target(url, headers.get(hdrs.LOCATION)),
            response.charset,
        )

    async def _read(self, response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
        """Read a body piece by piece: endless or stalled ones end here, not at the timeout of the whole request."""
        if (response.content_length or 0) > most_bytes:
            raise _too_large(most_bytes)
        if response.content.is_eof():  # usually the whole body has arrived already
            body = response.content.read_nowait()
            if len(body) > most_bytes:  # it was compressed
                raise _too_large(most_bytes)
            return body
        pieces: list[bytes] = []
        size_bytes, stall_timeout_s = 0, self._config.stall_timeout_s
        while not response.content.at_eof():
            limit = self._clock.limit(stall_timeout_s)
            try:
                async with limit:
                    pieces.append(await response.content.readany())
            except TimeoutError as error:
                if limit.has_passed:
                    raise ConnectionProblem("fault", f"the response stalled for {stall_timeout_s:g} s") from error
                raise
            size_bytes += len(pieces[-1])
            if size_bytes > most_bytes:
                raise _too_large(most_bytes)
        return b"".join(pieces)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def _payload(body: bytes) -> aiohttp.Payload:
    """Return what aiohttp sends: of a long body, piece by piece."""
    return aiohttp.BytesPayload(body) if len(body) < 2**20 else aiohttp.BytesIOPayload(io.BytesIO(body))


def _open_socket(address: tuple[Any, ...]) -> socket.socket:
    """Open a socket with keep-alive probes, and note that this request needs a new connection.

    aiohttp's tracing shows new connections, too, but costs 6 % of a request.
    """
    if (sent := _SENT.get(None)) is not None:
        sent.is_reused = False
    opened = socket.socket(*address[:3])
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # an engine may compute for minutes
    for name, value in _TCP_OPTIONS.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has each
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
    return opened


_UNCONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)


def _problem_of(error: Exception, sent: _Sent, proxy: Proxy | None) -> ConnectionProblem:
    name = type(error).__name__
    if isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
    ):
        return _unconnected(error, f" through the proxy {proxy.url}" if proxy else "")
    if isinstance(error, OSError) and error.errno == errno.ETIMEDOUT and not sent.has_headers:
        return ConnectionProblem("stale", "the connection was never accepted")
    if isinstance(error, TimeoutError):
        return ConnectionProblem("timeout", "no response in time")
    if isinstance(error, aiohttp.ClientConnectionError) and sent.is_reused and not sent.has_headers:
        return ConnectionProblem("stale", f"a kept-alive connection was closed ({name})")
    return ConnectionProblem("fault", f"the connection broke ({name})")


def _unconnected(error: Exception, through: str) -> ConnectionProblem:
    name = type(error).__name__
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return ConnectionProblem("no_access", f"shows a certificate that is not trusted: {_untrusted(error)}")
        case aiohttp.ClientConnectorSSLError():
            why = str(getattr(error.os_error, "reason", None) or error.os_error.strerror or name)
            why = why.lower().replace("_", " ")
            return ConnectionProblem(
                "unreachable", f"no connection: TLS failed ({why}); does it speak plain http://?"
            )
        case aiohttp.ClientConnectorError() if error.os_error.errno in (errno.EMFILE, errno.ENFILE):
            return ConnectionProblem("busy", "no connection: this process may open no more files (see ulimit -n)")
        case aiohttp.ClientConnectorError():
            return ConnectionProblem(
                "unreachable", f"no connection{through} ({error.os_error.strerror or type(error).__name__})"
            )
        case aiohttp.ClientHttpProxyError() if error.status == 407:
            why = "name and password are missing or wrong"
            return ConnectionProblem("no_access", f"cannot be reached{through}, which answers 407: {why}")
        case aiohttp.ClientHttpProxyError():
            return ConnectionProblem("unreachable", f"no connection{through}, which answers {error.status}")
    return ConnectionProblem("unreachable", f"no connection in time{through}")


def _untrusted(error: aiohttp.ClientConnectorCertificateError) -> str:
    """Describe the problem of a certificate, in OpenSSL's words, and what to do."""
    found = error.certificate_error
    reason = str(getattr(found, "verify_message", "") or type(found).__name__).rstrip(".")
    if getattr(found, "verify_code", None) in _NO_ISSUER:
        return f"{reason}; if it is yours, name the file of its authority in the environment variable SSL_CERT_FILE"
    return reason


def _target(url: URL, location: str | None) -> URL | None:
    """Return the target of a redirect, without credentials and other secrets; None if it has none."""
    if not location:
        return None
    try:
        target = url.join(URL(location))
        return target.with_user(None).with_query(None).with_fragment(None) if target.host else None
    except ValueError:
        return None


def _too_large(most_bytes: int) -> ConnectionProblem:
    return ConnectionProblem("fault", f"a response of more than {most_bytes // 2**20} MB")
