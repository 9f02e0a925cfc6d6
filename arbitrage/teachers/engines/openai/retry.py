"""When to try again: `Retry-After` (RFC 9110 §10.2.3), exponential backoff with seeded jitter, a retry budget."""

import math
import time
from datetime import UTC
from email.utils import parsedate_to_datetime

from arbitrage.records import content_id

_FIRST_S = 0.5
_LONGEST_S = 30.0


class RetryBudget:
    """Limits the retries after faults to a share of the responses, so that a failing endpoint gets no retry storm.

    A token bucket: each response earns `share` of a token, a retry costs one. So one row in seven may fail at all
    four tries, while an endpoint that never responds gets `start` retries. Rows are retried after others, so tokens
    are saved, up to `most`. A retry beyond the budget waits the longest backoff instead of being refused, because
    otherwise rows would be lost to faults of other rows.
    """

    def __init__(self, share: float = 0.5, start: float = 64.0, most: float = 4096.0) -> None:
        self._share = share
        self._most = most
        self._tokens = start

    def earn(self) -> None:
        """Count a response."""
        self._tokens = min(self._most, self._tokens + self._share)

    def spend(self) -> bool:
        """Pay for a retry; tell whether the budget allowed it."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def retry_after_s(header: str | None, date: str | None = None) -> float | None:
    """Return the seconds of a `Retry-After` header, or None if it has none.

    Args:
        header: a number of seconds, or a date.
        date: the response's own `Date`, the reference for a date, because the server's clock may differ from ours.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _until(header, date)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def backoff_s(candidate_id: str, attempt: int) -> float:
    """Return the wait before attempt + 1: half a second doubled each time, at most 30 s, times 0.5 to 1.5."""
    jitter = int(content_id("backoff", candidate_id, attempt)[:8], 16) / 16**8
    return min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempt, 16)) * (0.5 + jitter)


def longest_backoff_s(candidate_id: str) -> float:
    """Return the wait before a retry over the budget: 15 to 45 s."""
    return backoff_s(candidate_id, 16)


def _until(date: str, now: str | None) -> float | None:
    then = _timestamp(date)
    if then is None:
        return None
    since = None if now is None else _timestamp(now)
    return max(0.0, then - (time.time() if since is None else since))


def _timestamp(date: str) -> float | None:
    try:
        found = parsedate_to_datetime(date)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
