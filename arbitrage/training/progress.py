"""What a trainer tells while it works, and how it is asked to stop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """Where training stands.

    Attributes:
        number: optimiser steps taken.
        total: steps in all.
        figures: what the trainer logged at this step, such as `loss`; mostly nothing.
    """

    number: int
    total: int
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class TrainingHooks:
    """What the caller hears and says while a student trains.

    Attributes:
        tell: hears of every step.
        note: hears a sentence now and then.
        is_stopped: asked after every step; on True a checkpoint is written and training ends.
    """

    tell: Callable[[TrainingStep], None] = lambda step: None
    note: Callable[[str], None] = lambda sentence: None
    is_stopped: Callable[[], bool] = lambda: False


def hooks_callback(hooks: TrainingHooks) -> Any:
    """Return the `transformers.TrainerCallback` that serves the hooks."""
    from transformers import TrainerCallback

    class HooksCallback(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                hooks.tell(TrainingStep(state.global_step, state.max_steps))
            if hooks.is_stopped():
                control.should_save = control.should_training_stop = True

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
        ) -> None:
            if state.is_world_process_zero:
                figures = {k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float)}
                hooks.tell(TrainingStep(state.global_step, state.max_steps, figures))

    return HooksCallback()
