"""When to ask again, and how many at once."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from arbitrage.teachers.engines.openai.concurrency import ConcurrencyLimit
from arbitrage.teachers.engines.openai.retry import RetryBudget, backoff_s, longest_backoff_s, retry_after_s
from tests.support.simulated_server import Server, simulate


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


def test_a_retry_date_counts_from_the_servers_own_clock():
    ahead = datetime.now(UTC) + timedelta(hours=7)
    then = ahead + timedelta(seconds=5)
    assert retry_after_s(format_datetime(then, usegmt=True), format_datetime(ahead, usegmt=True)) == 5.0
    assert retry_after_s(format_datetime(ahead, usegmt=True), "soon") > 3600
    assert retry_after_s("Fri, 31 Dec 99999 23:59:59 GMT") is None


def test_retries_are_a_share_of_answers_and_a_start():
    budget = RetryBudget(share=0.2, start=10.0, most=30.0)
    assert sum(budget.spend() for _ in range(100)) == 10
    for _ in range(1_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 30  # it does not pile up without end
    allowed = 0
    for _ in range(1_000):
        budget.earn()
        allowed += budget.spend()
    assert 195 <= allowed <= 200
    assert 15 <= longest_backoff_s("c") <= 45


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_limiter_takes_a_push_back_once_per_round_trip_and_never_falls_below_one():
    limiter = ConcurrencyLimit(most=100, start=50)
    rounds = [limiter.enter() for _ in range(50)]
    assert not limiter.has_room()
    for entered_in in rounds[:10]:
        limiter.refused(entered_in, 0.0)
    assert limiter.limit == 35
    for entered_in in rounds[10:]:
        limiter.refused(entered_in, 0.0)
    assert limiter.limit == 12  # a place for each one refused, at most three quarters at once
    assert limiter.in_flight == 0
    for _ in range(200):
        limiter.refused(limiter.enter(), 0.0)
    assert limiter.limit == 1


def test_limiter_grows_only_when_its_places_are_taken():
    limiter = ConcurrencyLimit(most=100, start=2)
    for _ in range(50):
        limiter.enter()
        limiter.leave(is_success=True)
    assert limiter.limit == 2
    for _ in range(2):
        limiter.enter()
    limiter.leave(is_success=True)
    assert limiter.limit == 3


def test_all_requests_wait_after_push_backs_without_a_success_between():
    clock = Clock()
    limiter = ConcurrencyLimit(most=8, now=clock)
    for _ in range(3):
        assert limiter.has_room()
        limiter.refused(limiter.enter(), 2.0)
    assert not limiter.has_room()
    assert limiter.closed_until == clock.now + 2.0
    clock.now += 2.0
    assert limiter.has_room()


def test_an_endpoint_that_says_now_and_refuses_again_is_not_hammered():
    clock = Clock()
    limiter = ConcurrencyLimit(most=8, now=clock)
    num_sent = 0
    while clock.now < 100.0 + 300.0:
        while limiter.has_room():
            limiter.refused(limiter.enter(), 0.0)
            num_sent += 1
        clock.now = max(clock.now, limiter.closed_until)
    assert num_sent < 30


SERVERS = {
    "constant": lambda base: lambda _: base,
    "steps": lambda base: lambda t: [base, int(0.6 * base), int(1.4 * base), base][int(t / 100) % 4],
    "halving": lambda base: lambda t: [base, base // 2][int(t / 150) % 2],
    "sine": lambda base: lambda t: round(base * (1 + 0.4 * math.sin(t / 40))),
}


@pytest.mark.parametrize("base", [20, 64, 200])
@pytest.mark.parametrize("shape", SERVERS)
@pytest.mark.parametrize(("seed", "refusal_latency"), [(0, 0.02), (1, 0.05), (2, 0.2)])
def test_limiter_holds_95_percent_of_a_moving_limit_with_2_percent_refused(shape, base, seed, refusal_latency):
    """In virtual time, from the first request on. A limit below 20 is held too, at more refusals (see below)."""
    outcome = simulate(Server(SERVERS[shape](base), refusal_latency), duration=400, seed=seed)
    assert outcome.share_held >= 0.95
    assert outcome.share_refused <= 0.02


@pytest.mark.parametrize("limit", [1, 2, 4, 8])
def test_limiter_holds_a_small_limit_with_2_percent_refused_once_it_is_found(limit):
    outcome = simulate(Server(lambda _: limit), duration=3_000, seed=limit, start=2)
    assert outcome.share_held >= 0.95
    assert outcome.share_refused <= 0.02
