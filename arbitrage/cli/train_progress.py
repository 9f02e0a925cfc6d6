"""The progress of a training: a bar with the last figures on a terminal, a line for each log elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from arbitrage.cli.screen import Screen

if TYPE_CHECKING:
    from arbitrage.execution.context import TrainingProgress, TrainingStep

SHOWN = ("loss", "eval_loss", "rewards/margins", "accuracy", "learning_rate")
"""Figures of a trainer's log that are shown; the rest is in `trainer_state.json`."""


class Lines:
    """Prints one line for each log."""

    def __init__(self, console: Screen) -> None:
        self._console, self._started = console, time.monotonic()

    def step(self, step: "TrainingStep") -> None:
        """Print what was logged."""
        if text := figures(step):
            self.note(f"step {step.number:,} of {step.total:,}: {text}")

    def note(self, sentence: str) -> None:
        """Print a line with the seconds since the start."""
        seconds = time.monotonic() - self._started
        self._console.print(f"[{seconds:6.1f}s] {sentence}", markup=False, highlight=False, soft_wrap=True)


class Bar:
    """Shows a bar of steps."""

    def __init__(self, bars: Progress) -> None:
        self._bars, self._task = bars, bars.add_task("train", total=None, figures="")

    def step(self, step: "TrainingStep") -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=step.number, total=step.total)
        if text := figures(step):
            self._bars.update(self._task, figures=text)

    def note(self, sentence: str) -> None:
        """Print above the bar."""
        self._bars.console.print(sentence, style="dim", markup=False, highlight=False)


@contextmanager
def training_progress(console: Screen) -> Iterator["TrainingProgress"]:
    """Return a bar on a terminal, lines otherwise."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=32), MofNCompleteColumn())
    with Progress(
        *columns, TextColumn("{task.fields[figures]}", markup=False), TimeRemainingColumn(), console=console
    ) as bars:
        yield Bar(bars)


def figures(step: "TrainingStep") -> str:
    """Return the figures of a step that are shown: 'loss 0.431, learning_rate 1.2e-05'."""
    return ", ".join(f"{name} {step.figures[name]:.4g}" for name in SHOWN if name in step.figures)
