"""Send requests concurrently, with a limit on those in flight, and yield each result as it arrives."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing, contextmanager
from itertools import islice
from typing import Any

from arbitrage.contracts.engines import GenerationRequest
from arbitrage.errors import TeacherError
from arbitrage.teachers.engines.engine import Result
from arbitrage.teachers.engines.openai.retry_lane import RetryLane

Arrivals = asyncio.Queue[asyncio.Task[Result] | None]
"""Requests that ended; None wakes the stream, because more may be sent."""


class Window:
    """Number of requests started at a time. One that waits for a retry makes room for another meanwhile.

    Args:
        size: maximum number of requests that are started and not waiting.
        most_waiting: maximum number of requests that wait for a retry: each holds some kilobytes.
        lane: order in which they are retried.
    """

    def __init__(self, size: int, most_waiting: int = 0, lane: RetryLane | None = None) -> None:
        self._size, self._most_waiting, self.lane = size, most_waiting, lane
        self._num_waiting = 0
        self.num_open = 0
        self.changed: Callable[[], None] = lambda: None

    def room(self) -> int:
        """Return how many more may be started."""
        return max(
            0,
            min(self._size - (self.num_open - self._num_waiting), self._size + self._most_waiting - self.num_open),
        )

    @contextmanager
    def stepped_out(self) -> Iterator[None]:
        """Make room for others while the block waits."""
        self._num_waiting += 1
        self.changed()
        try:
            yield
        finally:
            self._num_waiting -= 1


class Ending:
    """How the streams of one client end when its teacher is given up: requests in flight are completed first.

    Args:
        give_up: called to let all requests fail that are not in flight.
        within_s: maximum time to wait for requests in flight.
    """

    def __init__(self, give_up: Callable[[TeacherError], None], within_s: float) -> None:
        self.error: TeacherError | None = None
        self._give_up, self._within_s = give_up, within_s
        self._ends_at = 0.0
        self._streams: set[Arrivals] = set()
        self._drained = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether no stream is under way."""
        return not self._streams

    def enter(self, stream: Arrivals) -> None:
        """Begin a stream."""
        if not self._streams:
            self.error, self._drained = None, asyncio.Event()
        self._streams.add(stream)

    def leave(self, stream: Arrivals) -> None:
        """End a stream: it has yielded all its results."""
        self._streams.discard(stream)
        if not self._streams:
            self._drained.set()

    def fail(self, error: TeacherError) -> None:
        """Give the teacher up."""
        if self.error is None:
            self.error, self._ends_at = error, time.monotonic() + self._within_s
            self._give_up(error)
            for stream in self._streams:
                stream.put_nowait(None)

    async def drained(self) -> None:
        """Wait until all streams have yielded the results in flight; the first failure must not cancel the others."""
        try:
            async with asyncio.timeout(self.left_s()):
                await self._drained.wait()
        except TimeoutError:
            return

    def left_s(self) -> float | None:
        """Return the time left for requests in flight; None while the teacher is not given up."""
        return None if self.error is None else max(0.0, self._ends_at - time.monotonic())


async def send_all(
    requests: Iterable[GenerationRequest],
    send: Callable[[GenerationRequest], Coroutine[Any, Any, Result]],
    max_in_flight: int,
) -> AsyncGenerator[Result, None]:
    """Yield one result for each request, in order of arrival.

    Requests are started in order, a new one as soon as the reader has stored a result and requests the next. So there
    is no batch barrier, and a crash loses only what is in flight. The first exception of `send` ends the stream and
    cancels everything in flight; so does a reader that stops early.
    """
    stream = _Stream(requests, send, Window(max_in_flight), None)
    async with aclosing(stream.results()) as results:
        async for result in results:
            yield result


async def send_all_draining(
    requests: Iterable[GenerationRequest],
    send: Callable[[GenerationRequest], Coroutine[Any, Any, Result]],
    window: Window,
    ending: Ending,
) -> AsyncGenerator[Result, None]:
    """Like `send_all`, but yield the results in flight before a TeacherError is raised.

    Args:
        requests: started in order.
        send: makes room in the window while it waits before it retries.
        window: of this stream alone.
        ending: of all streams of the client.
    """
    stream = _Stream(requests, send, window, ending)
    async with aclosing(stream.results()) as results:
        async for result in results:
            yield result


class _Stream:
    """One call of `generate`: its requests in flight and their results."""

    def __init__(
        self,
        requests: Iterable[GenerationRequest],
        send: Callable[[GenerationRequest], Coroutine[Any, Any, Result]],
        window: Window,
        ending: Ending | None,
    ) -> None:
        self._todo, self._ask = iter(requests), send
        self._window, self._ending = window, ending
        self._arrived: Arrivals = asyncio.Queue()
        self._under_way: set[asyncio.Task[Result]] = set()
        self._is_cut = self._is_exhausted = False
        window.changed = lambda: self._arrived.put_nowait(None)

    async def results(self) -> AsyncGenerator[Result, None]:
        """Yield the results as they arrive."""
        if self._ending is not None:
            self._ending.enter(self._arrived)
        if self._window.lane is not None:
            self._window.lane.fresh_begin()
        try:
            self._take_up()
            while self._under_way:
                result = await self._next()
                if result is not None:
                    yield result
                self._take_up()
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            self._exhausted()
            if self._ending is not None:
                self._ending.leave(self._arrived)
        if self._ending is not None and self._ending.error is not None and self._is_cut:
            await self._ending.drained()
            raise self._ending.error

    def _take_up(self) -> None:
        if self._ending is not None and self._ending.error is not None:
            self._is_cut = True
            self._exhausted()
            return
        num_before, room = self._window.num_open, self._window.room()
        for request in islice(self._todo, room):
            task = asyncio.create_task(self._ask(request))
            task.add_done_callback(self._arrived.put_nowait)
            self._under_way.add(task)
            self._window.num_open += 1
        num_new = self._window.num_open - num_before
        if self._window.lane is not None:
            self._window.lane.fresh_sent(num_new)
        if num_new < room:
            self._exhausted()

    def _exhausted(self) -> None:
        """Note, once, that there are no more fresh requests."""
        if not self._is_exhausted and self._window.lane is not None:
            self._window.lane.fresh_end()
        self._is_exhausted = True

    async def _next(self) -> Result | None:
        """Return the next result; None if there is none, but maybe room for more requests."""
        try:
            task = await self._arrival()
        except TimeoutError:  # do not wait longer for requests in flight
            for late in self._under_way:
                late.cancel()
            self._under_way.clear()
            return None
        if task is None:
            return None
        self._under_way.remove(task)
        self._window.num_open -= 1
        try:
            return task.result()
        except TeacherError as error:
            if self._ending is None:
                raise
            self._ending.fail(error)
            return None

    async def _arrival(self) -> asyncio.Task[Result] | None:
        if self._ending is None or self._ending.error is None:
            return await self._arrived.get()
        return await asyncio.wait_for(self._arrived.get(), self._ending.left_s())
