"""A three-step pipeline of pure toy steps, for testing the engine itself: read, double, count, label."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from arbitrage.contracts.steps import Pipeline, Resources, Span, Step, StepConfig
from arbitrage.contracts.workers import Batch, CorpusWorker, Inputs, Item, Output, ShardWorker, SourceWorker, Usage
from arbitrage.records import (
    Calibration,
    Candidate,
    FinishReason,
    Message,
    Prompt,
    Reject,
    Score,
    content_id,
    prompt_id_of,
)
from arbitrage.tables import to_table
from tests.support.step_facts import facts_of


def toy_prompt(number: int) -> Prompt:
    messages = (Message(role="user", content=f"question {number}"),)
    language = "en" if number % 3 else "ar"
    return Prompt(
        prompt_id=prompt_id_of(language, messages),
        language=language,
        messages=messages,
        source="toy",
        source_id=str(number),
    )


class ToySource(StepConfig):
    step_kind: ClassVar[str] = "test_source"

    num_rows: int
    num_bad: int = 0

    def build(self) -> SourceWorker:
        return _Source(self)


class _Source:
    def __init__(self, config: ToySource) -> None:
        self._config = config

    def read(self) -> Iterator[Batch]:
        for start in range(0, self._config.num_rows, 10):
            numbers = range(start, min(start + 10, self._config.num_rows))
            yield Batch([toy_prompt(n) for n in numbers], [])
        bad = [Reject(item_id=f"toy:{n}", reason="empty") for n in range(self._config.num_bad)]
        yield Batch([], bad, {"bad": len(bad)})


class ToyAnswer(StepConfig):
    """Answers each prompt; what it does to the odd one out is the test's choice."""

    step_kind: ClassVar[str] = "test_answer"

    teacher: str = "toy"
    fault: Literal["none", "reject", "lose", "double", "invent", "repeat", "die", "die_once"] = "none"
    die_marker: str = ""
    echo: str = ""  # a file whose content every answer repeats: no part of what is asked, like an engine's mood

    def identity(self) -> dict[str, Any]:
        return {key: value for key, value in super().identity().items() if key != "echo"}

    def build(self) -> ShardWorker:
        return _Answer(self)


class _Answer:
    def __init__(self, config: ToyAnswer) -> None:
        self._config = config

    def items(self, inputs: Inputs) -> list[Item]:
        return [Item(self._id(p), p.language, self._config.teacher) for p in inputs.records("prompts", Prompt)]

    async def run(self, inputs: Inputs) -> Output:
        prompts = inputs.records("prompts", Prompt)
        first = prompts[0] if prompts else None
        self._maybe_die()
        rows, rejects = [], []
        for prompt in prompts:
            if prompt is first and self._config.fault == "reject":
                rejects.append(Reject(item_id=self._id(prompt), reason="bad_request"))
            elif prompt is not first or self._config.fault != "lose":
                rows.append(self._candidate(prompt))
        if rows and self._config.fault == "repeat":
            rows.append(rows[0])
        if rows and self._config.fault == "double":
            rejects.append(Reject(item_id=rows[0].candidate_id, reason="bad_request"))
        if self._config.fault == "invent":
            rejects.append(Reject(item_id="nobody", reason="bad_request"))
        return Output(to_table(rows, Candidate), to_table(rejects, Reject), Usage(len(rows), 2 * len(rows), 0.5))

    async def close(self) -> None:
        return None

    def _maybe_die(self) -> None:
        if self._config.fault == "die":
            os._exit(1)
        if self._config.fault == "die_once":
            try:
                Path(self._config.die_marker).touch(exist_ok=False)
            except FileExistsError:
                return
            os._exit(1)

    def _id(self, prompt: Prompt) -> str:
        return content_id("candidate", prompt.prompt_id, self._config.teacher)

    def _mood(self) -> str:
        return Path(self._config.echo).read_text() if self._config.echo else ""

    def _candidate(self, prompt: Prompt) -> Candidate:
        return Candidate(
            candidate_id=self._id(prompt),
            prompt_id=prompt.prompt_id,
            teacher=self._config.teacher,
            revision="1",
            sample_index=0,
            seed=0,
            text=prompt.messages[0].content.upper() + self._mood(),
            finish_reason=FinishReason.STOP,
        )


