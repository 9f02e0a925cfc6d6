"""Which waiting rows are sent again while there are rows that were never sent: few, so that healthy rows come first.

A row that fails at every try costs `num_tries` requests. Were they sent as soon as their pauses are over, one such
row in ten would make the others wait a third longer; their turn comes when nothing fresh is left. Until then one
request in 16 is theirs, so that passing faults are mended early, and all once too many rows wait.
"""

import asyncio
from collections import deque

_FRESH_PER_RETRY = 16
_GRACE_S = 0.2
"""Where nothing fresh is left, the next shard mostly brings more within moments."""


class RetryLane:
    """Admits rows whose pause is over. Shared by all streams of a client; belongs to one event loop at a time.

    Args:
        num_permits: requests in flight at most.
        many: number of waiting rows beyond which all of them may go.
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
        """Note that a stream has rows that were never sent."""
        self._num_streams += 1
        self._is_open = False

    def fresh_sent(self, num: int) -> None:
        """Note that rows are sent for the first time."""
        self._earned = min(float(self._num_permits), self._earned + num / _FRESH_PER_RETRY)
        self._admit()

    def fresh_end(self) -> None:
        """Note that a stream has no more of them."""
        self._num_streams -= 1
        if not self._num_streams:
            loop = asyncio.get_running_loop()
            self._idle_since = loop.time()
            loop.call_later(_GRACE_S, self._admit)

    def open(self) -> None:
        """Let all through: the teacher is given up."""
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
        """Tell whether one more may, and charge it to what fresh rows have earned."""
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
