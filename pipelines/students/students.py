"""Who learns what: one student for each lesson and seed, trained by TRL and examined."""

import os
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from arbitrage.config import Config
from arbitrage.execution.context import NoTrainingProgress, RunContext, TrainingStep
from arbitrage.execution.progress import StopFlag
from arbitrage.models.references import absolute_model, revision_of
from arbitrage.prompts import PromptsConfig
from arbitrage.report.students import EvaluationSet, StudentResults
from arbitrage.runs.layout import digest_json
from arbitrage.runs.run import Run
from arbitrage.statistics import Floats
from arbitrage.teachers import EngineConfig
from arbitrage.teachers.engines.engine import Precision
from arbitrage.teachers.pool import TeacherConfig
from arbitrage.training.mix import RowMixConfig
from arbitrage.training.settings import TrainConfig
from arbitrage.training.train import require_trainable, train
from pipelines.students.budgets import TrainingSet
from pipelines.students.exam import exam_of, examine, is_examined, questions_in, right_answers

LEARNING = threading.Lock()
"""Held while this process makes a student."""


class StudentConfig(Config):
    """Who learns, and how.

    Attributes:
        model: where every student starts: a directory, a Hugging Face id, or `demo:<name>`.
        arguments: of TRL's SFTConfig. Give `max_steps`: students of fewer rows then take as many steps.
        lora: arguments of peft's LoraConfig; none trains all weights.
        seeds: one student each, of everything that is compared.
        engine: what runs the students.
        precision: how it holds their weights.
        max_tokens: of an answer in the exam.
    """

    model: Annotated[str, AfterValidator(absolute_model)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    lora: dict[str, Any] | None = None
    seeds: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)
    engine: EngineConfig
    precision: Precision = "fp32"
    max_tokens: int = Field(default=512, ge=1)

    @model_validator(mode="after")
    def _seeds_are_ours(self) -> Self:
        if "seed" in self.arguments:
            raise ValueError("arguments.seed cannot be set: give `seeds`, one student each")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: one is given twice, and its students would be the same")
        return self


class StudentTask(Config):
    """All that one process needs to make one student.

    Attributes:
        directory: of the student.
        training: its lesson; null puts the exam to the student before any lesson.
        student: where it starts, and how it is asked.
        exam: what it is asked.
    """

    directory: Path
    training: TrainConfig | None
    student: StudentConfig
    exam: PromptsConfig

    @property
    def is_done(self) -> bool:
        """Tell whether the student has done its exam."""
        return is_examined(self.directory)


@dataclass(frozen=True, slots=True)
class StudentPlan:
    """All students of a comparison: the one without a lesson, and one for each lesson and seed."""

    start: StudentTask
    lessons: tuple[tuple[TrainingSet, tuple[StudentTask, ...]], ...]

    @property
    def tasks(self) -> tuple[StudentTask, ...]:
        """All students, seed by seed, so that a run that is stopped has compared something."""
        by_seed = zip(*(tasks for _, tasks in self.lessons), strict=True)
        return (self.start, *(task for tasks in by_seed for task in tasks))


def plan_students(
    config: StudentConfig, exam: PromptsConfig, run: Run, lessons: Sequence[TrainingSet], folder: Path
) -> StudentPlan:
    """Say who is to learn what.

    A student's directory is named by all that decides what it learns and is asked: another config leaves it alone.
    """
    taught = [(one, tuple(_task(config, exam, run, one, seed, folder) for seed in config.seeds)) for one in lessons]
    facts = {"start": _origin(config), "exam": exam.identity(), "max_tokens": config.max_tokens}
    start = StudentTask(
        directory=folder / f"start-{digest_json(facts)[:8]}", training=None, student=config, exam=exam
    )
    return StudentPlan(start, tuple(taught))