class ToyCount(StepConfig):
    step_kind: ClassVar[str] = "test_count"

    def build(self) -> CorpusWorker:
        return _Count()


class _Count:
    def run(self, shards: Iterable[Inputs]) -> Output:
        num = sum(inputs.table("candidates", Candidate).num_rows for inputs in shards)
        row = Calibration(
            reward="toy", language="en", family="gmw", num_scores=num, raw_mean=0.0, raw_sd=1.0, mean=0.0, sd=1.0
        )
        return Output(to_table([row], Calibration))


class ToyLabel(StepConfig):
    step_kind: ClassVar[str] = "test_label"

    def build(self) -> ShardWorker:
        return _Label()


class _Label:
    def items(self, inputs: Inputs) -> list[Item]:
        return [Item(c.candidate_id, "en", c.teacher) for c in inputs.records("candidates", Candidate)]

    async def run(self, inputs: Inputs) -> Output:
        (count,) = inputs.records("calibration", Calibration)
        rows = [
            Score(candidate_id=c.candidate_id, prompt_id=c.prompt_id, reward="toy@1", value=float(count.num_scores))
            for c in inputs.records("candidates", Candidate)
        ]
        return Output(to_table(rows, Score))

    async def close(self) -> None:
        return None


def toy_explorer(num_rows: int = 40, explore: int = 2) -> Pipeline:
    """Ask `a` on the first shards, count its answers there, ask `b` on the rest, label what both said."""
    first, rest = Span(0, explore), Span(explore)
    prompts = Step(facts_of("prompts"), ToySource(num_rows=num_rows), Prompt, scope="source")
    a = Step(facts_of("generate-a"), ToyAnswer(teacher="a"), Candidate, {"prompts": (prompts,)}, span=first)
    count = Step(facts_of("calibrate"), ToyCount(), Calibration, {"candidates": (a,)}, scope="corpus", span=first)
    b = Step(
        facts_of("generate-b"),
        ToyAnswer(teacher="b"),
        Candidate,
        {"prompts": (prompts,), "count": (count,)},
        span=rest,
    )
    label = Step(facts_of("ensemble"), ToyLabel(), Score, {"candidates": (a, b), "calibration": (count,)})
    roles = {"prompts": (prompts,), "candidates": (a, b), "calibration": (count,), "final": (label,)}
    return Pipeline({"labels": label}, roles)


def toy_pipeline(source: ToySource, *answers: ToyAnswer, cpus: float = 0.0) -> Pipeline:
    prompts = Step(facts_of("prompts"), source, Prompt, scope="source")
    candidates = tuple(
        Step(facts_of(f"generate-{a.teacher}"), a, Candidate, {"prompts": (prompts,)}, Resources(cpus=cpus))
        for a in answers
    )
    count = Step(facts_of("calibrate"), ToyCount(), Calibration, {"candidates": candidates}, scope="corpus")
    label = Step(facts_of("ensemble"), ToyLabel(), Score, {"candidates": candidates, "calibration": (count,)})
    roles = {"prompts": (prompts,), "candidates": candidates, "calibration": (count,), "final": (label,)}
    return Pipeline({"labels": label}, roles)


def two_teachers(num_rows: int = 40, cpus: float = 0.0) -> Pipeline:
    """Return the toy pipeline over two teachers, `a` and `b`."""
    return toy_pipeline(ToySource(num_rows=num_rows), ToyAnswer(teacher="a"), ToyAnswer(teacher="b"), cpus=cpus)
