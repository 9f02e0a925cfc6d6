"""Whose turn it is on a worker: one shard after the other takes up items, so that shards do not all end together.

A shard's turn ends when its last item is taken: while its last answers arrive, the next shard, read and ready,
already fills the room they leave.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Turns:
    """The turns of one worker's shards; belongs to one event loop."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Callable[[], None]]:
        """Wait for one's turn; yield a function that ends it before the block does."""
        await self._lock.acquire()
        is_over = False

        def end() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._lock.release()

        try:
            yield end
        finally:
            end()
