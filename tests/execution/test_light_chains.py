"""Light steps that follow each other are done shard by shard: the same files, and what fails fails as it did alone."""

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest

from arbitrage.contracts.steps import Pipeline, Step, StepConfig
from arbitrage.contracts.workers import Inputs, Item, Output, ShardWorker
from arbitrage.errors import ConservationError, TeacherError, TeacherUnreachableError
from arbitrage.execution.plan import PlannedStep, plan
from arbitrage.execution.progress import NoProgress
from arbitrage.execution.ray.backend import RayBackend
from arbitrage.execution.ray.host import _build_and_do
from arbitrage.execution.shard_task import Attempt
from arbitrage.execution.source_task import do_source
from arbitrage.records import Candidate, Prompt
from arbitrage.runs.manifest import ShardStats
from tests.support.runs import run, shard_bytes
from tests.support.step_facts import facts_of
from tests.support.toy import ToyAnswer, ToySource

SHARDS = 4


class Failing(StepConfig):
    """Fails at one shard: each time, or until a file is there."""

    step_kind: ClassVar[str] = "test_failing"
    error: str = "TeacherError"
    at: str = ""  # the source id that it fails at
    marker: str = ""

    def build(self) -> ShardWorker:
        return _Failing(self)


class _Failing:
    def __init__(self, config: Failing) -> None:
        self._config = config
        self._inner: Any = ToyAnswer(teacher="failing").build()

    def items(self, inputs: Inputs) -> list[Item]:
        found: list[Item] = self._inner.items(inputs)
        return found

    async def run(self, inputs: Inputs) -> Output:
        is_here = any(prompt.source_id == self._config.at for prompt in inputs.records("prompts", Prompt))
        if is_here and not (self._config.marker and Path(self._config.marker).exists()):
            if self._config.marker:
                Path(self._config.marker).touch()
            raise {"TeacherError": TeacherError, "TeacherUnreachableError": TeacherUnreachableError}[
                self._config.error
            ]("cannot serve")
        output: Output = await self._inner.run(inputs)
        return output

    async def close(self) -> None:
        return None


def chain(*configs: StepConfig) -> Pipeline:
    """Some steps, each of which waits for the one before, and one beside them."""
    prompts = Step(facts_of("prompts"), ToySource(num_rows=40), Prompt, scope="source")
    steps = [prompts]
    for number, config in enumerate(configs):
        after = {"after": (steps[-1],)} if number else {}
        steps.append(Step(facts_of(f"select-{number}"), config, Candidate, {"prompts": (prompts,)} | after))
    beside = Step(facts_of("check-beside"), ToyAnswer(teacher="beside"), Candidate, {"prompts": (prompts,)})
    return Pipeline({"last": steps[-1], "beside": beside}, {"prompts": (prompts,)})


class Order(NoProgress):
    def __init__(self) -> None:
        self.done: list[str] = []

    def shard_done(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        self.done.append(f"{step.step.name}:{shard}")


def sound_chain() -> Pipeline:
    return chain(ToyAnswer(teacher="a"), ToyAnswer(teacher="b", fault="reject"), ToyAnswer(teacher="c"))


def test_locally_a_shard_goes_through_all_light_steps_before_the_next(tmp_path: Path) -> None:
    order = Order()
    run(tmp_path, sound_chain(), progress=order)
    light = [f"select-{n}:{k}" for k in range(SHARDS) for n in range(3)]
    assert [done for done in order.done if done.startswith("select")] == light
    assert len(order.done) == len(set(order.done)) == 5 * SHARDS


def test_both_backends_write_the_same_bytes(tmp_path: Path, ray_backend: RayBackend) -> None:
    run(tmp_path / "local", sound_chain())
    order = Order()
    run(tmp_path / "ray", sound_chain(), ray_backend, progress=order)
    assert shard_bytes(tmp_path / "local") == shard_bytes(tmp_path / "ray")
    assert len(order.done) == len(set(order.done)) == 5 * SHARDS


def test_what_a_failed_step_does_not_hold_up_is_still_done(tmp_path: Path) -> None:
    pipeline = chain(ToyAnswer(teacher="a"), Failing(at="7"), ToyAnswer(teacher="c"))
    order = Order()
    with pytest.raises(TeacherError, match=r"cannot serve.*Steps that do not need select-1 are done"):
        run(tmp_path, pipeline, progress=order)
    for step in ("select-0", "check-beside"):
        assert {done for done in order.done if done.startswith(step)} == {f"{step}:{k}" for k in range(SHARDS)}


def test_a_failure_that_may_pass_is_tried_again(tmp_path: Path) -> None:
    failing = Failing(at="7", error="TeacherUnreachableError", marker=str(tmp_path / "failed"))
    order = Order()
    run(tmp_path / "r", chain(ToyAnswer(teacher="a"), failing, ToyAnswer(teacher="c")), progress=order)
    assert (tmp_path / "failed").exists()
    assert len(order.done) == len(set(order.done)) == 5 * SHARDS


def test_a_bug_in_a_later_step_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConservationError, match="select-1"):
        run(tmp_path, chain(ToyAnswer(teacher="a"), ToyAnswer(teacher="b", fault="lose"), ToyAnswer(teacher="c")))


def test_a_light_task_returns_finished_shards_when_a_later_step_fails(tmp_path: Path) -> None:
    pipeline = chain(ToyAnswer(teacher="a"), Failing(at="7"), ToyAnswer(teacher="c"))
    execution = plan(tmp_path, pipeline.targets, 1, range(1))
    jobs = {step.step.name: step.job for step in execution.steps}
    do_source(jobs["prompts"], jobs["prompts"].config.build())
    links = [jobs[f"select-{n}"] for n in range(3)]
    (counts,) = asyncio.run(_build_and_do(links, [Attempt(0)]))
    assert [ShardStats.model_validate_json(text).num_rows for text in counts] == [40]
    with pytest.raises(TeacherError, match="cannot serve"):
        asyncio.run(_build_and_do(links[1:], [Attempt(0)]))
