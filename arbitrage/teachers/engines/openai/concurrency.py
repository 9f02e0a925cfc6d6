"""Concurrency limit of an endpoint, adapted by additive increase and multiplicative decrease.

The limit grows by one with each answer until the endpoint first pushes back, then along CUBIC's curve (RFC 9438
§4.2): back to the limit of the last push-back, lingering there, and beyond it ever faster, so that a limit that rose
is found again. Time on that curve is counted in round trips (a limit's worth of answers), not in seconds, so that a
server's speed does not matter.
"""

import time
from collections.abc import Callable

_FIRST_DECREASE = 0.7
_DECREASE = 0.95
_LARGEST_DECREASE = 0.25
_REFUSALS_IN_A_ROW = 3
"""This many push-backs with no success between them mean a rate limit, not a concurrency limit: all requests wait."""

_LONGEST_PAUSE_S = 30.0
_RETURN_ROUNDS = 4.0
_RETURN_ANSWERS = 120.0
"""The curve is back at the last push-back after 4 round trips, yet not before 120 answers: about one 429 in each."""


class ConcurrencyLimit:
    """Counts the requests under way to one endpoint, and says whether there is room for another.

    Args:
        most: never more in flight than this.
        start: in flight at first.
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
        """How many may be in flight now."""
        return max(1, int(self._limit))

    @property
    def most(self) -> int:
        """How many may ever be."""
        return int(self._most)

    @property
    def in_flight(self) -> int:
        """How many are."""
        return self._in_flight

    @property
    def closed_until(self) -> float:
        """When it admits requests again, by its clock; in the past where it does."""
        return self._closed_until

    def allow(self, most: int) -> None:
        """Lower how many may ever be in flight."""
        self._most = min(self._most, float(most))
        self._start = min(self._start, self._most)
        self._limit = min(self._limit, self._most)

    def has_room(self) -> bool:
        """Tell whether another request may enter now."""
        return self._in_flight < self.limit and self._now() >= self._closed_until

    def enter(self) -> int:
        """Take a permit; return the round it belongs to, to be given back to `refused`."""
        self._in_flight += 1
        return self._round

    def leave(self, is_success: bool) -> None:
        """Return the permit after an answer of any kind that was not a push-back."""
        if is_success:
            self._refusals = 0
            if self._in_flight >= self.limit:  # a limit that is not reached has not been tried
                self._limit = min(self._most, self._grown())
        self._in_flight -= 1

    def refused(self, entered_in: int, retry_after_s: float) -> None:
        """Return the permit after a push-back (429, 503) to a request that entered in the round `entered_in`.

        The requests under way together take off a share once, and no more than a permit for each one refused.
        """
        if entered_in == self._round:
            self._decrease()
            self._refusals += 1
            if (excess := self._refusals - _REFUSALS_IN_A_ROW) >= 0:
                least_s = 0.1 * 2.0 ** min(
                    excess, 16
                )  # an endpoint that says "now" and refuses again is not believed
                pause_s = max(retry_after_s, min(_LONGEST_PAUSE_S, least_s))
                self._closed_until = max(self._closed_until, self._now() + pause_s)
        elif entered_in == self._round - 1:
            self._num_refused += 1
            fitting = max(_LARGEST_DECREASE * self._ceiling, self._ceiling - self._num_refused)
            self._fall_to(min(self._limit, fitting))
        self._in_flight -= 1

    def restart(self) -> None:
        """Forget what was learnt: the endpoint was away, and may have come back smaller, or cold."""
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
