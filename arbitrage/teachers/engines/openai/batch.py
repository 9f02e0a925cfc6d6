"""The running `openai_batch` engine: gathers requests, submits them as batches, and hands on what these answer.

Shards take up their requests one after the other, within moments, so requests are gathered until no further shard
has come for `gather_s`: that costs seconds of a wait of hours, and a step needs few batches. Each batch carries the
digests of its shards. A shard that comes again, after its process was killed, first takes what batches with its
digest answer, those still under way included; only what none of them answers is submitted.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from arbitrage.contracts.engines import Completion, Failure, GenerationFailure, GenerationRequest
from arbitrage.contracts.workers import Load
from arbitrage.errors import ExecutionError, TeacherBusyError
from arbitrage.records import content_id
from arbitrage.teachers.engines.engine import ModelSpec, Result, refuse_empty
from arbitrage.teachers.engines.openai.batch_api import (
    ENDED,
    MADE_BY,
    PATH,
    REFUSALS,
    Batch,
    BatchApi,
    counts_of,
    digests_of,
    errors_of,
    is_over_limit,
    read_lines,
)
from arbitrage.teachers.engines.openai.batch_config import OpenAIBatchConfig
from arbitrage.teachers.engines.openai.http import ConnectionProblem, HttpResponse, ProblemKind
from arbitrage.teachers.engines.openai.protocol import classify_response
from arbitrage.teachers.engines.openai.request import body_of
from arbitrage.teachers.tools import parser_of
from arbitrage.text.reasoning_formats import format_named

_MOST_BYTES = 200 * 10**6
_MOST_SHARDS = 240
_SHARDS_PER_VALUE = 24
"""A batch's metadata has room for 16 values of 512 characters, and a digest has 20."""

_LONGEST_POLL_S = 300.0
_POLL_GROWTH = 1.5
_REASONS: Mapping[ProblemKind, GenerationFailure] = {
    "timeout": "timeout",
    "unfinished": "unknown_finish_reason",
    "denied": "bad_request",
    "not_found": "bad_request",
}
"""Why a request without an answer is rejected at last; all others are errors of the engine."""


@dataclass(eq=False, slots=True)
class _Shard:
    """Requests of one call of `generate`.

    Attributes:
        digest: tells the shard, also in another process.
        open: requests without a result.
        arrived: results, and at last the error that ends the call.
    """

    digest: str
    open: dict[str, GenerationRequest]
    arrived: asyncio.Queue[Result | BaseException] = field(default_factory=asyncio.Queue)

    def settle(self, result: Result) -> None:
        """Hand on a result, if it is the first."""
        if self.open.pop(result.candidate_id, None) is not None:
            self.arrived.put_nowait(result)


@dataclass(frozen=True, slots=True)
class _Row:
    """A request and its shard."""

    shard: _Shard
    request: GenerationRequest

    @property
    def is_open(self) -> bool:
        """Whether it has no result, and is still wanted."""
        return self.request.candidate_id in self.shard.open


