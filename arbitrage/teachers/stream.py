"""Ask for many answers at once, at most so many in flight, and hand each on as it arrives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from arbitrage.contracts import GenerationRequest
from arbitrage.teachers.engine import Result


async def answer_all(
    requests: Sequence[GenerationRequest],
    ask: Callable[[GenerationRequest], Awaitable[Result]],
    max_in_flight: int,
) -> AsyncIterator[Result]:
    """Yield one result for each request, in order of arrival.

    Requests are taken up in order, a new one as soon as any is answered (no batch barrier). The first exception
    of `ask` ends the stream, and all that is in flight is cancelled; so it is when the reader stops early.
    """
    arrived: asyncio.Queue[Result | BaseException] = asyncio.Queue()
    todo = iter(requests)

    async def serve() -> None:
        try:
            for request in todo:
                arrived.put_nowait(await ask(request))
        except BaseException as error:
            arrived.put_nowait(error)
            raise

    tasks = [asyncio.create_task(serve()) for _ in range(min(max_in_flight, len(requests)))]
    try:
        for _ in requests:
            result = await arrived.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
