"""Teachers whose engine starts on some nodes only, and one that notes who else was starting, for tests of placement."""

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from arbitrage.contracts.steps import Pipeline, Resources, Step, StepConfig
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.errors import EngineStartError, TeacherAccessError, TeacherUnreachableError
from arbitrage.records import Candidate, FinishReason, Prompt, content_id
from arbitrage.tables import to_table
from tests.support.step_facts import facts_of
from tests.support.toy import ToySource

FAULTS = {"start": EngineStartError, "access": TeacherAccessError, "unreachable": TeacherUnreachableError}


def node_here() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


class Starting(StepConfig):
    """Answers each prompt once its engine has started.

    Attributes:
        teacher: its name.
        fails_on: ids of nodes where the engine does not start; "*" for all.
        fault: how it fails; only "start" while it starts.
        log: a directory: a file is made there for each start, named by node and pid.
        seconds: how long the start takes.
        waits: it shares a process.
        shares: key of the model that it loads, if other steps load it too.
    """

    step_kind: ClassVar[str] = "test_starting"

    teacher: str
    fails_on: tuple[str, ...] = ()
    fault: str = "start"
    log: str
    seconds: float = 0.0
    waits: bool = False
    shares: str | None = None

    def replica_key(self) -> str | None:
        return self.shares

    @property
    def is_remote(self) -> bool:
        return self.waits

    def build(self) -> "_Started":
        log = Path(self.log)
        with (log / f"{self.teacher}.starts").open("a") as file:
            file.write(f"{node_here()} {os.getpid()} {time.monotonic()} ")
        time.sleep(self.seconds)
        with (log / f"{self.teacher}.starts").open("a") as file:
            file.write(f"{time.monotonic()}\n")
        if self.fault == "start" and (node_here() in self.fails_on or "*" in self.fails_on):
            raise EngineStartError(f"teacher '{self.teacher}': no such device here")
        return _Started(self)


class _Started:
    def __init__(self, config: Starting) -> None:
        self._config = config

    def items(self, inputs: Inputs) -> list[Item]:
        return [Item(self._id(p), p.language, self._config.teacher) for p in inputs.records("prompts", Prompt)]

    async def run(self, inputs: Inputs) -> Output:
        await asyncio.sleep(0.02)
        if self._config.fault != "start" and "*" in self._config.fails_on:
            raise FAULTS[self._config.fault](f"teacher '{self._config.teacher}': does not serve")
        return Output(to_table([self._candidate(p) for p in inputs.records("prompts", Prompt)], Candidate))

    async def close(self) -> None:
        return None

    def _id(self, prompt: Prompt) -> str:
        return content_id("candidate", prompt.prompt_id, self._config.teacher)

    def _candidate(self, prompt: Prompt) -> Candidate:
        return Candidate(
            candidate_id=self._id(prompt),
            prompt_id=prompt.prompt_id,
            teacher=self._config.teacher,
            revision="1",
            sample_index=0,
            seed=0,
            text="yes",
            finish_reason=FinishReason.STOP,
        )


def starting_pipeline(configs: Iterable[Starting], num_rows: int = 24, **resources: Any) -> Pipeline:
    """Have each of some teachers answer the same toy prompts."""
    prompts = Step(facts_of("prompts"), ToySource(num_rows=num_rows), Prompt, scope="source")
    candidates = tuple(
        Step(
            facts_of(f"generate-{config.teacher}"),
            config,
            Candidate,
            {"prompts": (prompts,)},
            Resources(**resources),
            pool=f"generate-{config.teacher}",
        )
        for config in configs
    )
    return Pipeline({"candidates": candidates[0]}, {"prompts": (prompts,), "candidates": candidates})


def starts(directory: Path, teacher: str) -> list[tuple[str, int, float, float]]:
    """Return node, pid, beginning and end of each start of a teacher's engine."""
    found = [line.split() for line in (directory / f"{teacher}.starts").read_text().splitlines()]
    return [(node, int(pid), float(begin), float(end)) for node, pid, begin, end in found]
