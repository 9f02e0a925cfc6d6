"""Students: one for each training set and seed, trained with TRL and evaluated."""

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
from arbitrage.report.students import EvalSet, StudentResults
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
from pipelines.students.evaluation import eval_prompts, eval_set_of, evaluate_student, is_evaluated, right_answers

LEARNING = threading.Lock()
"""Held while this process trains a student."""


class StudentConfig(Config):
    """The student model, and how it is trained and sampled.

    Attributes:
        model: base model of every student: a directory, a Hugging Face id, or `demo:<name>`.
        arguments: arguments of TRL's SFTConfig. Give `max_steps`: students with fewer rows then take as many steps.
        lora: arguments of peft's LoraConfig; none trains all weights.
        seeds: seeds of the trainings; each training set gets one student per seed.
        engine: engine that samples the students.
        precision: precision of the weights in that engine.
        max_tokens: token limit of a completion in the evaluation.
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
    """Everything that one process needs to train and evaluate one student.

    Attributes:
        directory: of the student.
        training: its training; null evaluates the base model.
        student: the base model, and how it is sampled.
        evaluation: the eval prompts.
    """

    directory: Path
    training: TrainConfig | None
    student: StudentConfig
    evaluation: PromptsConfig

    @property
    def is_done(self) -> bool:
        """Whether the student has been evaluated."""
        return is_evaluated(self.directory)


@dataclass(frozen=True, slots=True)
class StudentPlan:
    """All students of a comparison: the base model, and one for each training set and seed."""

    start: StudentTask
    training_sets: tuple[tuple[TrainingSet, tuple[StudentTask, ...]], ...]

    @property
    def tasks(self) -> tuple[StudentTask, ...]:
        """All students, seed by seed, so that an interrupted run has complete comparisons."""
        by_seed = zip(*(tasks for _, tasks in self.training_sets), strict=True)
        return (self.start, *(task for tasks in by_seed for task in tasks))


def plan_students(
    config: StudentConfig, evaluation: PromptsConfig, run: Run, training_sets: Sequence[TrainingSet], folder: Path
) -> StudentPlan:
    """Plan the students.

    A student's directory is named by a digest of everything that determines its training and evaluation, so that
    another config does not affect it.
    """
    tasks = [
        (one, tuple(_task(config, evaluation, run, one, seed, folder) for seed in config.seeds))
        for one in training_sets
    ]
    facts = {"start": _origin(config), "evaluation": evaluation.identity(), "max_tokens": config.max_tokens}
    start = StudentTask(
        directory=folder / f"start-{digest_json(facts)[:8]}", training=None, student=config, evaluation=evaluation
    )
    return StudentPlan(start, tuple(tasks))


def require_trainable_students(config: StudentConfig) -> None:
    """Check, before anything is sampled, that students can be trained and sampled. No network.

    Raises:
        ConfigError: an argument of TRL or peft is unknown or of a wrong type.
        MissingDependencyError: a package is not installed.
    """
    training = TrainConfig(
        method="sft", model=config.model, data=("rows",), out="students", arguments=config.arguments, lora=config.lora
    )
    require_trainable(training)
    sampled = _as_teacher(config, config.model)
    sampled.engine.require(sampled.spec())


@dataclass(frozen=True, slots=True)
class EvalResults:
    """Correct responses of all students, by training set, and of the base model."""

    eval_set: EvalSet
    students: tuple[StudentResults, ...]
    start_P: Floats


def eval_results(students: StudentPlan, run: Run) -> EvalResults:
    """Read all evaluations, without the prompts that are in the candidate table.

    Raises:
        DataError: no prompt is left that has a reference.
    """
    [prompts] = run.plan.table["prompts"]
    in_table = frozenset(i for table in run.tables(prompts) for i in table["prompt_id"].to_pylist())
    questions = eval_prompts(students.start.directory, in_table)
    results = tuple(
        StudentResults(
            strategy=training_set.strategy,
            budgets=training_set.budgets,
            rows=sum(training_set.rows.values()),
            generations=training_set.generations,
            right=training_set.right,
            right_PS=np.stack([right_answers(task.directory, questions) for task in tasks], axis=1),
        )
        for training_set, tasks in students.training_sets
    )
    return EvalResults(eval_set_of(questions), results, right_answers(students.start.directory, questions))


def train_students(task_json: str, parent: int) -> None:
    """Train one student from its newest checkpoint, and evaluate it.

    Runs in a process of its own. The training stops at a checkpoint once the process `parent` is gone: a rerun of the
    command trains in the same directory.
    """
    task = StudentTask.model_validate_json(task_json)

    stop = StopFlag()
    context = RunContext(training=lambda: nullcontext(_StopWithParent(parent, stop)), stop=stop)
    with LEARNING:
        model = task.student.model if task.training is None else str(train(task.training, context).path)
        evaluate_student(_as_teacher(task.student, model), task.evaluation, task.student.max_tokens, task.directory)


class _StopWithParent(NoTrainingProgress):
    """Sets the stop flag at the first step after the parent process has ended."""

    def __init__(self, parent: int, stop: StopFlag) -> None:
        self._parent, self._stop = parent, stop

    def step(self, step: TrainingStep) -> None:
        self._stop.is_requested = self._stop.is_requested or os.getppid() != self._parent


def _as_teacher(config: StudentConfig, model: str) -> TeacherConfig:
    return TeacherConfig(
        name="student", model=model, engine=config.engine, precision=config.precision, languages=("und",)
    )


def _task(
    config: StudentConfig, evaluation: PromptsConfig, run: Run, training_set: TrainingSet, seed: int, folder: Path
) -> StudentTask:
    rows = training_set.rows
    mix = RowMixConfig(weights={tag: float(num) for tag, num in rows.items()}, rows=sum(rows.values()))
    facts = {
        "rows": run.step(run.plan.datasets[training_set.strategy]).fingerprint,
        "mix": mix.model_dump(mode="json"),
        "start": _origin(config),
        "arguments": config.arguments,
        "lora": config.lora,
        "evaluation": evaluation.identity(),
        "max_tokens": config.max_tokens,
    }
    directory = folder / f"{training_set.strategy}-{training_set.budgets[0]}-{digest_json(facts)[:8]}-{seed}"
    training = TrainConfig(
        method="sft",
        model=config.model,
        data=(str(run.path),),
        dataset=training_set.strategy,
        out=str(directory),
        mix=mix,
        arguments={**config.arguments, "seed": seed},
        lora=config.lora,
    )
    return StudentTask(directory=directory, training=training, student=config, evaluation=evaluation)


def _origin(config: StudentConfig) -> dict[str, str]:
    return {"revision": revision_of(config.model, None), "precision": config.precision}
