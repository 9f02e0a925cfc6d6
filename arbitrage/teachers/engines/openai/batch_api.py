"""Files and batches of one account, by OpenAI's Batch API.

https://platform.openai.com/docs/api-reference/batch. What is sent twice after a fault must not be paid twice: before
a batch is created again, the list of batches is searched for it.
"""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from pydantic_core import from_json, to_json
from yarl import URL

from arbitrage.errors import TeacherAccessError, TeacherUnreachableError
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.openai.active_clock import ActiveClock
from arbitrage.teachers.engines.openai.http import ConnectionProblem, HttpClient, ProblemKind
from arbitrage.teachers.engines.openai.protocol import classify_response
from arbitrage.teachers.engines.openai.request import PROBE, access_problem
from arbitrage.teachers.engines.openai.retry import backoff_s
from arbitrage.teachers.engines.openai.row import without_secrets
from arbitrage.teachers.engines.openai.settings import EndpointSettings

Batch = dict[str, Any]
T = TypeVar("T")

MADE_BY = "arbitrage"
"""In the metadata of batches that are ours."""

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
"""A batch in one of these states stays as it is."""

PATH = "/v1/chat/completions"
"""Path that the API wants in each request of a batch, whatever the endpoint's own base URL is."""

REFUSALS: frozenset[ProblemKind] = frozenset({"denied", "not_found", "no_access"})
"""What does not pass."""

_KEPT_FOR_S = 30 * 86_400.0
"""OpenAI deletes the files of a batch after so long: an older one answers nothing."""

_MOST_PAGES = 200
_MOST_BYTES = 4 * 2**30
"""No file of answers is that long: 50,000 of 128 kB fill 6 GB, and a batch holds 200 MB of requests."""

_BOUNDARY = "arbitrage-5f0c2a7be1d94c6f"


