"""The client behind the `openai` engine: what to send, and when and where to try again."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json
from yarl import URL

from arbitrage.contracts.engines import Failure, GenerationRequest
from arbitrage.contracts.workers import Load
from arbitrage.errors import TeacherAccessError, TeacherUnreachableError
from arbitrage.teachers.balancer import Balancer
from arbitrage.teachers.endpoint import Endpoint, Place
from arbitrage.teachers.engine import ModelSpec, Result, refuse_empty
from arbitrage.teachers.openai import OpenAIEngine
from arbitrage.teachers.openai_answer import BUSY, Garbage, denial, judge, parse_models
from arbitrage.teachers.openai_wire import Trouble, Wire
from arbitrage.teachers.retry import RetryBudget, backoff_s, longest_backoff_s
from arbitrage.teachers.stream import answer_all

_STALE_TRIES = 2
"""Kept-alive connections that may break under one request; the server closes all of its own at about one time."""

_TIMED_OUT_PAUSE_S = 60.0


@dataclass(slots=True)
class _Row:
    """A request, and what it went through."""

    request: GenerationRequest
    num_faults: int = 0
    num_waits: int = 0
    num_stale: int = 0
    since: float | None = None  # when it first met an endpoint that does not serve
    shunned: dict[str, float] = field(default_factory=dict)  # URL → not before this time
    timed_out: set[str] = field(default_factory=set)


class OpenAIClient:
    """Asks a teacher's endpoints."""

    def __init__(self, config: OpenAIEngine, spec: ModelSpec, headers: Mapping[str, str]) -> None:
        self._config = config
        self._spec = spec
        self._headers = headers
        self._budget = RetryBudget()
        self._num_retries = self._num_refusals = 0
        self._urls = {url: URL(f"{url}/chat/completions") for url in config.urls}
        self._wire: Wire | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        endpoints = [Endpoint(url, config.max_in_flight) for url in config.urls]
        self._balancer = Balancer(spec.teacher, endpoints, config.retry_for_s)

    async def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Result, None]:
        """Answer all requests, each as soon as an endpoint answers it."""
        wire = self._open()

        async def ask(request: GenerationRequest) -> Result:
            return refuse_empty(request) or await self._insist(wire, request)

        most = self._config.max_in_flight * len(self._config.urls)
        async with aclosing(answer_all(requests, ask, most)) as results:
            async for result in results:
                yield result

    def load(self) -> Load:
        """Return how busy it is, all endpoints together."""
        return Load(
            num_retries=self._num_retries,
            num_refusals=self._num_refusals,
            num_in_flight=self._balancer.num_in_flight,
            num_waiting=self._balancer.num_waiting,
        )

    async def close(self) -> None:
        """Close the connections."""
        wire, self._wire = self._wire, None
        if wire is not None and self._loop is asyncio.get_running_loop():
            await wire.close()

    def _open(self) -> Wire:
        """Return the connections of this event loop; they live on from shard to shard."""
        if self._wire is None or self._loop is not asyncio.get_running_loop():
            self._wire, self._loop = Wire(self._config, self._headers), asyncio.get_running_loop()
        return self._wire

    async def _insist(self, wire: Wire, request: GenerationRequest) -> Result:
        """Ask until there is a result: `num_tries` times over faults, `retry_for_s` while no endpoint serves."""
        self._budget.earn()
        row = _Row(request)
        while True:
            place = await self._balancer.enter(row.shunned, row.since)
            try:
                result = await self._ask(wire, row, place)
            except Trouble as trouble:
                result = self._after(row, place, trouble)
            except BaseException:
                self._balancer.leave(place, "nothing")
                raise
            else:
                self._balancer.leave(place, "answer" if isinstance(result, Failure) else "success")
            if result is not None:
                return result

    async def _ask(self, wire: Wire, row: _Row, place: Place) -> Result | None:
        url, body = self._urls[place.endpoint.url], to_json(self._body(row.request))
        reply = await wire.send("POST", url, body)
        return judge(row.request, reply, self._spec.model, tuple(self._headers.values()))

    def _after(self, row: _Row, place: Place, trouble: Trouble) -> Result | None:
        """Give the place back; return the row's result if it fails, else note where not to ask before when."""
        if trouble.kind == "busy":
            self._wait(row, place, trouble)
            return None
        if trouble.kind == "stale" and row.num_stale < _STALE_TRIES:
            row.num_stale += 1
            self._balancer.leave(place, "nothing")
        elif trouble.kind == "unreachable":
            row.since = time.monotonic() if row.since is None else row.since
            self._balancer.leave(place, "unreachable", str(trouble), row.request.candidate_id)
        elif trouble.kind == "no_access":
            why = _denial(self._config, self._spec, place.endpoint.url, str(trouble))
            self._balancer.leave(place, "no_access", why)
        else:
            return self._fault(row, place, trouble)
        self._num_retries += 1
        return None

    def _wait(self, row: _Row, place: Place, trouble: Trouble) -> None:
        """The endpoint is busy. Others may not be."""
        self._num_refusals += 1
        now = time.monotonic()
        row.since = now if row.since is None else row.since
        why, wait_s = str(trouble), trouble.wait_s
        if wait_s is None:
            wait_s = backoff_s(row.request.candidate_id, row.num_waits)
        else:
            why = f"{why}, asking to wait {wait_s:.0f} s"
        row.num_waits += 1
        row.shunned[place.endpoint.url] = now + wait_s
        self._balancer.leave(place, "busy", why, wait_s=wait_s)

    def _fault(self, row: _Row, place: Place, trouble: Trouble) -> Result | None:
        """Row or endpoint is sick. The row pays with a try, unless its endpoint is known to be the sick one."""
        endpoint, request = place.endpoint, row.request
        is_timeout = trouble.kind == "timeout"
        is_alone = len(self._balancer.usable()) == 1
        blames = not (is_timeout and is_alone)  # a sole slow endpoint is not made faster by pausing
        cause = "" if row.num_faults else request.prompt_id
        row.since = None  # it was not turned away
        self._balancer.leave(place, "fault" if blames else "nothing", str(trouble), cause)
        if place.is_probe or not endpoint.is_aside:
            row.num_faults += 1
        if is_timeout:
            row.timed_out.add(endpoint.url)
            if row.timed_out >= {e.url for e in self._balancer.usable()}:
                return Failure(request.candidate_id, "timeout", f"no answer in {self._config.timeout_s:g} s")
            row.shunned[endpoint.url] = time.monotonic() + _TIMED_OUT_PAUSE_S
        if row.num_faults >= self._config.num_tries:
            return Failure(request.candidate_id, "engine_error", str(trouble))
        self._num_retries += 1
        if not endpoint.is_aside:  # where it is, the wait for its return is pause enough
            self._pause(row, endpoint, is_timeout)
        return None

    def _pause(self, row: _Row, endpoint: Endpoint, is_timeout: bool) -> None:
        """Keep a row away from where it failed, and from all endpoints where retries are over budget."""
        now, candidate_id = time.monotonic(), row.request.candidate_id
        if not self._budget.spend():
            until = now + longest_backoff_s(candidate_id)
            row.shunned = {url: max(until, row.shunned.get(url, 0.0)) for url in self._config.urls}
        elif not is_timeout:
            row.shunned[endpoint.url] = now + backoff_s(candidate_id, max(0, row.num_faults - 1))

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


