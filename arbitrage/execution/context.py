"""`RunContext`: what a caller passes to code that drives runs and trainings."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from arbitrage.execution.local import LocalBackend
from arbitrage.execution.plan import ExecutionPlan
from arbitrage.execution.progress import NoProgress, Progress, StopFlag
from arbitrage.execution.run import Backend, RunRequest, execute
from arbitrage.runs.manifest import Manifest


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """State of a training.

    Attributes:
        number: optimiser steps so far.
        total: number of steps in total.
        figures: what the trainer logged at this step, such as `loss`; usually empty.
    """

    number: int
    total: int
    figures: Mapping[str, float] = field(default_factory=dict)


class TrainingProgress(Protocol):
    """Shows the progress of a training."""

    def step(self, step: TrainingStep) -> None:
        """Show a step."""
        ...

    def note(self, sentence: str) -> None:
        """Show a sentence."""
        ...


class NoTrainingProgress:
    """Shows nothing."""

    def step(self, step: TrainingStep) -> None:
        """Ignore."""

    def note(self, sentence: str) -> None:
        """Ignore."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """The backend, the progress display, the stop flag, and a sink for notes. Default: this process, without output.

    Attributes:
        backend: makes the backend of a run.
        progress: makes the display of a run.
        training: makes the display of a training.
        note: shows a sentence between runs and trainings.
        stop: once it is set, running work ends in a state that can be resumed.
    """

    backend: Callable[[], Backend] = LocalBackend
    progress: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(NoProgress())
    training: Callable[[], AbstractContextManager[TrainingProgress]] = lambda: nullcontext(NoTrainingProgress())
    note: Callable[[str], None] = lambda sentence: None
    stop: StopFlag = field(default_factory=StopFlag)

    def execute(self, request: RunRequest, check: Callable[[ExecutionPlan], None] = lambda _: None) -> Manifest:
        """Compute what is missing of a run. Arguments and errors like `arbitrage.execution.run.execute`."""
        with self.progress() as progress:
            return execute(request, self.backend(), progress, self.stop, check)
