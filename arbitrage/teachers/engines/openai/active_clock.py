"""A clock that excludes time in which this process was suspended (SIGSTOP, a suspended machine).

Timers continue while a process is suspended. On waking, all its time limits have passed at once, although responses
may be waiting unread in its sockets.
"""

import asyncio
import time
from types import TracebackType

_LOOK_EVERY_S = 0.5
_STOOD_STILL_S = 2.0
"""A longer gap between two readings means that the process was suspended. A busy event loop lags by less; where one
lags by more, a time limit is a second too long, which does no harm."""

_BOOTTIME = getattr(
    time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC
)  # on Linux it runs on while the machine is suspended


class ActiveClock:
    """Seconds from an arbitrary start. It must be read often: `keep` does that within an event loop."""

    def __init__(self) -> None:
        self._last = time.clock_gettime(_BOOTTIME)
        self._still_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stood_still_s(self) -> float:
        """Total time for which the process was suspended."""
        self.now()
        return self._still_s

    def now(self) -> float:
        """Return the time."""
        at = time.clock_gettime(_BOOTTIME)
        if self._timer is not None and at - self._last > _STOOD_STILL_S:
            self._still_s += at - self._last
        self._last = at
        return at - self._still_s

    def keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the clock twice a second from now on, in this event loop, until `leave`."""
        self.leave()
        self.now()

        def look() -> None:
            self.now()
            self._timer = loop.call_later(_LOOK_EVERY_S, look)

        self._timer = loop.call_later(_LOOK_EVERY_S, look)

    def leave(self) -> None:
        """Stop reading."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def limit(self, seconds: float) -> "TimeLimit":
        """Return a time limit by this clock, for `async with`."""
        return TimeLimit(self, seconds)


class TimeLimit:
    """Raises TimeoutError when its block takes too long; `has_passed` tells whether this limit was the cause."""

    def __init__(self, clock: ActiveClock, seconds: float) -> None:
        self._clock = clock
        self._ends_at = clock.now() + seconds
        self._scope = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_passed(self) -> bool:
        """Whether the limit was reached."""
        return self._scope.expired()

    async def __aenter__(self) -> "TimeLimit":
        await self._scope.__aenter__()
        self._arm(self._ends_at - self._clock.now())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._scope.__aexit__(kind, error, trace)

    def _arm(self, left_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(left_s, self._look)

    def _look(self) -> None:
        left_s = self._ends_at - self._clock.now()
        if left_s > 0.0:  # the process was suspended
            self._arm(max(left_s, 0.001))
        else:
            self._scope.reschedule(asyncio.get_running_loop().time())