class BatchApi:
    """Calls of the API, each repeated for `retry_for_s` while the endpoint is busy, fails or cannot be reached.

    Raises (from all): TeacherAccessError, TeacherUnreachableError.
    """

    def __init__(self, config: EndpointSettings, spec: ModelSpec, headers: Mapping[str, str]) -> None:
        self._config, self._spec, self._headers = config, spec, headers
        self._url = config.urls[0]
        self.clock = ActiveClock()
        self._http: HttpClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def upload(self, content: bytes) -> str:
        """Upload a file of requests; return its id."""
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="requests.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        form = b"".join((head.encode(), content, f"\r\n--{_BOUNDARY}--\r\n".encode()))

        async def attempt() -> str:
            made = await self._object("POST", "/files", form, f"multipart/form-data; boundary={_BOUNDARY}")
            return _id_of(made)

        return await self._patiently("upload", attempt)

    async def create(self, file_id: str, metadata: Mapping[str, str]) -> Batch:
        """Create a batch of an uploaded file."""
        wanted = {"input_file_id": file_id, "endpoint": PATH, "completion_window": "24h", "metadata": dict(metadata)}
        is_repeated = False

        async def attempt() -> Batch:
            nonlocal is_repeated
            if is_repeated:  # the answer was lost, but maybe not the request
                for known in await self._batches():
                    if known.get("input_file_id") == file_id:
                        return known
            is_repeated = True
            return _a_batch(await self._object("POST", "/batches", to_json(wanted)))

        return await self._patiently(file_id, attempt)

    async def batches(self) -> list[Batch]:
        """List the account's batches whose files may still be there."""
        return await self._patiently("list", self._batches)

    async def content(self, file_id: str) -> bytes | None:
        """Download a file; None where it is not there."""

        async def attempt() -> bytes | None:
            try:
                return await self._send("GET", f"/files/{file_id}/content")
            except ConnectionProblem as problem:
                if problem.kind == "not_found":
                    return None
                raise

        return await self._patiently(file_id, attempt)

    async def look(self, batch_id: str) -> Batch | None:
        """Return a batch as it is now; None where the endpoint cannot say so just now."""
        try:
            return _a_batch(await self._object("GET", f"/batches/{batch_id}"))
        except ConnectionProblem as problem:
            if problem.kind in REFUSALS:
                raise self.refusal(str(problem)) from problem
            return None

    def refusal(self, why: str) -> TeacherAccessError:
        """Return the error of an endpoint that refuses us."""
        return TeacherAccessError(self.cleaned(access_problem(self._config, self._spec, self._url, why)))

    def cleaned(self, text: str) -> str:
        """Return a text of the endpoint's without our secrets."""
        return without_secrets(text, tuple(self._headers.values()))

    async def close(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        self.clock.leave()
        if http is not None and self._loop is asyncio.get_running_loop():
            await http.close()

    async def _batches(self) -> list[Batch]:
        found: list[Batch] = []
        oldest, after = time.time() - _KEPT_FOR_S, ""
        for _ in range(_MOST_PAGES):
            page = await self._object("GET", f"/batches?limit=100{after}")
            data = page.get("data")
            listed = [each for each in data if _is_batch(each)] if isinstance(data, list) else []
            found += (each for each in listed if _created(each) >= oldest)
            if not listed or not page.get("has_more") or all(_created(each) < oldest for each in listed):
                break
            after = f"&after={listed[-1]['id']}"
        return found

    async def _patiently(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
        since, number = self.clock.now(), 0
        while True:
            try:
                return await attempt()
            except ConnectionProblem as problem:
                if problem.kind in REFUSALS:
                    raise self.refusal(str(problem)) from problem
                pause_s = backoff_s(what, number) if problem.wait_s is None else problem.wait_s
                number += 1
                if self.clock.now() + pause_s - since > self._config.retry_for_s:
                    said = self.cleaned(f"teacher '{self._spec.teacher}': {self._url}: {problem}")
                    raise TeacherUnreachableError(f"{said} (tried {number} times)") from problem
                await asyncio.sleep(pause_s)

    async def _object(
        self, method: Literal["GET", "POST"], path: str, body: bytes | None = None, content_type: str | None = None
    ) -> dict[str, Any]:
        answer = await self._send(method, path, body, content_type)
        try:
            found = from_json(answer)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ConnectionProblem("malformed", f"its answer to {method} {path} is no JSON object")
        return found

    async def _send(
        self, method: Literal["GET", "POST"], path: str, body: bytes | None = None, content_type: str | None = None
    ) -> bytes:
        """Send once. Raises ConnectionProblem."""
        reply = await self._open().send(method, URL(f"{self._url}{path}"), body, content_type, _MOST_BYTES)
        if 200 <= reply.status < 300:
            return reply.body
        failure = classify_response(PROBE, reply, self._spec.model)
        raise ConnectionProblem("no_access", f"refuses {method} {path}: {getattr(failure, 'detail', reply.status)}")

    def _open(self) -> HttpClient:
        """Return the connections of this event loop."""
        loop = asyncio.get_running_loop()
        if self._http is None or self._loop is not loop:
            self._http, self._loop = HttpClient(self._config, self._headers, self.clock), loop
            self.clock.keep(loop)
        return self._http


def digests_of(batch: Batch) -> set[str]:
    """Return the digests of the shards in a batch of ours; nothing of another's."""
    metadata = batch.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("made_by") != MADE_BY:
        return set()
    return {digest for key, value in metadata.items() if key.startswith("shards_") for digest in str(value).split()}


def errors_of(batch: Batch) -> list[dict[str, Any]]:
    """Return why a batch failed: objects with code, message and, of a request, its line."""
    errors = batch.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else errors
    return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []


def is_over_limit(batch: Batch) -> bool:
    """Tell whether a batch failed because the account has too much enqueued."""
    return any(each.get("code") == "token_limit_exceeded" for each in errors_of(batch))


def counts_of(batch: Batch) -> str:
    """Return how many requests of a batch are answered, for people."""
    counts = batch.get("request_counts")
    if not isinstance(counts, dict) or not counts.get("total"):
        return ""
    return f" ({counts.get('completed')} of {counts['total']} answered, {counts.get('failed')} failed)"


def read_lines(content: bytes) -> Iterator[dict[str, Any] | None]:
    """Yield the objects of a file, and None for a line that is none."""
    for line in io.BytesIO(content):
        if not line.strip():
            continue
        try:
            found = from_json(line)
        except ValueError:
            found = None
        yield found if isinstance(found, dict) and isinstance(found.get("custom_id"), str) else None


def _created(batch: Batch) -> float:
    """Return when a batch was created; where that is not said, it may be new."""
    at = batch.get("created_at")
    return float(at) if isinstance(at, int | float) else time.time()


def _is_batch(found: object) -> bool:
    return isinstance(found, dict) and isinstance(found.get("id"), str)


def _a_batch(found: dict[str, Any]) -> Batch:
    _id_of(found)
    if not isinstance(found.get("status"), str):
        raise ConnectionProblem("malformed", "what it returns as a batch has no status")
    return found


def _id_of(found: dict[str, Any]) -> str:
    if not isinstance(name := found.get("id"), str):
        raise ConnectionProblem("malformed", "what it returns has no id")
    return name
