"""What does a step's work, where it runs: takes a shard's inputs, returns its rows and rejects."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

from arbitrage.records import Prompt, Record, Reject
from arbitrage.tables import concat, empty_table, from_table

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Shard k of a step's inputs, by role; a role fed by several steps holds one table for each, in order."""

    tables: Mapping[str, tuple[pa.Table, ...]]
    _known: dict[str, tuple[Any, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def records(self, role: str, record: type[R]) -> tuple[R, ...]:
        """Return all rows of a role as records, the tables one after the other; made once and kept."""
        if role not in self._known:
            self._known[role] = tuple(from_table(self.table(role, record), record))
        return self._known[role]

    def table(self, role: str, record: type[R]) -> pa.Table:
        """Return all rows of a role as one table."""
        return concat(self.tables.get(role, ()), record)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a shard consumed."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """What a worker returns for one shard: rows of the step's record, and the rejects."""

    table: pa.Table
    rejects: pa.Table = field(default_factory=lambda: empty_table(Reject))
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Item:
    """One input item of a step: it must come out as a row or as a Reject, never both, never neither."""

    item_id: str
    language: str
    teacher: str | None = None


class ShardWorker(Protocol):
    """Turns shard k of a step's inputs into shard k of its output. Pure, except for what engines return."""

    def items(self, inputs: Inputs) -> list[Item]:
        """List the items of this shard, before it runs. Item ids equal the `item_key` of the produced record."""
        ...

    async def run(self, inputs: Inputs) -> Output:
        """Do the shard. Two shards may be under way at once."""
        ...

    async def close(self) -> None:
        """Release engines, connections and memory; a worker with none inherits this."""
        return


class RequestShard(Protocol):
    """One shard of a `RequestWorker`, read and ready to be requested item by item."""

    @property
    def items(self) -> Sequence[Item]:
        """The items of the shard, in the order in which they are requested and written."""
        ...

    def results(self, item_ids: Iterable[str]) -> AsyncGenerator[Record, None]:
        """Yield the row or the Reject of each item as it arrives, in any order.

        Args:
            item_ids: the items still open. An item is taken from it when there is room to begin with it: what was
                taken and has no result is in flight, and is suspected should the engine die.
        """
        ...

    def crash_reject(self, item_id: str) -> Record:
        """Return the Reject of an item that kills its engine whenever it is requested."""
        ...


@runtime_checkable
class RequestWorker(Protocol):
    """Runs shards item by item, where results are expensive: each is journaled as it arrives, none repeated."""

    def begin(self, inputs: Inputs) -> RequestShard:
        """Read a shard. Two shards may be under way at once."""
        ...

    def load(self) -> "Load":
        """Return how busy the worker's engine is. Called from another thread."""
        ...

    async def close(self) -> None:
        """Release engines, connections and memory."""
        ...


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Figures of an engine that batches requests itself, since it started.

    Attributes:
        num_running: requests in its batch now.
        num_waiting: requests in its queue now.
        kv_use: share of its key-value cache in use now.
        num_preemptions: requests taken out of the batch for want of cache, and computed again.
        num_prefix_queries: prompt tokens looked up in its prefix cache.
        num_prefix_hits: those of them found there.
    """

    num_running: int = 0
    num_waiting: int = 0
    kv_use: float = 0.0
    num_preemptions: int = 0
    num_prefix_queries: int = 0
    num_prefix_hits: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an engine is: requests under way, requests that wait for room, and retries."""

    num_in_flight: int = 0
    num_waiting: int = 0
    num_retries: int = 0
    num_refusals: int = 0  # 429 and 503
    notes: tuple[str, ...] = ()  # sentences for people, all since it started; each is shown once
    engine: EngineStats | None = None  # None: it reports no figures


class CorpusWorker(Protocol):
    """Sees all shards, one after the other, and returns one small table."""

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Do the whole corpus."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of what a source read: `num_read` rows became prompts or rejects."""

    prompts: Sequence[Prompt]
    rejects: Sequence[Reject]
    notes: Mapping[str, int] = field(default_factory=dict)  # counters worth showing, summed over batches

    @property
    def num_read(self) -> int:
        """Rows read from the source for this batch."""
        return len(self.prompts) + len(self.rejects)


class SourceWorker(Protocol):
    """Reads prompts from outside; the backend deals them out to shards by the hash of their id."""

    def read(self) -> Iterator[Batch]:
        """Yield batches in the order of the source."""
        ...


SHARDS_IN_HAND = 6
"""Shards in progress on one worker: one sends items, one is read and ready, the others wait for their last results.

With four, shards of 750 rows and one slow request in a hundred (ten times as long), slots were idle 13 % of the
time; a shard that waits costs the memory of its rows.
"""

DEFERRED_SHARDS_IN_HAND = 64
"""The same where answers come hours later: with fewer, these shards would wait for one batch after the other."""
