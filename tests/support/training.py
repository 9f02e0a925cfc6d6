"""A context that records a training, and may stop it at a step."""

from collections.abc import Callable
from contextlib import nullcontext

from arbitrage.execution.context import RunContext, TrainingStep
from arbitrage.execution.progress import StopFlag


class _Recorder:
    def __init__(
        self, steps: list[TrainingStep], note: Callable[[str], None], stop: StopFlag, stop_at: int | None
    ) -> None:
        self._steps, self.note, self._stop, self._stop_at = steps, note, stop, stop_at

    def step(self, step: TrainingStep) -> None:
        self._steps.append(step)
        if step.number == self._stop_at:
            self._stop.is_requested = True


def recording(
    steps: list[TrainingStep] | None = None, notes: list[str] | None = None, stop_at: int | None = None
) -> RunContext:
    """Return a context that appends steps and notes to lists, and sets its stop flag at a step."""
    steps, notes, stop = [] if steps is None else steps, [] if notes is None else notes, StopFlag()
    recorder = _Recorder(steps, notes.append, stop, stop_at)
    return RunContext(training=lambda: nullcontext(recorder), note=notes.append, stop=stop)
