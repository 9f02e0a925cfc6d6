"""Train a student, resuming an interrupted training."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arbitrage.errors import InterruptedRunError, MissingDependencyError, RunDirectoryError
from arbitrage.execution.context import RunContext, TrainingProgress
from arbitrage.execution.progress import StopFlag
from arbitrage.models.references import revision_of
from arbitrage.runs.store import commit_json, storage_errors
from arbitrage.training.checkpoints import STATE_FILE, newest_checkpoint, step_of
from arbitrage.training.monitor.callback import ModelMonitor, monitor_callback
from arbitrage.training.progress import progress_callback
from arbitrage.training.reasoning import rule_for
from arbitrage.training.record import (
    PLAN_FILE,
    RECORD_FILE,
    TrainingPlan,
    TrainingRecord,
    differences,
    read_plan,
    read_record,
)
from arbitrage.training.rows import TrainingRows, load_rows
from arbitrage.training.settings import TrainConfig
from arbitrage.training.sources import local_sources
from arbitrage.training.trainers import (
    adapter_config,
    build_trainer,
    given_arguments,
    name_base,
    quieten,
    save_student,
    student_dtype,
    training_arguments,
)

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

PACKAGES = ("arbitrage", "trl", "transformers", "peft", "accelerate", "datasets", "torch")
DATA_FOLDER = "data"


@dataclass(frozen=True, slots=True)
class TrainedStudent:
    """A student: load it with transformers, or name its path as the model of a teacher or reward.

    Attributes:
        path: the weights and the tokenizer.
        record: what it was trained on.
        is_new: False if it had been trained before, and nothing was done.
    """

    path: Path
    record: TrainingRecord
    is_new: bool


def train(
    config: TrainConfig, context: RunContext | None = None, callbacks: Sequence["TrainerCallback"] = ()
) -> TrainedStudent:
    """Train a student or a reward model with TRL.

    The output directory decides what is done: nothing if it holds `training.json`; the rest if it holds a checkpoint;
    everything otherwise. A resumed training takes the same steps as an uninterrupted one.

    Args:
        config: what to train, and on what.
        context: shows and stops the training.
        callbacks: further callbacks of the trainer.

    Raises:
        ConfigError: an argument is unknown or of a wrong type.
        UserError: the model cannot be loaded, or TRL refuses.
        RunDirectoryError: the output directory holds another training.
        DataError: the data cannot be read, or has too few rows of a language.
        InterruptedRunError: the stop flag was set; a checkpoint has been written.
        MissingDependencyError: the extra `train` is not installed.
    """
    context = context or RunContext()
    with context.training() as progress:
        return _train(config, progress, context.stop, callbacks)


def _train(
    config: TrainConfig, progress: TrainingProgress, stop: StopFlag, callbacks: Sequence["TrainerCallback"]
) -> TrainedStudent:
    arguments = require_trainable(config)
    out = Path(config.out)
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with _exporting(out, arguments) as folder:
        rows = _load(config, arguments, folder)
        plan = _plan(config, rows)
        done = _already(out, plan)
    if done is not None:
        return TrainedStudent(out / done.student, done, is_new=False)
    commit_json(out / PLAN_FILE, plan)
    for note in rows.notes:
        progress.note(note)
    progress.note(f"{plan.num_rows:,} rows in {len(plan.by_language)} languages")
    watcher = ModelMonitor(config.monitor, out, progress.note) if config.monitor else None
    watching = [monitor_callback(watcher)] if watcher else []
    trainer = build_trainer(config, arguments, rows, [*watching, *callbacks, progress_callback(progress, stop)])
    _note_dropped(trainer, rows, progress)
    record = _run(trainer, config, plan, progress, stop, watcher)
    return TrainedStudent(out / record.student, record, is_new=True)


def _note_dropped(trainer: "Trainer", rows: TrainingRows, progress: TrainingProgress) -> None:
    """Note how many rows the trainer drops, which TRL does silently; packed rows cannot be counted."""
    is_packed = getattr(trainer.args, "packing", False)
    dropped = 0 if is_packed else len(rows.train) - len(trainer.train_dataset)
    if dropped > 0:
        limit = getattr(trainer.args, "max_length", None)
        progress.note(
            f"{dropped:,} of {len(rows.train):,} rows are left out: longer than max_length ({limit} tokens)"
        )


def require_trainable(config: TrainConfig) -> Any:
    """Check, before there is any data, that a training can start; return TRL's config.

    Raises:
        ConfigError: an argument is unknown or of a wrong type.
        MissingDependencyError: the extra `train` is not installed.
    """
    require_trl()
    quieten()
    adapter_config(config)
    return training_arguments(config)


def _run(
    trainer: "Trainer",
    config: TrainConfig,
    plan: TrainingPlan,
    progress: TrainingProgress,
    stop: StopFlag,
    watcher: ModelMonitor | None,
) -> TrainingRecord:
    """Take the remaining steps, write the student and its record."""
    out, started = Path(config.out), time.monotonic()
    checkpoint = newest_checkpoint(out)
    if checkpoint:
        progress.note(f"resumes from {checkpoint.name}")
    figures = _take_steps(trainer, checkpoint, watcher)
    if stop.is_requested and trainer.state.global_step < trainer.state.max_steps:
        raise InterruptedRunError(
            f"interrupted at step {trainer.state.global_step} of {trainer.state.max_steps}; "
            "rerun the same command to resume"
        )
    dtype = student_dtype(config)
    student = save_student(trainer, out, is_adapter=config.lora is not None, merge=config.merge, dtype=dtype)
    record = TrainingRecord(
        plan=plan,
        student=student.name,
        seed=trainer.args.seed,
        device=trainer.accelerator.device.type,
        num_processes=trainer.accelerator.num_processes,
        num_steps=trainer.state.global_step,
        num_epochs=float(trainer.state.epoch or 0.0),
        resumed_from=step_of(checkpoint) if checkpoint else None,
        stopped=_why_stopped(trainer, watcher),
        alarms=tuple(alarm.sentence for alarm in watcher.alarms) if watcher else (),
        seconds=round(time.monotonic() - started, 3),
        figures=figures,
        packages=_versions(),
        effective=_effective(trainer.args),
    )
    if trainer.is_world_process_zero():
        name_base(out, config)
        commit_json(out / RECORD_FILE, record)
    return record


def _take_steps(trainer: "Trainer", checkpoint: Path | None, watcher: ModelMonitor | None) -> dict[str, float]:
    """Take the remaining steps, and return the trainer's figures.

    A trainer that resumes from its last step takes one too many; its `train_…` figures cover only its own steps.
    """
    if checkpoint is not None and _load_if_over(trainer, checkpoint, watcher):
        return {}
    metrics = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None).metrics
    logged = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    return {name: value for name, value in logged.items() if checkpoint is None or not name.startswith("train_")}


def _load_if_over(trainer: "Trainer", checkpoint: Path, watcher: ModelMonitor | None) -> bool:
    """Load a checkpoint that has no steps left; return whether it is one."""
    from transformers.trainer_callback import TrainerState

    state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
    is_stopped = watcher is not None and watcher.recall(state.global_step)
    if state.global_step < state.max_steps and not is_stopped:
        return False
    best = state.best_model_checkpoint if trainer.args.load_best_model_at_end else None
    trainer._load_from_checkpoint(best or str(checkpoint))
    trainer.state = state
    return True


@contextmanager
def _exporting(out: Path, arguments: Any) -> Iterator[Path]:
    """Provide a directory for exports of runs; on success, they replace earlier ones."""
    from accelerate import PartialState

    beside, target, is_main = out / f"_tmp-{DATA_FOLDER}", out / DATA_FOLDER, arguments.process_index == 0
    try:
        yield beside
        PartialState().wait_for_everyone()
        if is_main and beside.exists():
            with storage_errors(target):
                shutil.rmtree(target, ignore_errors=True)
                beside.rename(target)
    finally:
        if is_main:
            shutil.rmtree(beside, ignore_errors=True)


def _load(config: TrainConfig, arguments: Any, folder: Path) -> TrainingRows:
    with arguments.main_process_first(local=False, desc="read the data"):  # one export, also for several nodes
        sources = local_sources(config.data, config.dataset_name, folder, is_main=arguments.process_index == 0)
        template_path = getattr(arguments, "chat_template_path", None)
        owner = f"{config.method} of {config.model}"
        reasoning = rule_for(config.reasoning_use, config.model, config.revision, template_path, owner)
        return load_rows(sources, config.method, config.mix, reasoning)


def _plan(config: TrainConfig, rows: TrainingRows) -> TrainingPlan:
    return TrainingPlan(
        method=config.method,
        model=config.model,
        revision=revision_of(config.model, config.revision),
        data=config.data,
        data_digest=rows.digest,
        num_rows=len(rows.train),
        by_language=dict(rows.by_language),
        mix=config.mix.model_dump(mode="json"),
        arguments=given_arguments(config),
        lora=config.lora,
        stops_by=config.monitor.identity() if config.monitor and config.monitor.early_stop else None,
    )


def _already(out: Path, plan: TrainingPlan) -> TrainingRecord | None:
    """Return the record of a finished training; refuse a directory with another training."""
    found, record = read_plan(out), read_record(out)
    if record is None and newest_checkpoint(out) is None:
        return None
    if found is None:
        raise RunDirectoryError(f"{out}: holds checkpoints of another program's training; choose another --out")
    if different := differences(found, plan):
        raise RunDirectoryError(
            f"{out}: holds another training ({'; '.join(different)}); choose another --out, or remove that one"
        )
    return record


def _why_stopped(trainer: "Trainer", watcher: ModelMonitor | None) -> str | None:
    if trainer.state.global_step >= trainer.state.max_steps:
        return None
    return (watcher.stopped if watcher else None) or "a callback ended it"


def _effective(arguments: Any) -> dict[str, Any]:
    """Return every effective argument, without secrets and local paths."""
    logged = arguments.to_dict() | {name: getattr(arguments, name, None) for name in ("eos_token", "pad_token")}
    left_out = ("output_dir", "logging_dir", "hub_token")
    return {name: value for name, value in sorted(logged.items()) if name not in left_out and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, str | int | float | bool)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in PACKAGES}


def require_trl() -> None:
    """Check that TRL and its packages are installed. Raises MissingDependencyError."""
    from importlib.util import find_spec

    missing = [name for name in ("trl", "peft", "accelerate") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"{', '.join(missing)}: not installed: pip install 'arbitrage[train]'")
