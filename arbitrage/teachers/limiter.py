"""How many requests an endpoint is sent at once: found out by additive increase, multiplicative decrease.

As TCP does it: the limit grows by one with each answer until the endpoint first pushes back, then by one each round
trip, and slowly near the limit of the last push-back (after CUBIC, RFC 9438). A push-back takes a tenth off, three
tenths the first time, and at most once for the requests that were under way together.
"""

import asyncio
import time
from collections import deque

_FIRST_DECREASE = 0.7
_DECREASE = 0.9
_SLOWLY = 0.2
_REFUSALS_IN_A_ROW = 3
"""So many push-backs with no success between them mean a rate limit, not a concurrency limit: everybody waits."""


class Limiter:
    """Admits requests to one endpoint. Belongs to one event loop at a time.

    Args:
        most: never more in flight than this.
        start: in flight at first.
    """

    def __init__(self, most: int, start: int = 32) -> None:
        self._most = float(most)
        self._limit = float(min(start, most))
        self._is_probing = True
        self._ceiling = 0.0
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._last_decrease = -1.0
        self._refusals = 0
        self._closed_until = 0.0

    @property
    def limit(self) -> int:
        """How many may be in flight now."""
        return max(1, int(self._limit))

    async def enter(self) -> float:
        """Wait for a place; return the time of entry, to be given back to `leave` or `refused`."""
        while self._in_flight >= self.limit or self._waiting_time() > 0:
            if (pause := self._waiting_time()) > 0:
                await asyncio.sleep(pause)
                continue
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._wake()  # the place was offered to us: pass it on
                raise
        self._in_flight += 1
        return time.monotonic()

    def leave(self, is_success: bool) -> None:
        """Give the place back after an answer of any kind that was not a push-back."""
        if is_success:
            self._refusals = 0
            if self._waiting:  # a limit that holds nobody back has not been tried
                self._limit = min(self._most, self._limit + self._step())
        self._release()

    def refused(self, entered_at: float, retry_after_s: float) -> None:
        """Give the place back after a push-back (429, 503) to a request that entered at `entered_at`."""
        now = time.monotonic()
        if entered_at > self._last_decrease:
            self._refusals += 1
            self._ceiling = self._limit
            self._limit = max(1.0, self._limit * (_FIRST_DECREASE if self._is_probing else _DECREASE))
            self._is_probing = False
            self._last_decrease = now
        if self._refusals >= _REFUSALS_IN_A_ROW:
            self._closed_until = max(self._closed_until, now + retry_after_s)
        self._release()

    def _step(self) -> float:
        if self._is_probing:
            return 1.0
        is_near = abs(self._limit - self._ceiling) <= max(1.0, 0.05 * self._ceiling)
        return (_SLOWLY if is_near else 1.0) / self._limit

    def _waiting_time(self) -> float:
        return self._closed_until - time.monotonic()

    def _release(self) -> None:
        self._in_flight -= 1
        for _ in range(max(0, self.limit - self._in_flight)):
            self._wake()

    def _wake(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
