"""The running `openai` engine: sends requests to the endpoints, and retries them."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace

from yarl import URL

from arbitrage.contracts.engines import Completion, Failure, GenerationRequest
from arbitrage.contracts.workers import Load
from arbitrage.errors import TeacherError
from arbitrage.processes import open_files
from arbitrage.teachers.engines.engine import ModelSpec, Result, refuse_empty
from arbitrage.teachers.engines.openai.active_clock import ActiveClock
from arbitrage.teachers.engines.openai.endpoint import Endpoint, Permit
from arbitrage.teachers.engines.openai.http import ConnectionProblem, HttpClient
from arbitrage.teachers.engines.openai.load_balancer import LoadBalancer
from arbitrage.teachers.engines.openai.protocol import (
    MalformedResponse,
    classify_response,
    is_model,
    listed,
    parse_models,
)
from arbitrage.teachers.engines.openai.request import PROBE, access_problem, body_of
from arbitrage.teachers.engines.openai.retry_lane import RetryLane
from arbitrage.teachers.engines.openai.row import OpenRefusal, RequestState, RetryPolicy, without_secrets
from arbitrage.teachers.engines.openai.settings import OpenAISettings
from arbitrage.teachers.engines.stream import Ending, Window, send_all_draining
from arbitrage.teachers.tools import parser_of
from arbitrage.text.reasoning_formats import format_named

_MOST_WAITING = 4096
"""Minimum limit on rows that wait for a retry, about 20 MB; higher if more may be in flight."""

_WAITING_PER_PERMIT = 8


def _most_waiting(num_permits: int) -> int:
    return max(_MOST_WAITING, _WAITING_PER_PERMIT * num_permits)


_DRAIN_S = 120.0
"""Maximum time to wait for requests in flight when a teacher is given up."""


class OpenAIEngine:
    """Sends requests to a teacher's endpoints."""

    def __init__(self, config: OpenAISettings, spec: ModelSpec, headers: Mapping[str, str]) -> None:
        self._config = config
        self._spec = spec
        self._headers = headers
        parser = spec.reasoning_parser
        self._marks = None if parser in ("auto", "none") else format_named(parser)
        self._calls = parser_of(spec.tool_parser)
        self._clock = ActiveClock()
        self._urls = {url: URL(f"{url}/chat/completions") for url in config.urls}
        self._http: HttpClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._num_files = 0
        self._endpoints = [Endpoint(url, config.max_in_flight, self._clock.now) for url in config.urls]
        self._balancer = LoadBalancer(spec.teacher, self._endpoints, config.retry_for_s, self._clock.now)
        self._lane = RetryLane(self._num_permits(), _most_waiting(self._num_permits()) // 2)
        self._ending = Ending(self._give_up, min(config.timeout_s, _DRAIN_S))
        self._tries = RetryPolicy(config, self._balancer, self._clock, self._access_problem)

    async def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Result, None]:
        """Serve all requests; yield each result as it arrives.

        When the teacher must be given up, the requests in flight are completed first.
        """
        http = self._open()
        if self._ending.is_idle:
            self._balancer.begin_again()
        most = self._num_permits()
        window = Window(most, _most_waiting(most), self._lane)

        async def send(request: GenerationRequest) -> Result:
            return refuse_empty(request) or await self._send_until_result(http, window, request)

        async with aclosing(send_all_draining(requests, send, window, self._ending)) as results:
            async for result in results:
                yield result

    def _num_permits(self) -> int:
        return sum(endpoint.limiter.most for endpoint in self._endpoints)

    def _give_up(self, error: TeacherError) -> None:
        self._balancer.give_up(error)
        self._lane.open()

    def load(self) -> Load:
        """Return the load of all endpoints together."""
        return Load(
            num_retries=self._tries.num_retries,
            num_refusals=self._tries.num_refusals,
            num_in_flight=self._balancer.num_in_flight,
            num_waiting=self._balancer.num_waiting,
        )

    async def close(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        self._clock.leave()
        open_files.release(self._num_files)
        self._num_files = 0
        if http is not None and self._loop is asyncio.get_running_loop():
            await http.close()

    def _open(self) -> HttpClient:
        """Return the connections of this event loop; they stay open between shards."""
        loop = asyncio.get_running_loop()
        if self._http is None or self._loop is not loop:
            self._http, self._loop = HttpClient(self._config, self._headers, self._clock), loop
            self._clock.keep(loop)
            self._reserve_files()
        return self._http

    def _reserve_files(self) -> None:
        """Raise the limit on open files, or limit concurrency if it cannot be raised enough."""
        num_urls = len(self._urls)
        open_files.release(self._num_files)
        self._num_files = open_files.reserve(self._config.max_in_flight * num_urls, least=8 * num_urls)
        for endpoint in self._endpoints:
            endpoint.limiter.allow(max(1, self._num_files // num_urls))

    async def _send_until_result(self, http: HttpClient, window: Window, request: GenerationRequest) -> Result:
        """Send until there is a result: `num_tries` times after faults, `retry_for_s` while no endpoint serves."""
        row = RequestState(request)
        found = await self._attempt(http, row)
        while found is None:
            if (resumes_at := self._balancer.resumes_at(row.not_before)) is None:
                found = await self._attempt(http, row)
                continue
            with window.stepped_out():
                await self._balancer.pause(resumes_at)
                await self._lane.enter()
            try:
                found = await self._attempt(http, row)
            finally:
                self._lane.leave()
        return found

    async def _attempt(self, http: HttpClient, row: RequestState) -> Result | None:
        """Send once, when there is a permit; return None if the request is to be sent again."""
        permit = await self._balancer.enter(row.not_before, row.since)
        try:
            found = await self._send_once(http, row, permit)
        except BaseException:
            self._balancer.leave(permit, "nothing")
            raise
        return await self._resolve(http, row, found) if isinstance(found, OpenRefusal) else found

    async def _send_once(self, http: HttpClient, row: RequestState, permit: Permit) -> Result | OpenRefusal | None:
        """Send once, and return the permit unless an unexpected error is raised."""
        try:
            result, is_served = await self._send(http, permit.endpoint, row.request)
        except ConnectionProblem as problem:
            if not permit.endpoint.has_served:
                problem = await self._verified(http, permit.endpoint, problem)
            return self._tries.after(row, permit, problem)
        self._balancer.leave(permit, "success" if is_served else "answer")
        self._tries.earn()
        return result

    async def _send(self, http: HttpClient, endpoint: Endpoint, request: GenerationRequest) -> tuple[Result, bool]:
        """Return the result of a request, and whether the endpoint served it."""
        secrets = tuple(self._headers.values())
        try:
            reply = await http.send("POST", self._urls[endpoint.url], body_of(self._config, self._spec, request))
            result = classify_response(
                request,
                reply,
                self._spec.model,
                self._config.no_finish_reason == "reject",
                self._marks,
                self._calls,
            )
        except ConnectionProblem as problem:
            raise ConnectionProblem(problem.kind, without_secrets(str(problem), secrets), problem.wait_s) from problem
        if isinstance(result, Failure) and result.detail:
            result = replace(result, detail=without_secrets(result.detail, secrets))
        return result, isinstance(result, Completion) or reply.status == 200

    async def _verified(self, http: HttpClient, endpoint: Endpoint, problem: ConnectionProblem) -> ConnectionProblem:
        """Verify a refusal by an endpoint that has not served anything yet."""
        if problem.kind == "not_found":
            return await self._checked_against_models(http, endpoint, problem)
        if problem.kind != "no_access" or endpoint.is_out:
            return problem
        if endpoint.limiter.in_flight > 1 or await self._serves_probe(http, endpoint):  # other requests will show it
            return ConnectionProblem("denied", str(problem))
        return problem

    async def _serves_probe(self, http: HttpClient, endpoint: Endpoint) -> bool:
        try:
            await self._send(http, endpoint, PROBE)
        except ConnectionProblem:
            return False
        return True

    async def _checked_against_models(
        self, http: HttpClient, endpoint: Endpoint, problem: ConnectionProblem
    ) -> ConnectionProblem:
        """Distinguish a model that is still loading from one that the endpoint does not list."""
        if endpoint.missing is not None:
            return problem
        try:
            served = parse_models(await http.send("GET", URL(f"{endpoint.url}/models")), self._spec.model)
        except (ConnectionProblem, MalformedResponse):
            return problem
        if not served or any(is_model(name, self._spec.model) for name in served):
            return problem
        return ConnectionProblem("no_access", f"{problem}; it serves {listed(served)}")

    async def _resolve(self, http: HttpClient, row: RequestState, refusal: OpenRefusal) -> Failure | None:
        """Send a harmless request to decide whether one row is refused, or all are."""
        try:
            await self._send(http, refusal.endpoint, PROBE)
        except ConnectionProblem as problem:
            if problem.kind in ("denied", "not_found", "no_access"):
                self._balancer.refuse(refusal.endpoint, refusal.why)
                return None
            return self._tries.after_probe(row, refusal, problem)
        return refusal.failure

    def _access_problem(self, url: str, why: str) -> str:
        return access_problem(self._config, self._spec, url, why)
