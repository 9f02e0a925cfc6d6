"""Per-endpoint concurrency limit and circuit breaker.

Circuit breaker (Nygard, Release It!): an endpoint that does not respond, or only with faults, receives no requests
for growing, jittered pauses; after each pause a single request probes whether it is back.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from arbitrage.teachers.engines.openai.concurrency import ConcurrencyLimit
from arbitrage.teachers.engines.openai.retry import backoff_s

Verdict = Literal["success", "answer", "busy", "fault", "denied", "unreachable", "no_access", "nothing"]
"""Result of a request for its endpoint's state. `answer`: it works, also if it refuses a bad row. `denied`: it
refuses this request, and maybe all. `nothing`: cancelled."""

_SET_ASIDE_AFTER = 5
"""The breaker opens after faults of this many different prompts in a row: one bad prompt, sent again and again, is
not enough."""

_DENIED_AFTER = 5
"""Refusals (401, 403, 404) of this many prompts in a row mean that the endpoint refuses all of them."""

_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Permit:
    """A request's permit at an endpoint.

    Attributes:
        endpoint: the endpoint.
        entered_in: the limiter's round.
        is_probe: whether it is the probe of an endpoint whose breaker is open.
    """

    endpoint: "Endpoint"
    entered_in: int
    is_probe: bool


class Endpoint:
    """An address, its concurrency limit and its circuit breaker.

    Args:
        url: base URL.
        most: maximum number of concurrent requests.
        now: the clock, in seconds.
    """

    def __init__(self, url: str, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self.limiter = ConcurrencyLimit(most, now=now)
        self.last_problem: str | None = None
        """The last problem."""
        self.is_out = False
        """Whether it refused access permanently."""
        self.missing: str | None = None
        """Its message that it does not have the model (yet), if that was its last response."""
        self.has_served = False
        """Whether it ever gave a successful response."""
        self.served_at = float("-inf")
        """Time of its last successful response, by the clock."""
        self.aside_since = 0.0
        """Time at which the breaker opened, by the clock."""
        self._now = now
        self._failed: set[str] = set()
        self._denied: set[str] = set()
        self._num_pauses = 0
        self._aside_until = 0.0
        self._is_probed = False

    @property
    def is_aside(self) -> bool:
        """Whether its breaker is open: it receives no requests but probes."""
        return self._num_pauses > 0

    @property
    def load(self) -> float:
        """The share of its limit that is in use, with one more request."""
        return (self.limiter.in_flight + 1) / self.limiter.limit

    def has_room(self) -> bool:
        """Tell whether a request may be sent there now."""
        if self.is_out:
            return False
        if self.is_aside:  # a probe needs no permit, because hanging requests may hold all of them
            return not self._is_probed and self._now() >= self.opens_at()
        return self.limiter.has_room()

    def opens_at(self) -> float:
        """Return when it may have room, by the clock; a past time if it waits for its requests to end."""
        if self._is_probed:
            return 0.0
        return max(self.limiter.closed_until, self._aside_until if self.is_aside else 0.0)

    def enter(self) -> Permit:
        """Take a permit; `has_room` must be true."""
        self._is_probed = self.is_aside
        return Permit(self, self.limiter.enter(), self.is_aside)

    def leave(self, permit: Permit, verdict: Verdict, cause: str = "", wait_s: float = 0.0) -> None:
        """Return a permit.

        Args:
            permit: result of `enter`.
            verdict: result of the request for the endpoint's state.
            cause: with `fault`, `denied` and `unreachable`, the prompt's id; empty if it failed before.
            wait_s: with `busy`, the pause it requests.
        """
        if permit.is_probe:
            self._is_probed = False
        if verdict != "nothing":
            self.missing = None
        if verdict == "busy":
            self.limiter.refused(permit.entered_in, wait_s)
        else:
            self.limiter.leave(verdict == "success")
        self._learn(permit, verdict, cause)

    def _learn(self, permit: Permit, verdict: Verdict, cause: str) -> None:
        match verdict:
            case "success":
                self.has_served, self.served_at = True, self._now()
                self._denied.clear()
                self._recover()
            case "answer" | "busy":
                self._recover()
            case "denied":
                self._denied |= {cause} - {""}
                self._recover()
                self.is_out = len(self._denied) >= _DENIED_AFTER
            case "fault":
                self._failed |= {cause} - {""}
                if permit.is_probe or (len(self._failed) >= _SET_ASIDE_AFTER and not self.is_aside):
                    self._put_aside(cause)
            case "unreachable" if permit.is_probe or not self.is_aside:
                self._put_aside(cause)
            case "no_access":
                self.is_out = True

    def _recover(self) -> None:
        if self._num_pauses > 1:  # not only a short interruption
            self.limiter.restart()
        self._num_pauses = 0
        self._failed.clear()

    def _put_aside(self, cause: str) -> None:
        if not self._num_pauses:
            self.aside_since = self._now()
        self._aside_until = self._now() + min(_LONGEST_PAUSE_S, backoff_s(f"{self.url} {cause}", self._num_pauses))
        self._num_pauses += 1
