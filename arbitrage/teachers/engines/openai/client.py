"""The client behind the `openai` engine: what is sent, and what is done with what comes back."""

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
from arbitrage.teachers.engines.openai.config import OpenAIConfig
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
from arbitrage.teachers.engines.openai.request import PROBE, body_of, said_of
from arbitrage.teachers.engines.openai.retry_lane import RetryLane
from arbitrage.teachers.engines.openai.row import Doubt, RequestState, RetryPolicy, blotted
from arbitrage.teachers.engines.stream import Ending, Window, answer_all_patiently

_MOST_WAITING = 4096
"""Rows that wait to be sent again beside those in flight, at least: some 20 MB. More where more may be in flight."""

_WAITING_PER_PLACE = 8


def _most_waiting(num_places: int) -> int:
    return max(_MOST_WAITING, _WAITING_PER_PLACE * num_places)


_DRAIN_S = 120.0
"""How long what is in flight is waited for, at most, when a teacher is given up."""


class OpenAIEngine:
    """Sends requests to a teacher's endpoints."""

    def __init__(self, config: OpenAIConfig, spec: ModelSpec, headers: Mapping[str, str]) -> None:
        self._config = config
        self._spec = spec
        self._headers = headers
        self._clock = ActiveClock()
        self._urls = {url: URL(f"{url}/chat/completions") for url in config.urls}
        self._wire: HttpClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._num_files = 0
        self._endpoints = [Endpoint(url, config.max_in_flight, self._clock.now) for url in config.urls]
        self._balancer = LoadBalancer(spec.teacher, self._endpoints, config.retry_for_s, self._clock.now)
        self._lane = RetryLane(self._num_places(), _most_waiting(self._num_places()) // 2)
        self._ending = Ending(self._give_up, min(config.timeout_s, _DRAIN_S))
        self._tries = RetryPolicy(config, self._balancer, self._clock, self._denied)

    async def generate(self, requests: Iterable[GenerationRequest]) -> AsyncGenerator[Result, None]:
        """Answer all requests, each as soon as an endpoint answers it.

        When the teacher must be given up, what is in flight is answered first.
        """
        wire = self._open()
        if self._ending.is_idle:
            self._balancer.begin_again()
        most = self._num_places()
        window = Window(most, _most_waiting(most), self._lane)

        async def ask(request: GenerationRequest) -> Result:
            return refuse_empty(request) or await self._insist(wire, window, request)

        async with aclosing(answer_all_patiently(requests, ask, window, self._ending)) as results:
            async for result in results:
                yield result

    def _num_places(self) -> int:
        return sum(endpoint.limiter.most for endpoint in self._endpoints)

    def _give_up(self, error: TeacherError) -> None:
        self._balancer.give_up(error)
        self._lane.open()

    def load(self) -> Load:
        """Return how busy it is, all endpoints together."""
        return Load(
            num_retries=self._tries.num_retries,
            num_refusals=self._tries.num_refusals,
            num_in_flight=self._balancer.num_in_flight,
            num_waiting=self._balancer.num_waiting,
        )

    async def close(self) -> None:
        """Close the connections."""
        wire, self._wire = self._wire, None
        self._clock.leave()
        open_files.release(self._num_files)
        self._num_files = 0
        if wire is not None and self._loop is asyncio.get_running_loop():
            await wire.close()

    def _open(self) -> HttpClient:
        """Return the connections of this event loop; they live on from shard to shard."""
        loop = asyncio.get_running_loop()
        if self._wire is None or self._loop is not loop:
            self._wire, self._loop = HttpClient(self._config, self._headers, self._clock), loop
            self._clock.keep(loop)
            self._reserve_files()
        return self._wire

    def _reserve_files(self) -> None:
        """Raise the limit on open files, or admit fewer requests where it cannot be raised far enough."""
        num_urls = len(self._urls)
        open_files.release(self._num_files)
        self._num_files = open_files.reserve(self._config.max_in_flight * num_urls, least=8 * num_urls)
        for endpoint in self._endpoints:
            endpoint.limiter.allow(max(1, self._num_files // num_urls))

    async def _insist(self, wire: HttpClient, window: Window, request: GenerationRequest) -> Result:
        """Ask until there is a result: `num_tries` times over faults, `retry_for_s` while no endpoint serves."""
        row = RequestState(request)
        found = await self._attempt(wire, row)
        while found is None:
            if (resumes_at := self._balancer.resumes_at(row.shunned)) is None:
                found = await self._attempt(wire, row)
                continue
            with window.stepped_out():
                await self._balancer.pause(resumes_at)
                await self._lane.enter()
            try:
                found = await self._attempt(wire, row)
            finally:
                self._lane.leave()
        return found

    async def _attempt(self, wire: HttpClient, row: RequestState) -> Result | None:
        """Ask once, as soon as there is a place; return None where it is to be asked again."""
        place = await self._balancer.enter(row.shunned, row.since)
        try:
            found = await self._try(wire, row, place)
        except BaseException:
            self._balancer.leave(place, "nothing")
            raise
        return await self._resolve(wire, row, found) if isinstance(found, Doubt) else found

    async def _try(self, wire: HttpClient, row: RequestState, place: Permit) -> Result | Doubt | None:
        """Ask once, and give the place back unless something unforeseen is raised."""
        try:
            result, is_served = await self._ask(wire, place.endpoint, row.request)
        except ConnectionProblem as trouble:
            if not place.endpoint.has_served:
                trouble = await self._looked_into(wire, place.endpoint, trouble)
            return self._tries.after(row, place, trouble)
        self._balancer.leave(place, "success" if is_served else "answer")
        self._tries.earn()
        return result

    async def _ask(self, wire: HttpClient, endpoint: Endpoint, request: GenerationRequest) -> tuple[Result, bool]:
        """Return what a request brings, and whether the endpoint served it."""
        secrets = tuple(self._headers.values())
        try:
            reply = await wire.send("POST", self._urls[endpoint.url], body_of(self._config, self._spec, request))
            result = classify_response(request, reply, self._spec.model, self._config.no_finish_reason == "reject")
        except ConnectionProblem as trouble:
            raise ConnectionProblem(trouble.kind, blotted(str(trouble), secrets), trouble.wait_s) from trouble
        if isinstance(result, Failure) and result.detail:
            result = replace(result, detail=blotted(result.detail, secrets))
        return result, isinstance(result, Completion) or reply.status == 200

    async def _looked_into(
        self, wire: HttpClient, endpoint: Endpoint, trouble: ConnectionProblem
    ) -> ConnectionProblem:
        """Make sure of what is said of an endpoint that has not served anything yet."""
        if trouble.kind == "not_found":
            return await self._looked_up(wire, endpoint, trouble)
        if trouble.kind != "no_access" or endpoint.is_out:
            return trouble
        if endpoint.limiter.in_flight > 1 or await self._serves_probe(wire, endpoint):  # the others will show it
            return ConnectionProblem("denied", str(trouble))
        return trouble

    async def _serves_probe(self, wire: HttpClient, endpoint: Endpoint) -> bool:
        try:
            await self._ask(wire, endpoint, PROBE)
        except ConnectionProblem:
            return False
        return True

    async def _looked_up(self, wire: HttpClient, endpoint: Endpoint, trouble: ConnectionProblem) -> ConnectionProblem:
        """Tell a model that is still being loaded from one that the endpoint does not have, where it lists them."""
        if endpoint.missing is not None:
            return trouble
        try:
            served = parse_models(await wire.send("GET", URL(f"{endpoint.url}/models")), self._spec.model)
        except (ConnectionProblem, MalformedResponse):
            return trouble
        if not served or any(is_model(name, self._spec.model) for name in served):
            return trouble
        return ConnectionProblem("no_access", f"{trouble}; it serves {listed(served)}")

    async def _resolve(self, wire: HttpClient, row: RequestState, doubt: Doubt) -> Failure | None:
        """Find out by a harmless request whether a row is refused, or all are."""
        try:
            await self._ask(wire, doubt.endpoint, PROBE)
        except ConnectionProblem as trouble:
            if trouble.kind in ("denied", "not_found", "no_access"):
                self._balancer.refuse(doubt.endpoint, doubt.why)
                return None
            return self._tries.undecided(row, doubt, trouble)
        return doubt.failure

    def _denied(self, url: str, why: str) -> str:
        return said_of(self._config, self._spec, url, why)
