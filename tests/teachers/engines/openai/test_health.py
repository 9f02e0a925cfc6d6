"""An endpoint's health, in virtual time: when it is put aside, for how long, and what it gets when it is back."""

import pytest

from arbitrage.teachers.engines.openai import retry
from arbitrage.teachers.engines.openai.endpoint import Endpoint


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_S", 0.01)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_pauses_grow_with_jitter_up_to_30_s_with_one_probe_after_each():
    clock = Clock()
    endpoint = Endpoint("http://h/v1", 8, now=clock)
    pauses = []
    for attempt in range(20):
        place = endpoint.enter()
        assert place.is_probe == bool(attempt)
        if attempt:
            assert not endpoint.has_room()  # one probe at a time
        endpoint.leave(place, "unreachable", f"c{attempt}")
        assert endpoint.is_aside
        assert not endpoint.has_room()
        pauses.append(endpoint.opens_at() - clock.now)
        clock.now = endpoint.opens_at()
        assert endpoint.has_room()
    assert max(pauses) <= 30.0
    assert min(pauses[14:]) >= 15.0
    assert pauses[0] < 0.02
    assert len({round(p / 2.0**i, 6) for i, p in enumerate(pauses[:8])}) == 8  # no two times the same factor
    endpoint.leave(endpoint.enter(), "success")
    assert not endpoint.is_aside
    assert endpoint.limiter.limit == 8


def test_five_prompts_at_fault_in_a_row_put_an_endpoint_aside_and_a_success_between_does_not():
    endpoint = Endpoint("http://h/v1", 8)
    for prompt in [*"abcd", *"dddd"]:
        endpoint.leave(endpoint.enter(), "fault", prompt)
    assert not endpoint.is_aside
    endpoint.leave(endpoint.enter(), "success")
    for prompt in "abcd":
        endpoint.leave(endpoint.enter(), "fault", prompt)
    endpoint.leave(endpoint.enter(), "fault", "")  # it failed before
    assert not endpoint.is_aside
    endpoint.leave(endpoint.enter(), "fault", "e")
    assert endpoint.is_aside


def test_an_endpoint_back_from_a_long_absence_is_sent_little_at_first():
    clock = Clock()
    endpoint = Endpoint("http://h/v1", 256, now=clock)
    places = [endpoint.enter() for _ in range(64)]
    while len(places) < 256:
        endpoint.leave(places.pop(), "success")
        places += [endpoint.enter() for _ in range(endpoint.limiter.limit - len(places))]
    for place in places:
        endpoint.leave(place, "success")
    assert endpoint.limiter.limit == 256
    for _ in range(3):
        endpoint.leave(endpoint.enter(), "unreachable", "c")
        clock.now = endpoint.opens_at()
    endpoint.leave(endpoint.enter(), "success")
    assert endpoint.limiter.limit <= 65