async def list_models(config: OpenAIEngine, url: str, spec: ModelSpec, headers: Mapping[str, str]) -> list[str]:
    """Return the names of the models an endpoint serves.

    Raises:
        TeacherAccessError: it refuses us.
        TeacherUnreachableError: nobody answers, or not sensibly.
    """
    where = f"teacher '{spec.teacher}': {url}"
    wire = Wire(config, headers)
    try:
        reply = await wire.send("GET", URL(f"{url}/models"))
    except Trouble as trouble:
        if trouble.kind == "no_access":
            raise TeacherAccessError(_denial(config, spec, url, str(trouble))) from trouble
        raise TeacherUnreachableError(f"{where}: {trouble}") from trouble
    finally:
        await wire.close()
    if reply.status >= 500 or reply.status in BUSY:
        raise TeacherUnreachableError(f"{where}: it answers {reply.status}")
    if reply.status != 200:
        raise TeacherAccessError(_denial(config, spec, url, denial(reply.status, spec.model)))
    try:
        return parse_models(reply.body)
    except Garbage as error:
        raise TeacherUnreachableError(f"{where}: {error}") from error


def _denial(config: OpenAIEngine, spec: ModelSpec, url: str, why: str) -> str:
    key = f"key from {config.api_key_env}" if config.api_key_env else "no api_key_env given"
    return f"teacher '{spec.teacher}': {url} {why} ({key})"
