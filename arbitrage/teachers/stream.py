"""Ask for many answers at once, at most so many in flight, and hand each on as it arrives."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from itertools import islice

from arbitrage.contracts.engines import GenerationRequest
from arbitrage.teachers.engine import Result

_DONE = object()


async def answer_all(
    requests: Iterable[GenerationRequest],
    ask: Callable[[GenerationRequest], Awaitable[Result]],
    max_in_flight: int,
) -> AsyncGenerator[Result, None]:
    """Yield one result for each request, in order of arrival.

    Requests are taken up in order, a new one as soon as any is answered (no batch barrier). The first exception
    of `ask` ends the stream, and all that is in flight is cancelled; so it is when the reader stops early.
    """
    arrived: asyncio.Queue[object] = asyncio.Queue()
    todo = iter(requests)

    async def serve(request: GenerationRequest | None) -> None:
        try:
            while request is not None:
                arrived.put_nowait(await ask(request))
                request = next(todo, None)
            arrived.put_nowait(_DONE)
        except BaseException as error:
            arrived.put_nowait(error)
            raise

    tasks = [asyncio.create_task(serve(request)) for request in islice(todo, max_in_flight)]
    num_serving = len(tasks)
    try:
        while num_serving:
            result = await arrived.get()
            if result is _DONE:
                num_serving -= 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result  # type: ignore[misc]  # what `ask` returned
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
