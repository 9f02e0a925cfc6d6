"""Complete a shard item by item: replay its journal, retry suspects alone, request the rest, assemble the rows."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from arbitrage.contracts.workers import Output, RequestShard, Usage
from arbitrage.errors import DrainedError, ExecutionError, OvertakenError, StorageError
from arbitrage.execution.counters import Counters, LiveCounters, count_result
from arbitrage.execution.plan import Job
from arbitrage.records import Candidate, Record, Reject, Score
from arbitrage.runs.journal import Journal, item_id_of
from arbitrage.tables import shown, to_table, unwritable

UNWRITABLE = "unwritable"
"""Reject reason of a row with a value that does not fit into its column."""

_LOOK_EVERY_S: Final = 0.5
"""Interval at which a stopping run looks whether it may end without waiting for deferred results, in seconds."""

_MEASURES = ("prompt_tokens", "completion_tokens", "cumulative_logprob", "cost_usd")


async def settle(
    job: Job, requests: RequestShard, journal: Journal, counters: Counters, live_counters: LiveCounters
) -> Output:
    """Get a result for every item of the shard, and return its rows in the order of the items.

    Raises:
        DrainedError: the run is stopping; results in flight have arrived and are journaled.
        EngineDiedError: the engine crashed; the next attempt searches for the cause.
        OvertakenError: another attempt has taken the shard over.
        ExecutionError: the worker violated its contract: a result was missing, duplicate or unexpected.
    """
    item_ids = [item.item_id for item in requests.items]
    attempt = _ShardAttempt(job.name, requests, journal, counters, live_counters, job.config.is_deferred)
    await attempt.settle(item_ids)
    answers = [journal.settled[item_id] for item_id in item_ids]
    rows = [answer for answer in answers if not isinstance(answer, Reject)]
    rejects = [answer for answer in answers if isinstance(answer, Reject)]
    return Output(to_table(rows, job.record), to_table(rejects, Reject), _usage(rows))


@dataclass
class _ShardAttempt:
    """One attempt at a shard."""

    step: str
    requests: RequestShard
    journal: Journal
    counters: Counters
    live_counters: LiveCounters
    is_deferred: bool
    overtaken: OvertakenError | None = None

    async def settle(self, item_ids: Sequence[str]) -> None:
        wanted = frozenset(item_ids)
        settled = self.journal.settled
        self.counters.num_items = len(wanted)
        self.counters.num_replayed = sum(item_id in settled for item_id in wanted)
        for item_id in self.journal.quarantine.confirmed:
            if item_id in wanted and item_id not in settled:
                self.journal.settle(item_id, self.requests.crash_reject(item_id))
        async with self.live_counters.intake.hold() as end_intake, self._looking_out():
            await self._clear_suspects(wanted)
            await self._send(item_ids, end_intake)
        if self.overtaken is not None:
            raise self.overtaken
        if any(item_id not in settled for item_id in item_ids):
            raise DrainedError(f"{self.step}: stopped on request")

    @property
    def _is_ending(self) -> bool:
        """Whether no further item is to be requested."""
        return self.live_counters.is_draining or self.overtaken is not None

    @asynccontextmanager
    async def _looking_out(self) -> AsyncIterator[None]:
        """While requests are in flight, check whether another attempt has taken over this shard."""
        if self.journal.is_look_due:  # it may have waited long for the intake lock
            await asyncio.to_thread(self.journal.require_newest)
        task = asyncio.create_task(self._look_out())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look_out(self) -> None:
        while self.overtaken is None:
            await asyncio.sleep(self.journal.look_every_s)
            try:
                await asyncio.to_thread(self.journal.require_newest)
            except OvertakenError as error:
                self.overtaken = error
            except StorageError:
                continue  # the next write will raise it

    async def _clear_suspects(self, wanted: frozenset[str]) -> None:
        settled, quarantine = self.journal.settled, self.journal.quarantine
        quarantine.suspects = [item_id for item_id in quarantine.suspects if item_id in wanted]
        if not quarantine.next_group(settled):
            return
        while (group := quarantine.next_group(settled)) and not self._is_ending:
            self.journal.alone(group)
            await self._send(group)
        self.journal.alone([])

    async def _send(self, item_ids: Iterable[str], end_intake: Callable[[], None] = lambda: None) -> None:
        in_flight: set[str] = set()
        try:
            async with aclosing(self.requests.results(self._take(item_ids, in_flight, end_intake))) as answers:
                async for answer in self._until_ending(answers) if self.is_deferred else answers:
                    self._settle(answer, in_flight)
        finally:
            self.counters.num_in_flight -= len(in_flight)
        if in_flight and not (self.is_deferred and self._is_ending):
            raise ExecutionError(
                f"{self.step}: no result arrived for {len(in_flight)} items in flight, such as {min(in_flight)}"
            )

    async def _until_ending(self, answers: AsyncGenerator[Record, None]) -> AsyncIterator[Record]:
        """Yield results until the run is stopping: requests in flight do not need this process."""
        coming = asyncio.ensure_future(anext(answers, None))
        try:
            while not self._is_ending:
                await asyncio.wait({coming}, timeout=_LOOK_EVERY_S)
                if coming.done():
                    if (answer := coming.result()) is None:
                        return
                    yield answer
                    coming = asyncio.ensure_future(anext(answers, None))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    def _take(self, item_ids: Iterable[str], in_flight: set[str], end_intake: Callable[[], None]) -> Iterator[str]:
        """Yield open items until there are no more or the run is stopping."""
        for item_id in item_ids:
            if self._is_ending:
                break
            if item_id not in self.journal.settled:
                self.journal.take(item_id)
                in_flight.add(item_id)
                self.counters.num_in_flight += 1
                yield item_id
        end_intake()

    def _settle(self, answer: Record, in_flight: set[str]) -> None:
        item_id = item_id_of(answer)
        if item_id not in in_flight:
            kind = "a second result" if item_id in self.journal.settled else "an unexpected result"
            raise ExecutionError(f"{self.step}: {kind}: {item_id}")
        in_flight.remove(item_id)
        answer = writable(answer)
        self.journal.settle(item_id, answer)
        count_result(self.counters, answer)


def writable(answer: Record) -> Record:
    """Return a result that can be journaled and become a row, whatever its engine returned.

    A count that no column can hold, such as 10³⁰ tokens, becomes null, because the text is usable. Any other such
    value makes the row a reject, with the field and the value in its detail.
    """
    while (name := unwritable(answer)) is not None:
        if isinstance(answer, Candidate) and name in _MEASURES:
            answer = answer.model_copy(update={name: None})
        elif isinstance(answer, Score) and name == "value":
            answer = answer.model_copy(update={"value": None, "error": UNWRITABLE})
        else:
            detail = f"{name} is {shown(getattr(answer, name))}"
            return Reject(item_id=item_id_of(answer), reason=UNWRITABLE, detail=detail)
    return answer


def _usage(rows: Sequence[Record]) -> Usage:
    candidates = [row for row in rows if isinstance(row, Candidate)]
    return Usage(
        prompt_tokens=sum(c.prompt_tokens or 0 for c in candidates),
        completion_tokens=sum(c.completion_tokens or 0 for c in candidates),
        cost_usd=sum(c.cost_usd or 0.0 for c in candidates),
    )
