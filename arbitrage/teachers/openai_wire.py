"""HTTP with OpenAI-compatible endpoints: how a request is sent, and what becomes of one that breaks on the way.

Spoken by ourselves: aiohttp's client took two thirds of all time spent on an answer (docs/decisions/0010).
"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlsplit

from arbitrage.teachers.http_answer import AnswerError
from arbitrage.teachers.http_connection import Connection, Host, connect
from arbitrage.teachers.openai import OpenAIEngine

_CONNECT_S = 30.0
_KEPT_ALIVE_S = 15.0
"""A connection idle for longer is not used again: servers close theirs after 5 s to a minute."""


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


class Wire:
    """Keeps connections to a teacher's endpoints. Belongs to one event loop; the limiters limit how many."""

    def __init__(self, config: OpenAIEngine, headers: Mapping[str, str]) -> None:
        self._timeout_s, self._stall_timeout_s = config.timeout_s, config.stall_timeout_s
        self._headers = dict(headers)
        self._targets: dict[tuple[str, str], _Target] = {}
        self._idle: defaultdict[Host, list[Connection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None

    async def send(self, method: Literal["GET", "POST"], url: str, body: bytes = b"") -> Reply:
        """Send a request and read the answer.

        Raises:
            Trouble: `unreachable`, `stale`, `fault`, `timeout` or `no_access`.
        """
        target = self._target(method, url)
        connection = self._kept_alive(target.host)
        is_reused = connection is not None
        started = asyncio.get_running_loop().time()
        if connection is None:
            connection = await self._connect(target.host)
        left_s = self._timeout_s - (asyncio.get_running_loop().time() - started)
        try:
            answer = await connection.exchange(target.request(body), left_s, self._stall_timeout_s)
            if connection.is_open:
                self._idle[target.host].append(connection)
            content = answer.body()
        except TimeoutError as error:
            raise Trouble("timeout", "no answer in time") from error
        except AnswerError as error:
            raise Trouble("fault", str(error)) from error
        except ConnectionError as error:
            if is_reused and not connection.has_head:
                raise Trouble("stale", f"a kept-alive connection was closed ({error})") from error
            raise Trouble("fault", f"the connection broke ({error})") from error
        head = answer.head
        assert head is not None
        return Reply(head.status, content, head.text(b"retry-after"), head.text(b"date"))

    def close(self) -> None:
        """Close the connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def _target(self, method: str, url: str) -> "_Target":
        if (method, url) not in self._targets:
            if self._tls is None and url.startswith("https:"):
                self._tls = ssl.create_default_context()
            self._targets[method, url] = _target(method, url, self._headers, self._tls)
        return self._targets[method, url]

    def _kept_alive(self, host: Host) -> Connection | None:
        """Return the connection that was used last, if it still is a good one."""
        idle = self._idle[host]
        now = asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            if connection.is_open and now - connection.idle_since < _KEPT_ALIVE_S:
                return connection
            connection.close()
        return None

    async def _connect(self, host: Host) -> Connection:
        try:
            async with asyncio.timeout(min(_CONNECT_S, self._timeout_s)):
                return await connect(host)
        except ssl.SSLCertVerificationError as error:
            raise Trouble("no_access", "shows a certificate that is not trusted") from error
        except TimeoutError as error:
            raise Trouble("unreachable", "no connection in time") from error
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Trouble("unreachable", f"no connection ({why})") from error


@dataclass(frozen=True, slots=True)
class _Target:
    """Where requests go, and what each begins with."""

    host: Host
    beginning: bytes

    def request(self, body: bytes) -> bytes:
        if not body:
            return self.beginning + b"\r\n"
        return b"%bContent-Length: %d\r\n\r\n%b" % (self.beginning, len(body), body)


def _target(method: str, url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> _Target:
    parts = urlsplit(url)
    name = (parts.hostname or "").encode("idna").decode("ascii")
    usual = 443 if parts.scheme == "https" else 80
    port = parts.port or usual
    shown = f"[{name}]" if ":" in name else name
    usually = {
        "Host": shown if port == usual else f"{shown}:{port}",
        "User-Agent": "arbitrage",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "Content-Type": "application/json",
    }
    given = {header.lower() for header in headers}
    lines = {header: value for header, value in usually.items() if header.lower() not in given} | dict(headers)
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~") or "/"
    said = [f"{method} {path} HTTP/1.1", *(f"{header}: {value}" for header, value in lines.items()), ""]
    return _Target(Host(name, port, tls if usual == 443 else None), "\r\n".join(said).encode("utf-8"))