def require_trainable_students(config: StudentConfig) -> None:
    """Check, before anybody is asked anything, that students could be trained and asked. No network.

    Raises:
        ConfigError: an argument of TRL or peft is unknown or of a wrong type.
        MissingDependencyError: a package is not installed.
    """
    training = TrainConfig(
        method="sft", model=config.model, data=("rows",), out="students", arguments=config.arguments, lora=config.lora
    )
    require_trainable(training)
    asked_as = _as_teacher(config, config.model)
    asked_as.engine.require(asked_as.spec())


@dataclass(frozen=True, slots=True)
class EvalResults:
    """What all students answered right: those of each lesson, and the one before any."""

    exam: EvaluationSet
    students: tuple[StudentResults, ...]
    start_P: Floats


def eval_results(students: StudentPlan, run: Run) -> EvalResults:
    """Read all exams. Questions that the candidate table asked do not count.

    Raises:
        DataError: no question is left that has a reference.
    """
    [prompts] = run.plan.candidates["prompts"]
    asked = frozenset(i for table in run.tables(prompts) for i in table["prompt_id"].to_pylist())
    questions = questions_in(students.start.directory, asked)
    marks = tuple(
        StudentResults(
            strategy=lesson.strategy,
            budgets=lesson.budgets,
            rows=sum(lesson.rows.values()),
            generations=lesson.generations,
            right=lesson.right,
            right_PS=np.stack([right_answers(task.directory, questions) for task in tasks], axis=1),
        )
        for lesson, tasks in students.lessons
    )
    return EvalResults(exam_of(questions), marks, right_answers(students.start.directory, questions))


def train_students(task_json: str, parent: int) -> None:
    """Make one student: train it from where it stands, and put the exam to it.

    Runs in a process of its own. The training stops at a checkpoint once the process `parent` is gone: a rerun of the
    command trains in the same directory.
    """
    task = StudentTask.model_validate_json(task_json)

    stop = StopFlag()
    context = RunContext(training=lambda: nullcontext(_StopWithParent(parent, stop)), stop=stop)
    with LEARNING:
        model = task.student.model if task.training is None else str(train(task.training, context).path)
        examine(_as_teacher(task.student, model), task.exam, task.student.max_tokens, task.directory)


class _StopWithParent(NoTrainingProgress):
    """Sets the stop flag at the first step after the parent process has ended."""

    def __init__(self, parent: int, stop: StopFlag) -> None:
        self._parent, self._stop = parent, stop

    def step(self, step: TrainingStep) -> None:
        self._stop.is_asked = self._stop.is_asked or os.getppid() != self._parent


def _as_teacher(config: StudentConfig, model: str) -> TeacherConfig:
    return TeacherConfig(
        name="student", model=model, engine=config.engine, precision=config.precision, languages=("und",)
    )


def _task(
    config: StudentConfig, exam: PromptsConfig, run: Run, lesson: TrainingSet, seed: int, folder: Path
) -> StudentTask:
    mix = RowMixConfig(weights={tag: float(num) for tag, num in lesson.rows.items()}, rows=sum(lesson.rows.values()))
    facts = {
        "rows": run.step(run.plan.datasets[lesson.strategy]).fingerprint,
        "mix": mix.model_dump(mode="json"),
        "start": _origin(config),
        "arguments": config.arguments,
        "lora": config.lora,
        "exam": exam.identity(),
        "max_tokens": config.max_tokens,
    }
    directory = folder / f"{lesson.strategy}-{lesson.budgets[0]}-{digest_json(facts)[:8]}-{seed}"
    training = TrainConfig(
        method="sft",
        model=config.model,
        data=(str(run.path),),
        dataset=lesson.strategy,
        out=str(directory),
        mix=mix,
        arguments={**config.arguments, "seed": seed},
        lora=config.lora,
    )
    return StudentTask(directory=directory, training=training, student=config, exam=exam)


def _origin(config: StudentConfig) -> dict[str, str]:
    return {"revision": revision_of(config.model, None), "precision": config.precision}
