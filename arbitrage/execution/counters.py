"""Live counters of shards in progress, and the order in which the shards of one worker send their items.

Counters are written where the work is done and read from another thread. Shards of a worker send their items one
shard after the other, so that they do not all end together: once a shard has sent its last item, the next one starts
to fill the free permits while the last results of the first still arrive.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, fields

from arbitrage.records import Candidate, Record, Reject
from arbitrage.runs.spent_journals import SpentJournals


class IntakeLock:
    """Lets one of a worker's shards send items at a time; belongs to one event loop."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Callable[[], None]]:
        """Wait for the lock; yield a function that releases it before the block ends."""
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


@dataclass
class Counters:
    """Counters of one step.

    Attributes:
        num_items: items of the shards under way.
        num_replayed: of them, completed by an earlier attempt and read from the journal.
        num_answered: of them, completed now, including rejects.
        num_rejected: of those, rejected.
        num_in_flight: sent to the engine and not completed yet.
        num_shards: number of shards counted here.
    """

    num_items: int = 0
    num_replayed: int = 0
    num_answered: int = 0
    num_rejected: int = 0
    num_in_flight: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    num_shards: int = 0

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Counters)))

    def as_dict(self) -> dict[str, int]:
        """Return all counters by name."""
        return asdict(self)


@dataclass
class LiveCounters:
    """What the shards of one worker share: counters, the intake lock, spent journals, and whether to drain.

    Attributes:
        shards: step and shard → counters of what is under way.
        ended: step → counters of all attempts that have ended.
        is_draining: send no further items.
        intake: lets one shard send items at a time.
        spent: journals of shards that are complete.
    """

    shards: dict[tuple[str, int], Counters] = field(default_factory=dict)
    ended: dict[str, Counters] = field(default_factory=dict)
    is_draining: bool = False
    intake: IntakeLock = field(default_factory=IntakeLock)
    spent: SpentJournals = field(default_factory=SpentJournals)

    @contextmanager
    def counting(self, step: str, shard: int) -> Iterator[Counters]:
        """Count a shard while it is under way."""
        counters = self.shards[step, shard] = Counters(num_shards=1)
        try:
            yield counters
        finally:
            del self.shards[step, shard]
            self.ended[step] = self.ended.get(step, Counters()) + counters

    def by_step(self) -> dict[str, Counters]:
        """Return the counters of what is under way, by step."""
        return self._summed({})

    def since_start(self) -> dict[str, Counters]:
        """Return the counters of everything this worker has done, by step."""
        return self._summed(self.ended)

    def _summed(self, start: Mapping[str, Counters]) -> dict[str, Counters]:
        found = dict(start)
        for (step, _), counters in sorted(self.shards.copy().items()):
            found[step] = found.get(step, Counters()) + counters
        return found


def count_result(counters: Counters, answer: Record) -> None:
    """Count one result."""
    counters.num_answered += 1
    counters.num_in_flight -= 1
    if isinstance(answer, Reject):
        counters.num_rejected += 1
    elif isinstance(answer, Candidate):
        counters.prompt_tokens += answer.prompt_tokens or 0
        counters.completion_tokens += answer.completion_tokens or 0
