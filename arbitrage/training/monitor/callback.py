"""The monitor inside a trainer: checks at regular steps, alarms, and early stopping."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from arbitrage.training.monitor.alarms import TrainingAlarm, find_alarms
from arbitrage.training.monitor.curves import CURVES_FILE, OVERALL, Check, read_checks, write_checks
from arbitrage.training.monitor.measure import check_model
from arbitrage.training.monitor.picture import PICTURE_FILE, write_picture
from arbitrage.training.monitor.probe import Probe, load_probe
from arbitrage.training.monitor.settings import MonitorConfig


class ModelMonitor:
    """Monitors one model in training, independent of the trainer.

    A training that resumes from a checkpoint keeps the checks up to it, and repeats the later ones.

    Args:
        config: what to monitor.
        out: directory of `monitor.jsonl` and `monitor.svg`.
        note: called with each alarm, once.
    """

    def __init__(self, config: MonitorConfig, out: Path, note: Callable[[str], None] = lambda sentence: None) -> None:
        self._config, self._out, self._note = config, out, note
        self._probe: Probe | None = None
        self._heard: set[tuple[str, str]] = set()
        self.checks: list[Check] = []
        self.stopped: str | None = None

    @property
    def alarms(self) -> list[TrainingAlarm]:
        """All alarms so far."""
        return find_alarms(self.checks, self._config.alarms)

    def begin(self, model: Any, tokenizer: Any, step: int, *, is_main: bool = True) -> None:
        """Choose the probe set and make the first check, unless it exists."""
        self._probe = load_probe(self._config, tokenizer, self._out, is_main=is_main)
        self.recall(step)
        self.check(model, tokenizer, step, is_main=is_main)

    def recall(self, step: int) -> bool:
        """Read the checks up to a step from the disk; return whether they ended the training."""
        self.checks = [check for check in read_checks(self._out / CURVES_FILE) if step and check.step <= step]
        self._heard = {(alarm.kind, alarm.language) for alarm in self.alarms}
        self._note_alarms()
        return self.stopped is not None

    def is_due(self, step: int) -> bool:
        """Tell whether a check is due after a step."""
        return step % self._config.every == 0

    def check(self, model: Any, tokenizer: Any, step: int, *, is_main: bool = True) -> bool:
        """Check once at a step; return whether training is to end."""
        if self._probe is None:
            raise RuntimeError("the monitor has not begun")
        if all(check.step != step for check in self.checks):
            self.checks += check_model(model, tokenizer, self._probe, self._config, step)
            if is_main:
                write_checks(self._out / CURVES_FILE, self.checks)
                write_picture(self._out / PICTURE_FILE, self.checks, self.alarms)
        self._note_alarms()
        return self.stopped is not None

    def _note_alarms(self) -> None:
        for alarm in self.alarms:
            if (alarm.kind, alarm.language) not in self._heard:
                self._heard.add((alarm.kind, alarm.language))
                self._note(f"over-optimisation? {alarm.sentence}")
            if self._config.early_stop and alarm.language == OVERALL and self.stopped is None:
                self.stopped = alarm.sentence


def monitor_callback(watcher: ModelMonitor) -> Any:
    """Return a `transformers.TrainerCallback` that monitors any TRL trainer of a language model.

    In a distributed training every process measures, because sharded models need all of them, and the main process
    writes.
    """
    from transformers import TrainerCallback

    class MonitorCallback(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            watcher.begin(*_models(given), state.global_step, is_main=state.is_world_process_zero)

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            is_last = state.global_step >= state.max_steps
            if watcher.is_due(state.global_step) or is_last:
                is_over = watcher.check(*_models(given), state.global_step, is_main=state.is_world_process_zero)
                control.should_training_stop = control.should_training_stop or is_over

    return MonitorCallback()


def _models(given: dict[str, Any]) -> tuple[Any, Any]:
    return given["model"], given["processing_class"]
