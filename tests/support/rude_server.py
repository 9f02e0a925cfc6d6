"""A raw socket server on loopback that reads HTTP requests and answers with whatever bytes it is told to, or none."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Asked:
    """A request: its ordinal of all, and of those on its connection, both from 0."""

    ordinal: int
    on_connection: int


@dataclass
class RudeServer:
    """The server's side of the story."""

    base_url: str = ""
    asked: list[Asked] = field(default_factory=list)
    num_connections: int = 0


@asynccontextmanager
async def serve_rudely(answer: Answer) -> AsyncIterator[RudeServer]:
    """Serve on a free port of 127.0.0.1. A connection is closed when `answer` closes its writer."""
    story = RudeServer()
    open_writers: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        story.num_connections += 1
        open_writers.add(writer)
        num = 0
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:"))
                await reader.readexactly(size)
                story.asked.append(Asked(len(story.asked), num))
                num += 1
                await answer(story.asked[-1], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    story.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield story
    finally:
        server.close()
        for writer in open_writers:
            writer.transport.abort()
        await asyncio.sleep(0)


BODY = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}], "usage": {}}
).encode()


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: application/json", *headers, "", ""]).encode()


def whole(body: bytes = BODY) -> bytes:
    return head(f"Content-Length: {len(body)}") + body


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST instead of a FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
