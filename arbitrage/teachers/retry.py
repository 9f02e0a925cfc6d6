"""When to try again: `Retry-After` (RFC 9110 §10.2.3) and exponential backoff with seeded jitter."""

import math
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from arbitrage.records import content_id

_FIRST_S = 0.5
_LONGEST_S = 30.0


def retry_after_s(header: str | None) -> float | None:
    """Return the seconds a `Retry-After` header asks for (a number, or a date), or None if it says nothing."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _until(header)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def backoff_s(candidate_id: str, attempt: int) -> float:
    """Return the wait before attempt + 1: half a second doubled each time, at most 30 s, times 0.5 to 1.5."""
    jitter = int(content_id("backoff", candidate_id, attempt)[:8], 16) / 16**8
    return min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempt, 16)) * (0.5 + jitter)


def _until(date: str) -> float | None:
    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.fromtimestamp(time.time(), UTC)).total_seconds())
