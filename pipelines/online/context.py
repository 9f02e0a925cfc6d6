"""What a command line lends to a driver of runs and trainings: who works, who shows it, and the wish to stop."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from arbitrage.execution.local import LocalBackend
from arbitrage.execution.plan import plan
from arbitrage.execution.progress import NoProgress, Progress, StopFlag
from arbitrage.execution.run import Backend, RunRequest, describe, execute
from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import MANIFEST_FILE, open_run
from arbitrage.training.progress import TrainingHooks
from arbitrage.training.settings import TrainConfig
from arbitrage.training.train import TrainedStudent, train
from pipelines.judge import JudgeRunConfig
from pipelines.loading import require_teachers
from pipelines.preference import PreferenceConfig


@dataclass(frozen=True, slots=True)
class RunContext:
    """How the caller has runs done, follows them and stops them.

    Attributes:
        backend: makes what does a run.
        progress: shows a run while it lasts.
        hooks: shows a training while it lasts.
        note: hears a sentence now and then.
        stop: asked, what is under way is brought to an end that can be resumed.
    """

    backend: Callable[[], Backend] = LocalBackend
    progress: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(NoProgress())
    hooks: Callable[[], AbstractContextManager[TrainingHooks]] = lambda: nullcontext(TrainingHooks())
    note: Callable[[str], None] = lambda sentence: None
    stop: StopFlag = field(default_factory=StopFlag)

    def do_run(self, config: PreferenceConfig | JudgeRunConfig, run: AnyPath, shards: range | None = None) -> None:
        """Do what is missing of a run; `shards`: of these alone. Raises like `execute`.

        A run that is done is not even claimed, so that several students may share one.
        """
        if isinstance(config, JudgeRunConfig):
            kind, most_lost = "judge", 1.0  # rows that an evaluation loses are shown beside its figures
        else:
            kind, most_lost = config.kind, config.max_rejected
        request = RunRequest(
            name=config.name,
            kind=kind,
            pipeline=config.build(),
            run_dir=run,
            num_shards=config.num_shards,
            shards=range(config.num_shards) if shards is None else shards,
            max_rejected=most_lost,
            config=json.loads(config.model_dump_json()),
        )
        if _is_done(request):
            return
        with self.progress() as progress:
            execute(request, self.backend(), progress, self.stop, require_teachers)

    def train(self, config: TrainConfig) -> TrainedStudent:
        """Train, or find what was trained. Raises like `arbitrage.training.train.train`."""
        with self.hooks() as hooks:
            return train(config, hooks)


def _is_done(request: RunRequest) -> bool:
    """Tell whether a directory holds just this run, finished."""
    if not (request.run_dir / MANIFEST_FILE).exists():
        return False
    execution = plan(request.run_dir, request.pipeline.targets, request.num_shards, request.shards)
    found, wanted = open_run(request.run_dir).plan, describe(request, execution, "")
    return not execution.num_missing and (found.fingerprint, found.shards) == (wanted.fingerprint, wanted.shards)
