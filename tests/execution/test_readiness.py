"""Readiness: the same shards as a look at all steps would find, for any order in which shards end."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbitrage.execution.plan import PlannedStep, plan
from arbitrage.execution.readiness import Readiness
from tests.support.toy import ToyAnswer, ToySource, toy_explorer, toy_pipeline

PIPELINES = {
    "two teachers": toy_pipeline(ToySource(num_rows=4), ToyAnswer(teacher="a"), ToyAnswer(teacher="b")),
    "spans": toy_explorer(),
}


def ready_by_looking(steps: tuple[PlannedStep, ...], undone: dict[str, set[int]]) -> set[tuple[str, int]]:
    """Return what can be done, from the definition."""
    scopes = {step.step.name: step.step.scope for step in steps}
    found = set()
    for step in steps:
        for shard in undone[step.step.name]:
            blocked = any(
                undone[name] if "corpus" in (step.step.scope, scopes[name]) else shard in undone[name]
                for name in step.upstream
            )
            if not blocked:
                found.add((step.step.name, shard))
    return found


@pytest.mark.parametrize("name", PIPELINES)
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), num_shards=st.integers(4, 9))
def test_what_is_ready_is_what_a_look_at_everything_finds(name: str, seed: int, num_shards: int) -> None:
    execution = plan(Path("/nonexistent"), PIPELINES[name].targets, num_shards, range(num_shards))
    readiness, lot = Readiness(execution.steps), random.Random(seed)
    seen: set[tuple[str, int]] = set()
    while any(readiness.undone.values()):
        wanted = ready_by_looking(execution.steps, readiness.undone)
        found = {(s, k) for s, shards in readiness.undone.items() for k in shards if readiness.is_ready(s, k)}
        assert found == wanted
        seen |= wanted
        step, shard = lot.choice(sorted(wanted))
        if lot.random() < 0.5:
            readiness.put_back(step, readiness.take(step, shard) or 0)
            assert readiness.take(step) == min(k for s, k in wanted if s == step)
            readiness.put_back(step, min(k for s, k in wanted if s == step))
        readiness.done(step, shard)
    assert set(readiness.fresh) == seen


def test_a_shard_is_taken_once() -> None:
    execution = plan(Path("/nonexistent"), PIPELINES["two teachers"].targets, 4, range(4))
    readiness = Readiness(execution.steps)
    assert [readiness.take("prompts") for _ in range(5)] == [0, 1, 2, 3, None]
    readiness.put_back("prompts", 2)
    assert readiness.take("prompts", 2) == 2
    assert readiness.take("prompts") is None


@pytest.mark.parametrize("name", PIPELINES)
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_a_shard_that_waits_for_some_steps_alone_is_ready_when_these_are_done(name: str, seed: int) -> None:
    execution = plan(Path("/nonexistent"), PIPELINES[name].targets, 4, range(4))
    lot = random.Random(seed)
    readiness = Readiness(execution.steps)
    for _ in range(lot.randrange(12)):
        ready = sorted(ready_by_looking(execution.steps, readiness.undone))
        if ready:
            readiness.done(*lot.choice(ready))
    undone = {step: set(shards) for step, shards in readiness.undone.items()}
    for step, shard in [(name, shard) for name, shards in undone.items() for shard in shards]:
        others = {each.step.name for each in execution.steps if lot.random() < 0.5} - {step}
        without = {each: shards - {shard} if each in others else shards for each, shards in undone.items()}
        found = readiness.waits_only_for(step, shard, others)
        scopes = {each.step.name: each.step.scope for each in execution.steps}
        if "corpus" not in {scopes[step], *(scopes[name] for name in execution.step(step).upstream)}:
            assert found == ((step, shard) in ready_by_looking(execution.steps, without))
        elif found:  # of a corpus step or for one, all shards count
            done = {each: set() if each in others else shards for each, shards in undone.items()}
            assert (step, shard) in ready_by_looking(execution.steps, done)