class OpenAIBatchEngine:
    """Submits a teacher's requests as batches."""

    def __init__(self, config: OpenAIBatchConfig, spec: ModelSpec, headers: Mapping[str, str]) -> None:
        self._config, self._spec = config, spec
        self._api = BatchApi(config, spec, headers)
        parser = spec.reasoning_parser
        self._marks = None if parser in ("auto", "none") else format_named(parser)
        self._calls = parser_of(spec.tool_parser)
        self._digests: dict[str, str] = {}  # candidate id → its shard's digest
        self._gathered: list[_Shard] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._uploading = asyncio.Semaphore(1)  # a file may fill 200 MB
        self._sizes: Counter[str] = Counter()  # batch under way → open requests in it
        self._notes: list[str] = []
        self._num_retries = 0

    def announce(self, candidate_ids: Iterable[str]) -> None:
        """Tell all requests of a shard, those with a result included: they name it when it comes again."""
        ids = list(candidate_ids)
        self._digests.update(dict.fromkeys(ids, content_id("shard", *sorted(ids))))

    async def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Result, None]:
        """Answer all requests, when their batches end."""
        taken = list(requests)
        for request in taken:
            if (refused := refuse_empty(request)) is not None:
                yield refused
        wanted = {each.candidate_id: each for each in taken if refuse_empty(each) is None}
        if not wanted:
            return
        digest = self._digests.get(next(iter(wanted))) or content_id("shard", *sorted(wanted))
        shard = _Shard(digest, wanted)
        self._gather(shard)
        try:
            for _ in range(len(wanted)):
                result = await shard.arrived.get()
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            shard.open.clear()

    def load(self) -> Load:
        """Return how many requests are in batches, and what has happened."""
        return Load(num_retries=self._num_retries, num_in_flight=self._sizes.total(), notes=tuple(self._notes))

    async def close(self) -> None:
        """Close the connections; submitted batches keep running."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._api.close()

    def _gather(self, shard: _Shard) -> None:
        self._gathered.append(shard)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._config.gather_s, self._begin)

    def _begin(self) -> None:
        """Do what was gathered."""
        shards, self._gathered = [shard for shard in self._gathered if shard.open], []
        if not shards:
            return
        task = asyncio.create_task(self._do(shards))
        self._tasks.add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            lost = ExecutionError(f"teacher '{self._spec.teacher}': a batch ended without a result for each request")
            error = asyncio.CancelledError() if task.cancelled() else task.exception() or lost
            for shard in shards:
                if shard.open:
                    shard.arrived.put_nowait(error)

        task.add_done_callback(end)

    async def _do(self, shards: list[_Shard]) -> None:
        await self._collect({shard.digest: shard for shard in shards})
        await _all(self._complete(rows) for rows in self._parts(shards))

    async def _collect(self, shards: Mapping[str, _Shard]) -> None:
        """Take what the batches of earlier processes answer, and wait for those under way."""
        known = [each for each in await self._api.batches() if each.get("status") != "failed"]
        mine = {each["id"]: (each, [shards[d] for d in digests_of(each) if d in shards]) for each in known}
        await _all(self._take_found(batch, found) for batch, found in mine.values() if found)

    async def _take_found(self, batch: Batch, shards: list[_Shard]) -> None:
        name = batch["id"]
        self._note(f"batch {name} of an earlier run found ({batch.get('status')}): nothing of it is submitted again")
        rows = _rows(shards)
        await self._take(await self._ended(batch, rows), rows)

    def _parts(self, shards: Iterable[_Shard]) -> list[list[_Row]]:
        """Divide requests into batches, as few as may be; a shard is in one of them, if it fits."""
        parts: list[list[_Row]] = []
        room, room_bytes, room_shards = 0, 0, 0
        for shard in shards:
            rows = _rows([shard])
            sizes = [len(self._line(row.request)) for row in rows]
            is_cut = len(rows) > room or sum(sizes) > room_bytes or not room_shards
            for row, size in zip(rows, sizes, strict=True):
                if is_cut or not room or size > room_bytes:
                    parts.append([])
                    room, room_bytes, room_shards = self._config.max_requests, _MOST_BYTES, _MOST_SHARDS
                    is_cut = False
                parts[-1].append(row)
                room, room_bytes = room - 1, room_bytes - size
            room_shards -= 1
        return parts

    async def _complete(self, rows: list[_Row]) -> None:
        """Submit requests until each has a result: those without one again, `num_tries` times in all."""
        problems: dict[str, ConnectionProblem] = {}
        num_tries = 0
        while (rows := [row for row in rows if row.is_open]) and num_tries < self._config.num_tries:
            self._num_retries += len(rows) if num_tries else 0
            batch = await self._ended(await self._submit(rows), rows)
            if batch["status"] == "failed":
                if is_over_limit(batch):
                    return await self._in_halves(batch, rows)
                self._settle_invalid(batch, rows)
                continue
            problems = await self._take(batch, rows)
            num_tries += 1
            if problems:
                self._note(f"batch {batch['id']} {batch['status']}: {len(problems):,} requests without an answer")
            self._require_service(batch, rows, problems)
        for row in rows:
            row.shard.settle(self._failure(row.request, problems, num_tries))
        return None

    async def _submit(self, rows: list[_Row]) -> Batch:
        async with self._uploading:
            file_id = await self._api.upload(b"".join(self._line(row.request) for row in rows))
        digests = list(dict.fromkeys(row.shard.digest for row in rows))
        values = [" ".join(digests[i : i + _SHARDS_PER_VALUE]) for i in range(0, len(digests), _SHARDS_PER_VALUE)]
        metadata = {f"shards_{i}": value for i, value in enumerate(values)}
        owner = {"made_by": MADE_BY, "teacher": self._spec.teacher, "requests": str(len(rows))}
        batch = await self._api.create(file_id, owner | metadata)
        name, num = batch["id"], len(rows)
        self._note(f"batch {name} submitted: {num:,} requests to {self._spec.teacher}, answered within 24 hours")
        if not digests_of(batch) >= set(digests):
            self._note(f"batch {name}: the endpoint keeps no metadata, so a later run cannot find it again")
        return batch

    async def _ended(self, batch: Batch, rows: list[_Row]) -> Batch:
        """Return a batch when it has ended, or when its results are not needed any more."""
        name, pause_s = batch["id"], self._config.poll_s
        until, was_seen = self._api.clock.now() + self._config.batch_timeout_s, True
        self._sizes[name] += len(rows)
        try:
            while batch.get("status") not in ENDED and any(row.is_open for row in rows):
                if self._api.clock.now() > until:
                    raise TeacherBusyError(
                        f"teacher '{self._spec.teacher}': batch {name} is {batch.get('status')} after "
                        f"{self._config.batch_timeout_s:,.0f} s (batch_timeout_s); it keeps running: rerun the "
                        "same command to collect it"
                    )
                await asyncio.sleep(pause_s)
                pause_s = min(_POLL_GROWTH * pause_s, max(_LONGEST_POLL_S, self._config.poll_s))
                batch, was_seen = self._seen(batch, await self._api.look(name), was_seen)
        finally:
            self._sizes[name] -= len(rows)
        return batch

    def _seen(self, before: Batch, batch: Batch | None, was_seen: bool) -> tuple[Batch, bool]:
        """Tell what has become of a batch; None: the endpoint does not say so now."""
        if batch is None:
            if was_seen:
                self._note(
                    f"batch {before['id']} is out of reach since {time.strftime('%H:%M:%S')}; it is checked again"
                )
            return before, False
        if batch["status"] != before.get("status"):
            self._note(f"batch {batch['id']}: {batch['status']}{counts_of(batch)}")
        return batch, True

    async def _take(self, batch: Batch, rows: list[_Row]) -> dict[str, ConnectionProblem]:
        """Hand on what a batch answers; return why it does not answer the others, by candidate id."""
        missing = ConnectionProblem("malformed", f"batch {batch['id']} holds no line for it that can be read")
        problems = {row.request.candidate_id: missing for row in rows if row.is_open}
        by_id = {row.request.candidate_id: row for row in rows}
        num_unreadable = 0
        for key in ("output_file_id", "error_file_id"):
            for number, line in enumerate(read_lines(await self._content(batch, key))):
                if not number % 256:
                    await asyncio.sleep(0)  # for other shards
                if line is None:
                    num_unreadable += 1
                elif (row := by_id.get(line["custom_id"])) is not None and row.is_open:
                    self._settle(row, line, problems)
        if num_unreadable:
            self._note(f"batch {batch['id']}: {num_unreadable:,} lines of its answers cannot be read")
        return problems

    async def _content(self, batch: Batch, key: str) -> bytes:
        """Return a file of answers; nothing where there is none."""
        if not isinstance(file_id := batch.get(key), str) or not file_id:
            return b""
        content = await self._api.content(file_id)
        if content is None:
            self._note(f"batch {batch['id']}: its file {file_id} ({key}) is not there any more")
        return content or b""

    def _settle(self, row: _Row, line: dict[str, Any], problems: dict[str, ConnectionProblem]) -> None:
        """Hand on the result that a line holds, or note why it holds none."""
        try:
            row.shard.settle(self._result(row.request, line))
            problems.pop(row.request.candidate_id, None)
        except ConnectionProblem as problem:
            problems[row.request.candidate_id] = problem

    def _result(self, request: GenerationRequest, line: dict[str, Any]) -> Result:
        """Read a line of a batch's answers. Raises ConnectionProblem."""
        response, error = line.get("response"), line.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        if code == "batch_expired":
            raise ConnectionProblem("timeout", "the batch expired before its turn came")
        status = response.get("status_code") if isinstance(response, dict) else None
        if isinstance(response, dict) and isinstance(status, int):
            body = response.get("body")
            reply = HttpResponse(status, body.encode() if isinstance(body, str) else to_json(body))
        else:
            reply = HttpResponse(500, to_json({"error": error}))
        says_finish = self._config.no_finish_reason == "reject"
        result = classify_response(request, reply, self._spec.model, says_finish, self._marks, self._calls)
        if isinstance(result, Completion) or result.detail is None:
            return result
        return Failure(result.candidate_id, result.reason, self._api.cleaned(result.detail))

    def _require_service(self, batch: Batch, rows: list[_Row], problems: Mapping[str, ConnectionProblem]) -> None:
        """Raise where another batch would fare no better."""
        refused = [problem for problem in problems.values() if problem.kind in REFUSALS]
        if any(problem.kind == "no_access" for problem in refused) or 0 < len(refused) == len(rows):
            raise self._api.refusal(
                f"answers batch {batch['id']}, but refuses {len(refused):,} requests: {refused[0]}"
            )
        if batch["status"] == "cancelled" and problems:
            raise TeacherBusyError(
                f"teacher '{self._spec.teacher}': batch {batch['id']} was cancelled; what it answered is kept, and "
                f"the same command submits the other {len(problems):,} requests again"
            )

    def _settle_invalid(self, batch: Batch, rows: list[_Row]) -> None:
        """Reject the requests for which the endpoint refuses a whole batch.

        Raises:
            TeacherAccessError: it refuses it for another reason.
        """
        errors = errors_of(batch)
        for error in errors:
            line = error.get("line")
            row = rows[line - 1] if isinstance(line, int) and 0 < line <= len(rows) else None
            try:
                result = (
                    None
                    if row is None
                    else self._result(row.request, {"response": {"status_code": 400, "body": {"error": error}}})
                )
            except ConnectionProblem:
                result = None
            if row is None or result is None:
                raise self._api.refusal(f"refuses batch {batch['id']}: {error.get('message') or error.get('code')}")
            row.shard.settle(result)
        if not errors:
            raise self._api.refusal(f"refuses batch {batch['id']} without saying why")
        self._note(f"batch {batch['id']} failed: {len(errors):,} requests are not valid; the others are sent again")

    async def _in_halves(self, batch: Batch, rows: list[_Row]) -> None:
        """Submit again what is more than the account may have enqueued: after the others, or else half by half."""
        why = str(errors_of(batch)[0].get("message"))
        is_alone = not self._sizes.total()
        if is_alone and len(rows) == 1:
            raise TeacherBusyError(self._api.cleaned(f"teacher '{self._spec.teacher}': {why}"))
        self._note(f"batch {batch['id']} is over the account's limit: {self._api.cleaned(why)}")
        await asyncio.sleep(min(_LONGEST_POLL_S, 8 * self._config.poll_s))
        half = len(rows) if self._sizes.total() else (len(rows) + 1) // 2
        for part in (rows[:half], rows[half:]):
            await self._complete(part)

    def _failure(
        self, request: GenerationRequest, problems: Mapping[str, ConnectionProblem], num_tries: int
    ) -> Failure:
        problem = problems[request.candidate_id]
        detail = f"{self._api.cleaned(str(problem))} (sent in {num_tries} batches)"
        return Failure(request.candidate_id, _REASONS.get(problem.kind, "engine_error"), detail)

    def _line(self, request: GenerationRequest) -> bytes:
        name, body = to_json(request.candidate_id), body_of(self._config, self._spec, request)
        return b'{"custom_id":%b,"method":"POST","url":"%b","body":%b}\n' % (name, PATH.encode(), body)

    def _note(self, note: str) -> None:
        self._notes.append(note)


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Do all work at once; raise the first error when all has ended: what others were paid for is not lost."""
    found = await asyncio.gather(*work, return_exceptions=True)
    for each in found:
        if each is not None:
            raise each


def _rows(shards: Iterable[_Shard]) -> list[_Row]:
    return [_Row(shard, request) for shard in shards for request in shard.open.values()]
