"""What a command line lends to a driver of runs and trainings: who works, who shows it, and the wish to stop."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import Progress, Quiet
from arbitrage.execution.run import Backend, RunRequest, execute
from arbitrage.execution.watch import Stop
from arbitrage.training.progress import Hooks
from arbitrage.training.settings import TrainConfig
from arbitrage.training.train import TrainedStudent, train


@dataclass(frozen=True, slots=True)
class Surroundings:
    """How the caller has runs done, follows them and stops them.

    Attributes:
        backend: makes what does a run.
        progress: shows a run while it lasts.
        hooks: shows a training while it lasts.
        note: hears a sentence now and then.
        stop: asked, what is under way is brought to an end that can be resumed.
    """

    backend: Callable[[], Backend] = LocalBackend
    progress: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(Quiet())
    hooks: Callable[[], AbstractContextManager[Hooks]] = lambda: nullcontext(Hooks())
    note: Callable[[str], None] = lambda sentence: None
    stop: Stop = field(default_factory=Stop)

    def do_run(self, request: RunRequest) -> None:
        """Do what is missing of a run. Raises like `execute`."""
        with self.progress() as progress:
            execute(request, self.backend(), progress, self.stop)

    def train(self, config: TrainConfig) -> TrainedStudent:
        """Train, or find what was trained. Raises like `arbitrage.training.train.train`."""
        with self.hooks() as hooks:
            return train(config, hooks)
