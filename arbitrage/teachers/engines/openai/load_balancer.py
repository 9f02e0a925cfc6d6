"""Load balancer: the next request goes to the endpoint with most room; requests are served in order of arrival."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from arbitrage.errors import TeacherAccessError, TeacherBusyError, TeacherError, TeacherUnreachableError
from arbitrage.teachers.engines.openai.endpoint import Endpoint, Permit, Verdict

_FAR_S = 60.0
"""Longest pause of our own; a longer one was requested by an endpoint."""


@dataclass(eq=False, slots=True)
class _Waiter:
    not_before: Mapping[str, float]
    since: float
    is_refused: bool
    permit: Permit | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class LoadBalancer:
    """Issues permits. Belongs to one event loop at a time.

    Args:
        teacher: for messages.
        endpoints: at least one.
        retry_for_s: how long a request waits while no endpoint serves.
        now: the clock of the endpoints.
    """

    def __init__(
        self,
        teacher: str,
        endpoints: Sequence[Endpoint],
        retry_for_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._teacher = teacher
        self._endpoints = tuple(endpoints)
        self._retry_for_s = retry_for_s
        self._now = now
        self._last_answer = 0.0
        self._queue: dict[_Waiter, None] = {}  # ordered, with fast removal
        self._paused: set[asyncio.Event] = set()
        self._denials: dict[str, str] = {}
        self._given_up: TeacherError | None = None

    @property
    def num_waiting(self) -> int:
        """Requests without a permit."""
        return len(self._queue) + len(self._paused)

    @property
    def num_in_flight(self) -> int:
        """Requests with a permit."""
        return sum(endpoint.limiter.in_flight for endpoint in self._endpoints)

    def usable(self) -> list[Endpoint]:
        """Return the endpoints that have not refused access permanently."""
        return [endpoint for endpoint in self._endpoints if not endpoint.is_out]

    def resumes_at(self, not_before: Mapping[str, float]) -> float | None:
        """Return the time until which a request avoids all endpoints; None if it does not."""
        if not not_before or self._given_up is not None:
            return None
        at = min((not_before.get(endpoint.url, 0.0) for endpoint in self.usable()), default=0.0)
        return at if at > self._now() else None

    async def pause(self, until: float) -> None:
        """Sleep until a time, or until the teacher is given up."""
        over = asyncio.Event()
        self._paused.add(over)
        try:
            async with asyncio.timeout(max(0.0, until - self._now())):
                await over.wait()
        except TimeoutError:
            return
        finally:
            self._paused.discard(over)

    def give_up(self, error: TeacherError) -> None:
        """Let all requests fail that are not in flight, now and later."""
        self._given_up = error
        for waiter in self._queue:
            waiter.changed.set()
        for over in self._paused:
            over.set()

    def refuse(self, endpoint: Endpoint, why: str) -> None:
        """Note that an endpoint refuses access permanently."""
        endpoint.is_out = True
        self._denials[endpoint.url] = why
        for waiter in self._queue:
            waiter.changed.set()

    def begin_again(self) -> None:
        """Issue permits again after `give_up`."""
        self._given_up = None

    async def enter(self, not_before: Mapping[str, float], since: float | None = None) -> Permit:
        """Wait for a permit.

        Args:
            not_before: URL → time before which this request must not be sent there.
            since: when this request first met an endpoint that did not serve; None if it did not: then waiting for
                the URLs that it avoids is no reason to give up.

        Raises:
            TeacherUnreachableError: no endpoint will serve within `retry_for_s` of that, or of the last response.
            TeacherAccessError: all endpoints refused access permanently.
            TeacherError: the teacher was given up.
        """
        if self._given_up is not None:
            raise self._given_up
        if not self._queue and (endpoint := self._choose(not_before)) is not None:
            return endpoint.enter()
        waiter = _Waiter(not_before, self._now() if since is None else since, since is not None)
        self._queue[waiter] = None
        try:
            while True:
                self._admit()
                if waiter.permit is not None:
                    return waiter.permit
                await self._change(waiter)
        except BaseException:
            if waiter.permit is not None:  # granted at the same moment
                self.leave(waiter.permit, "nothing")
            raise
        finally:
            self._queue.pop(waiter, None)

    def leave(self, permit: Permit, verdict: Verdict, why: str = "", cause: str = "", wait_s: float = 0.0) -> None:
        """Return a permit; for the arguments see `Endpoint.leave`. `why`: the problem, if any."""
        endpoint = permit.endpoint
        was_aside = endpoint.is_aside
        endpoint.leave(permit, verdict, cause, wait_s)
        if verdict in ("success", "answer"):
            self._last_answer = self._now()
        elif verdict in ("no_access", "denied"):
            self._denials[endpoint.url] = why
        if why:
            endpoint.last_problem = why
        if not self._queue:
            return
        self._admit()
        if permit.is_probe or endpoint.is_aside != was_aside or endpoint.is_out or verdict == "busy":
            for waiter in self._queue:  # the state that waiters depend on has changed
                waiter.changed.set()

    def _admit(self) -> None:
        if not any(endpoint.has_room() for endpoint in self._endpoints):
            return
        admitted = []
        for waiter in self._queue:
            if (endpoint := self._choose(waiter.not_before)) is not None:
                waiter.permit = endpoint.enter()
                waiter.changed.set()
                admitted.append(waiter)
                if not any(endpoint.has_room() for endpoint in self._endpoints):
                    break
        for waiter in admitted:
            del self._queue[waiter]

    def _choose(self, not_before: Mapping[str, float]) -> Endpoint | None:
        fitting = [e for e in self._endpoints if e.has_room()]
        if not_before:
            now = self._now()
            fitting = [e for e in fitting if not_before.get(e.url, 0.0) <= now]
        return min(fitting, key=lambda endpoint: endpoint.load, default=None)

    async def _change(self, waiter: _Waiter) -> None:
        """Sleep until the state may have changed for a waiter; raise if that would be too late."""
        if self._given_up is not None:
            raise self._given_up
        if not (usable := self.usable()):
            raise TeacherAccessError("; ".join(self._denials[e.url] for e in self._endpoints))
        now = self._now()
        if self._choose(waiter.not_before) is not None:  # a pause ended at this moment
            return
        opens_at = [max(e.opens_at(), waiter.not_before.get(e.url, 0.0)) for e in usable]
        serves_at = min(opens_at) if waiter.is_refused else min(e.opens_at() for e in usable)
        if serves_at > now and serves_at - max(waiter.since, self._last_answer) > self._retry_for_s:
            raise self._unreachable(serves_at - now)
        wakes_at = min((at for at in opens_at if at > now), default=None)  # past: they wait for a permit
        waiter.changed.clear()
        try:
            async with asyncio.timeout(None if wakes_at is None else max(0.001, wakes_at - now)):
                await waiter.changed.wait()
        except TimeoutError:
            return

    def _unreachable(self, wait_s: float) -> TeacherUnreachableError | TeacherAccessError:
        """Return the error that ends the step: the last problem of each endpoint, and the reason to give up."""
        found = "; ".join(f"{e.url}: {e.last_problem or 'does not serve'}" for e in self._endpoints)
        where = f"teacher '{self._teacher}': {found}"
        if wait_s > max(self._retry_for_s, _FAR_S):
            return TeacherBusyError(
                f"{where}; it serves again later than after retry_for_s ({self._retry_for_s:g} s): rerun the same "
                "command then to resume, or raise retry_for_s in the teacher's engine"
            )
        gave_up = f"{where}; gave up after trying for {self._retry_for_s:g} s"
        refusals = [self._denials.get(e.url) if e.is_out else e.missing for e in self._endpoints]
        if None in refusals:
            return TeacherUnreachableError(gave_up)
        found = "; ".join(refusal for refusal in refusals if refusal is not None)
        return TeacherAccessError(
            f"{found}; gave up after waiting {self._retry_for_s:g} s for the model to be loaded"
        )
