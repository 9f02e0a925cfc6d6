"""When to ask again, and how many at once."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from arbitrage.teachers.limiter import Limiter
from arbitrage.teachers.retry import backoff_s, retry_after_s


def test_retry_after_and_backoff():
    assert retry_after_s("2.5") == 2.5
    assert retry_after_s("-3") == 0.0
    assert retry_after_s(None) is retry_after_s("soon") is retry_after_s("inf") is None
    past = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    assert retry_after_s(past) == 0.0
    waits = [backoff_s("c", attempt) for attempt in range(20)]
    assert waits == [backoff_s("c", attempt) for attempt in range(20)]
    assert max(waits) <= 45
    assert backoff_s("c", 1) != backoff_s("d", 1)


async def test_limiter_takes_a_push_back_once_per_round_trip_and_never_falls_below_one():
    limiter = Limiter(most=100, start=50)
    entered = [await limiter.enter() for _ in range(50)]
    for at in entered:
        limiter.refused(at, 0.0)
    assert limiter.limit == 35
    for _ in range(200):
        limiter.refused(await limiter.enter(), 0.0)
    assert limiter.limit == 1


async def test_limiter_grows_only_while_it_holds_somebody_back():
    limiter = Limiter(most=100, start=2)
    for _ in range(50):
        await limiter.enter()
        limiter.leave(is_success=True)
    assert limiter.limit == 2
    for _ in range(2):
        await limiter.enter()
    held_back = asyncio.create_task(limiter.enter())
    await asyncio.sleep(0)
    limiter.leave(is_success=True)
    assert limiter.limit == 3
    await held_back


async def test_limiter_makes_everybody_wait_after_push_backs_with_no_success_between():
    limiter = Limiter(most=8)
    for _ in range(3):
        limiter.refused(await limiter.enter(), 0.2)
    started = time.monotonic()
    await limiter.enter()
    assert time.monotonic() - started > 0.15
