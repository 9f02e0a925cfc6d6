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
"""Requests that ended; None wakes the stream, because there may be room for more."""


class Window:
    """How many requests are taken up at once. One that waits to be sent again makes room for another meanwhile.

    Args:
        size: requests taken up and not waiting, at most.
        most_waiting: requests that may wait beside them: each holds some kilobytes.
        lane: in which they come back.
    """

    def __init__(self, size: int, most_waiting: int = 0, lane: RetryLane | None = None) -> None:
        self._size, self._most_waiting, self.lane = size, most_waiting, lane
        self._num_waiting = 0
        self.num_open = 0
        self.changed: Callable[[], None] = lambda: None

    def room(self) -> int:
        """Return how many more may be taken up."""
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
    """How the streams of one client end when its teacher is given up: what is in flight is answered and handed on.

    Args:
        give_up: tell all requests that are not in flight that there is no more to wait for.
        within_s: wait no longer for what is in flight.
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
        """End a stream: it has handed on whatever it had."""
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
        """Wait until all streams have handed on what was in flight: who fails first must not cancel the others."""
        try:
            async with asyncio.timeout(self.left_s()):
                await self._drained.wait()
        except TimeoutError:
            return

    def left_s(self) -> float | None:
        """Return how long what is in flight is still waited for, None while the teacher is not given up."""
        return None if self.error is None else max(0.0, self._ends_at - time.monotonic())


async def send_all(
    requests: Iterable[GenerationRequest],
    ask: Callable[[GenerationRequest], Coroutine[Any, Any, Result]],
    max_in_flight: int,
) -> AsyncGenerator[Result, None]:
    """Yield one result for each request, in order of arrival.

    Requests are taken up in order, a new one as soon as the reader has kept an answer and comes for the next: there
    is no batch barrier, and no more is lost with the process than what is in flight. The first exception of `ask`
    ends the stream, and all that is in flight is cancelled; so it is when the reader stops early.
    """
    stream = _Stream(requests, ask, Window(max_in_flight), None)
    async with aclosing(stream.results()) as results:
        async for result in results:
            yield result


async def send_all_draining(
    requests: Iterable[GenerationRequest],
    ask: Callable[[GenerationRequest], Coroutine[Any, Any, Result]],
    window: Window,
    ending: Ending,
) -> AsyncGenerator[Result, None]:
    """Do as `send_all`, but hand on what is in flight before a TeacherError is raised.

    Args:
        requests: taken up in order.
        send: makes room in the window while it waits before it retries.
        window: of this stream alone.
        ending: of all streams of the client.
    """
    stream = _Stream(requests, ask, window, ending)
    async with aclosing(stream.results()) as results:
        async for result in results:
            yield result


class _Stream:
    """One call of `generate`: its requests under way and their results."""

    def __init__(
        self,
        requests: Iterable[GenerationRequest],
        ask: Callable[[GenerationRequest], Coroutine[Any, Any, Result]],
        window: Window,
        ending: Ending | None,
    ) -> None:
        self._todo, self._ask = iter(requests), ask
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
        """Note, once, that nothing fresh is left."""
        if not self._is_exhausted and self._window.lane is not None:
            self._window.lane.fresh_end()
        self._is_exhausted = True

    async def _next(self) -> Result | None:
        """Return the next result; None where there is none, but maybe room for more."""
        try:
            task = await self._arrival()
        except TimeoutError:  # what is still in flight is not waited for any longer
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
