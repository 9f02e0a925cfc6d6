"""Live counters of shards in progress, and the order in which the shards of one worker take up items.

Counters are written where the work is done and read from another thread. Shards of a worker take up their items one
after the other, so that they do not all end together: once a shard has taken its last item, the next one starts to
fill the free permits while the last results of the first still arrive.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, fields

from arbitrage.records import Candidate, Record, Reject
from arbitrage.runs.spent_journals import SpentJournals


class ShardTurns:
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


@dataclass
class Counters:
    """What has been done for one step.

    Attributes:
        num_owed: items of the shards under way.
        num_replayed: of them, answered by an earlier attempt and read from the journal.
        num_answered: of them, answered now, rejects included.
        num_rejected: of those, rejected.
        num_in_flight: handed to the engine and not answered yet.
        num_shards: shards that are counted here.
    """

    num_owed: int = 0
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
    """What the shards of one worker share: counters, turns, spent journals, and the wish to stop.

    Attributes:
        shards: step and shard → counters of what is under way.
        ended: step → counters of all attempts that have ended.
        is_draining: take up nothing new.
        turns: which shard takes up items.
        spent: journals of shards that are complete.
    """

    shards: dict[tuple[str, int], Counters] = field(default_factory=dict)
    ended: dict[str, Counters] = field(default_factory=dict)
    is_draining: bool = False
    turns: ShardTurns = field(default_factory=ShardTurns)
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
    """Count one answer."""
    counters.num_answered += 1
    counters.num_in_flight -= 1
    if isinstance(answer, Reject):
        counters.num_rejected += 1
    elif isinstance(answer, Candidate):
        counters.prompt_tokens += answer.prompt_tokens or 0
        counters.completion_tokens += answer.completion_tokens or 0
