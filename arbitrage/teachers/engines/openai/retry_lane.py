"""Order of retries while there are fresh rows: few retries, so that healthy rows come first.

A row that fails at every try costs `num_tries` requests. If retries were sent as soon as their pauses end, one such
row in ten would slow the others down by a third. So retries are sent after all fresh rows. Until then one request in
16 is a retry, so that rows with temporary faults are completed early; if too many rows wait, all requests are
retries.
"""

import asyncio
from collections import deque

_FRESH_PER_RETRY = 16
_GRACE_S = 0.2
"""Time to wait for fresh rows of the next shard, which usually arrive within moments."""


class RetryLane:
    """Admits rows whose pause is over. Shared by all streams of a client; belongs to one event loop at a time.

    Args:
        num_permits: maximum number of requests in flight.
        many: number of waiting rows above which all of them may be sent.
    """

    def __init__(self, num_permits: int, many: int) -> None:
        self._num_permits, self._many = num_permits, many
        self._num_streams = 0  # that have fresh rows
        self._num_inside = 0
        self._earned = 1.0
        self._queue: deque[asyncio.Event] = deque()
        self._is_open = False
        self._idle_since = 0.0

    def fresh_begin(self) -> None:
        """Note that a stream has fresh rows, never sent before."""
        self._num_streams += 1
        self._is_open = False

    def fresh_sent(self, num: int) -> None:
        """Note that fresh rows are sent."""
        self._earned = min(float(self._num_permits), self._earned + num / _FRESH_PER_RETRY)
        self._admit()

    def fresh_end(self) -> None:
        """Note that a stream has no more fresh rows."""
        self._num_streams -= 1
        if not self._num_streams:
            loop = asyncio.get_running_loop()
            self._idle_since = loop.time()
            loop.call_later(_GRACE_S, self._admit)

    def open(self) -> None:
        """Admit all rows: the teacher is given up."""
        self._is_open = True
        self._admit()

    async def enter(self) -> None:
        """Wait for a permit in the lane."""
        turn = asyncio.Event()
        self._queue.append(turn)
        self._admit()
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.leave()
            else:
                self._queue.remove(turn)
            raise

    def leave(self) -> None:
        """Return the permit: the row has its result, or pauses again."""
        self._num_inside -= 1
        self._admit()

    def _admit(self) -> None:
        while self._queue and self._may_enter():
            self._num_inside += 1
            self._queue.popleft().set()

    def _may_enter(self) -> bool:
        """Tell whether one more may enter, and charge it to the fresh rows sent so far."""
        if self._is_open:
            return True
        if self._num_inside >= self._num_permits:
            return False
        if len(self._queue) > self._many or self._is_idle():
            return True
        if self._earned < 1.0:
            return False
        self._earned -= 1.0
        return True

    def _is_idle(self) -> bool:
        return not self._num_streams and asyncio.get_running_loop().time() >= self._idle_since + _GRACE_S
