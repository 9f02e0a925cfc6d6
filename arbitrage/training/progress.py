"""Trainer callback that reports steps to a `RunContext` and obeys its stop flag."""

from collections.abc import Mapping
from typing import Any

from arbitrage.execution.context import TrainingProgress, TrainingStep
from arbitrage.execution.progress import StopFlag


def progress_callback(progress: TrainingProgress, stop: StopFlag) -> Any:
    """Return a `transformers.TrainerCallback`: once `stop` is set it writes a checkpoint and ends the training."""
    from transformers import TrainerCallback

    class ProgressCallback(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                progress.step(TrainingStep(state.global_step, state.max_steps))
            if stop.is_requested:
                control.should_save = control.should_training_stop = True

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
        ) -> None:
            if state.is_world_process_zero:
                figures = {k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float)}
                progress.step(TrainingStep(state.global_step, state.max_steps, figures))

    return ProgressCallback()
