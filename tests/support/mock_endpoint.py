"""A real HTTP server on loopback that speaks chat completions, and misbehaves as told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from benchmarks.endpoint import serve_beside as from_a_thread

Handler = Callable[[dict[str, Any], int], Awaitable[web.Response]]


@dataclass
class Endpoint:
    """The server's side of the story.

    Attributes:
        behaviour: answers a request body and its ordinal (of all requests, from 0).
        bodies: request bodies in order of arrival.
        headers: request headers in the same order.
        in_flight, most_in_flight: requests under way now, and at most.
    """

    behaviour: Handler
    base_url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self.behaviour(self.bodies[-1], len(self.bodies) - 1)
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def serve(behaviour: Handler, models: tuple[str, ...] = ("m",), port: int = 0) -> AsyncIterator[Endpoint]:
    """Serve on a port of 127.0.0.1, a free one by default."""
    endpoint = Endpoint(behaviour)

    async def list_models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name} for name in models]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", endpoint.handle)
    app.router.add_get("/v1/models", list_models)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    port = runner.addresses[0][1]
    endpoint.base_url = f"http://127.0.0.1:{port}/v1"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


@contextmanager
def serve_beside(behaviour: Handler) -> Iterator[Endpoint]:
    """Serve from another thread, for commands that run an event loop of their own."""
    endpoint = Endpoint(behaviour)

    async def record(body: dict[str, Any]) -> web.Response:
        endpoint.bodies.append(body)
        return await behaviour(body, len(endpoint.bodies) - 1)

    with from_a_thread(record) as endpoint.base_url:
        yield endpoint


def answer(text: str = "yes", **choice: Any) -> web.Response:
    """Return a well-formed chat completion."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": "x",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"} | choice],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    return web.json_response(body)


async def well_behaved(body: dict[str, Any], _: int) -> web.Response:
    """Echo the last message."""
    return answer(f"you said {body['messages'][-1]['content']}")


def after(first: Callable[[int], web.Response], times: int) -> Handler:
    """Respond with `first` for a number of requests, then normally."""

    async def behaviour(body: dict[str, Any], ordinal: int) -> web.Response:
        return first(ordinal) if ordinal < times else await well_behaved(body, ordinal)

    return behaviour


async def stalled(_: dict[str, Any], __: int) -> web.Response:
    """Never answer within a test."""
    await asyncio.sleep(30)
    return answer()
