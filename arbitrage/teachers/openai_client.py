"""The client behind the `openai` engine: what to send, what each status means, when to try again."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from arbitrage.contracts import Failure, GenerationRequest
from arbitrage.errors import TeacherAccessError, TeacherUnreachableError
from arbitrage.teachers.engine import ModelSpec, Result, refuse_empty
from arbitrage.teachers.limiter import Limiter
from arbitrage.teachers.openai import OpenAIEngine
from arbitrage.teachers.openai_answer import Garbage, parse_answer, parse_models, refusal
from arbitrage.teachers.retry import backoff_s, retry_after_s
from arbitrage.teachers.stream import answer_all

_BAD_REQUEST = frozenset({400, 413, 422})
_ACCESS = {401: "the key is missing or wrong", 403: "no permission", 404: "no such model or path"}
_BUSY = frozenset({429, 503})
_CONNECT_S = 30.0


class Unreachable(Exception):
    """Nobody answered, or the endpoint is busy: the row is not to blame."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class Faulty(Exception):
    """An answer that makes no sense, or an error inside the endpoint: the row may be to blame."""


@dataclass(slots=True)
class _Reply:
    status: int
    retry_after: str | None
    body: bytes


class OpenAIClient:
    """Asks one endpoint. A session lasts for one call of `generate`, the limiter for all."""

    def __init__(self, config: OpenAIEngine, spec: ModelSpec, headers: Mapping[str, str]) -> None:
        self._config = config
        self._spec = spec
        self._headers = headers
        self._limiter = Limiter(config.max_in_flight)
        self._url = f"{config.base_url}/chat/completions"

    async def generate(self, requests: Sequence[GenerationRequest]) -> AsyncIterator[Result]:
        """Answer all requests, each as soon as the endpoint answers it."""
        async with _session(self._config, self._headers) as session:

            async def ask(request: GenerationRequest) -> Result:
                return refuse_empty(request) or await self._insist(session, request)

            async for result in answer_all(requests, ask, self._config.max_in_flight):
                yield result

    async def close(self) -> None:
        """Hold nothing, release nothing."""

    async def _insist(self, session: aiohttp.ClientSession, request: GenerationRequest) -> Result:
        """Ask until there is a result: `num_tries` times over faults, `retry_for_s` over a busy endpoint."""
        started = time.monotonic()
        num_faults = num_waits = 0
        while True:
            try:
                return await self._ask(session, request)
            except Faulty as error:
                num_faults += 1
                if num_faults >= self._config.num_tries:
                    return Failure(request.candidate_id, "engine_error", str(error))
                wait_s = backoff_s(request.candidate_id, num_faults - 1)
            except Unreachable as error:
                num_waits += 1
                wait_s = backoff_s(request.candidate_id, num_waits - 1) if error.wait_s is None else error.wait_s
                if time.monotonic() + wait_s - started > self._config.retry_for_s:
                    raise self._unreachable(error) from error
            await asyncio.sleep(wait_s)

    async def _ask(self, session: aiohttp.ClientSession, request: GenerationRequest) -> Result:
        entered_at = await self._limiter.enter()
        is_success, refused_for = False, None
        try:
            reply = await _post(session, self._url, self._body(request))
            if reply.status in _BUSY:
                refused_for = retry_after_s(reply.retry_after)
                refused_for = backoff_s(request.candidate_id, 0) if refused_for is None else refused_for
                raise Unreachable(f"it answers {reply.status}", refused_for)
            is_success = reply.status == 200
            return self._judge(request, reply)
        except TimeoutError:
            return Failure(request.candidate_id, "timeout", f"no answer in {self._config.timeout_s:g} s")
        finally:
            if refused_for is None:
                self._limiter.leave(is_success)
            else:
                self._limiter.refused(entered_at, refused_for)

    def _judge(self, request: GenerationRequest, reply: _Reply) -> Result:
        if reply.status == 200:
            try:
                return parse_answer(request, reply.body)
            except Garbage as error:
                raise Faulty(str(error)) from error
        if reply.status in _BAD_REQUEST:
            reason, detail = refusal(reply.body, tuple(self._headers.values()))
            return Failure(request.candidate_id, reason, f"{reply.status}: {detail}")
        if reply.status >= 500 or reply.status in (408, 409, 425):
            raise Faulty(f"the endpoint answers {reply.status}")
        raise _refused_for_good(self._config, self._spec, reply.status)

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._spec.model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "temperature": request.temperature,
            "top_p": request.top_p,
            self._config.max_tokens_field: request.max_tokens,
        }
        if self._config.send_seed:
            body["seed"] = request.seed
        if self._config.logprobs:
            body["logprobs"] = True
        if self._spec.template_options:
            body["chat_template_kwargs"] = dict(self._spec.template_options)
        return body | self._config.extra_body

    def _unreachable(self, error: Unreachable) -> TeacherUnreachableError:
        wait = "" if error.wait_s is None else f", asking to wait {error.wait_s:.0f} s"
        return TeacherUnreachableError(
            f"teacher '{self._spec.teacher}': {self._config.base_url}: {error}{wait}; "
            f"gave up after trying for {self._config.retry_for_s:g} s"
        )


async def list_models(config: OpenAIEngine, spec: ModelSpec, headers: Mapping[str, str]) -> list[str]:
    """Return the names of the models an endpoint serves.

    Raises:
        TeacherAccessError: it refuses us.
        TeacherUnreachableError: nobody answers, or not sensibly.
    """
    where = f"teacher '{spec.teacher}': {config.base_url}"
    async with _session(config, headers) as session:
        try:
            async with session.get(f"{config.base_url}/models", allow_redirects=False) as response:
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TeacherUnreachableError(f"{where}: {type(error).__name__}") from error
    if status >= 500 or status in _BUSY:
        raise TeacherUnreachableError(f"{where}: it answers {status}")
    if status != 200:
        raise _refused_for_good(config, spec, status)
    try:
        return parse_models(body)
    except Garbage as error:
        raise TeacherUnreachableError(f"{where}: {error}") from error


def _session(config: OpenAIEngine, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers=headers,
        connector=aiohttp.TCPConnector(limit=0),  # the limiter limits
        timeout=aiohttp.ClientTimeout(total=config.timeout_s, connect=None, sock_connect=_CONNECT_S),
    )


async def _post(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any]) -> _Reply:
    """Send a request.

    Raises:
        Unreachable: no connection.
        Faulty: a connection that broke before the answer was complete.
        TimeoutError: the answer takes too long.
    """
    try:
        async with session.post(url, json=body, allow_redirects=False) as response:
            return _Reply(response.status, response.headers.get("Retry-After"), await response.read())
    except aiohttp.ConnectionTimeoutError as error:
        raise Unreachable("no connection in time") from error
    except aiohttp.ClientConnectorError as error:
        raise Unreachable(f"no connection ({error.os_error.strerror or type(error).__name__})") from error
    except aiohttp.ClientError as error:
        raise Faulty(f"the connection broke ({type(error).__name__})") from error


def _refused_for_good(config: OpenAIEngine, spec: ModelSpec, status: int) -> TeacherAccessError:
    why = _ACCESS.get(status, "that is no OpenAI-compatible endpoint")
    key = f"key from {config.api_key_env}" if config.api_key_env else "no api_key_env given"
    return TeacherAccessError(
        f"teacher '{spec.teacher}': {config.base_url} answers {status} for model {spec.model}: {why} ({key})"
    )
