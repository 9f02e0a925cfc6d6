"""The scheduler's loop with a stub in place of Ray: what a turn costs, and in which order shards are handed out."""

import sys
from typing import Any

import pytest

from benchmarks import scheduler_turn


def calls_per_turn(num_shards: int) -> float:
    """Return the number of function calls in a turn, the mean over a run: unlike time, no load changes it."""
    num_calls = 0

    def count(*_: Any) -> None:
        nonlocal num_calls
        num_calls += 1

    before = sys.getprofile()
    sys.setprofile(lambda _, event, __: count() if event == "call" else None)
    try:
        turns = scheduler_turn.measure(num_shards, 14, num_nodes=2)["turns"]
    finally:
        sys.setprofile(before)
    return num_calls / turns


@pytest.mark.long
def test_a_turn_costs_the_same_with_few_shards_and_with_many() -> None:
    scheduler_turn.measure(5, 14, num_nodes=2)  # imports
    few, many = calls_per_turn(150), calls_per_turn(600)
    assert many < 1.3 * few


def test_shards_are_handed_out_in_the_same_order_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def handed_out() -> list[tuple[str, int]]:
        order = []

        class Recording(scheduler_turn._Actor):
            def __init__(self) -> None:
                super().__init__()
                do = self.do.remote

                def recorded(job: Any, attempt: Any, replica: str) -> Any:
                    order.append((job.name, attempt.shard))
                    return do(job, attempt, replica)

                self.do = scheduler_turn._Method(recorded)

        monkeypatch.setattr(scheduler_turn, "_Actor", Recording)
        found = scheduler_turn.measure(20, 14, num_nodes=2)
        assert found["turns"] == 20 * 13  # one shard in each turn: the source is read elsewhere
        monkeypatch.undo()
        return order

    first = handed_out()
    assert first == handed_out()
    assert sorted(shard for name, shard in first if name == "generate-t2") == list(range(20))
