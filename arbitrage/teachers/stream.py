"""Ask for many answers at once, at most so many in flight, and hand each on as it arrives."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from itertools import islice
from typing import Any

from arbitrage.contracts.engines import GenerationRequest
from arbitrage.teachers.engine import Result


async def answer_all(
    requests: Iterable[GenerationRequest],
    ask: Callable[[GenerationRequest], Coroutine[Any, Any, Result]],
    max_in_flight: int,
) -> AsyncGenerator[Result, None]:
    """Yield one result for each request, in order of arrival.

    Requests are taken up in order, a new one as soon as the reader has kept an answer and comes for the next: there
    is no batch barrier, and no more is lost with the process than what is in flight. The first exception of `ask`
    ends the stream, and all that is in flight is cancelled; so it is when the reader stops early.
    """
    arrived: asyncio.Queue[asyncio.Task[Result]] = asyncio.Queue()
    under_way: set[asyncio.Task[Result]] = set()
    todo = iter(requests)

    def take_up(most: int) -> None:
        for request in islice(todo, most):
            task = asyncio.create_task(ask(request))
            task.add_done_callback(arrived.put_nowait)
            under_way.add(task)

    try:
        take_up(max_in_flight)
        while under_way:
            task = await arrived.get()
            under_way.remove(task)
            yield task.result()
            take_up(1)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
