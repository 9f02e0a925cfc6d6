"""Concurrency limit of an endpoint, adapted by additive increase and multiplicative decrease.

The limit grows by one with each response until the endpoint first pushes back (429, 503), then along CUBIC's curve
(RFC 9438 §4.2): quickly back to the limit of the last push-back, slowly around it, and quickly beyond it, so that a
higher limit is found again. Time on that curve is counted in round trips (as many responses as the limit), not in
seconds, so it does not depend on the server's speed.
"""

import time
from collections.abc import Callable

_FIRST_DECREASE = 0.7
_DECREASE = 0.95
_LARGEST_DECREASE = 0.25
_REFUSALS_IN_A_ROW = 3
"""This many push-backs without a success between them mean a rate limit: all requests wait."""

_LONGEST_PAUSE_S = 30.0
_RETURN_ROUNDS = 4.0
_RETURN_ANSWERS = 120.0
"""The curve is back at the last push-back after 4 round trips, yet not before 120 answers: about one 429 in each."""


class ConcurrencyLimit:
    """Counts the requests in flight to one endpoint, and tells whether another may be sent.

    Args:
        most: maximum number of requests in flight.
        start: initial limit.
        now: the clock, in seconds.
    """

    def __init__(self, most: int, start: int = 64, now: Callable[[], float] = time.monotonic) -> None:
        self._most = float(most)
        self._start = float(min(start, most))
        self._now = now
        self._in_flight = 0
        self._round = 0
        self._refusals = 0
        self._closed_until = 0.0
        self._limit = self._start
        self.restart()

    @property
    def limit(self) -> int:
        """The current limit."""
        return max(1, int(self._limit))

    @property
    def most(self) -> int:
        """The maximum of the limit."""
        return int(self._most)

    @property
    def in_flight(self) -> int:
        """Number of requests in flight."""
        return self._in_flight

    @property
    def closed_until(self) -> float:
        """Time at which it admits requests again, by its clock; in the past if it does now."""
        return self._closed_until

    def allow(self, most: int) -> None:
        """Lower the maximum of the limit."""
        self._most = min(self._most, float(most))
        self._start = min(self._start, self._most)
        self._limit = min(self._limit, self._most)

    def has_room(self) -> bool:
        """Tell whether another request may be sent now."""
        return self._in_flight < self.limit and self._now() >= self._closed_until

    def enter(self) -> int:
        """Take a permit; return its round, for `refused`."""
        self._in_flight += 1
        return self._round

    def leave(self, is_success: bool) -> None:
        """Return the permit after any response that was not a push-back."""
        if is_success:
            self._refusals = 0
            if self._in_flight >= self.limit:  # a limit that is not reached has not been tested
                self._limit = min(self._most, self._grown())
        self._in_flight -= 1

    def refused(self, entered_in: int, retry_after_s: float) -> None:
        """Return the permit after a push-back (429, 503) to a request that entered in the round `entered_in`.

        Push-backs of requests in flight together lower the limit once, by at most one permit for each of them.
        """
        if entered_in == self._round:
            self._decrease()
            self._refusals += 1
            if (excess := self._refusals - _REFUSALS_IN_A_ROW) >= 0:
                least_s = 0.1 * 2.0 ** min(excess, 16)  # ignore `Retry-After: 0` of an endpoint that refuses again
                pause_s = max(retry_after_s, min(_LONGEST_PAUSE_S, least_s))
                self._closed_until = max(self._closed_until, self._now() + pause_s)
        elif entered_in == self._round - 1:
            self._num_refused += 1
            fitting = max(_LARGEST_DECREASE * self._ceiling, self._ceiling - self._num_refused)
            self._fall_to(min(self._limit, fitting))
        self._in_flight -= 1

    def restart(self) -> None:
        """Reset the limit: after an outage the endpoint may have less capacity."""
        self._limit = self._start
        self._is_probing = True
        self._ceiling = self._floor = self._limit
        self._rounds = 0.0
        self._num_refused = 0

    def _decrease(self) -> None:
        self._round += 1
        self._num_refused = 1
        self._ceiling = max(1.0, min(self._limit, float(self._in_flight)))
        self._fall_to(self._ceiling * (_FIRST_DECREASE if self._is_probing else _DECREASE))
        self._is_probing = False

    def _fall_to(self, limit: float) -> None:
        if limit < self._limit:
            self._rounds = 0.0
        self._limit = self._floor = max(1.0, limit)

    def _grown(self) -> float:
        if self._is_probing:
            return self._limit + 1.0
        self._rounds += 1.0 / self._limit
        length = max(_RETURN_ROUNDS, _RETURN_ANSWERS / self._ceiling)
        along = self._rounds / length - 1.0
        rise = max(0.1 * self._ceiling, 1.0) if along > 0.0 else self._ceiling - self._floor
        return max(self._limit, self._ceiling + rise * along**3)
