"""`training.json`: what a student was trained on and how, for people and for later steps."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from arbitrage.errors import RunDirectoryError
from arbitrage.training.settings import Method

RECORD_FILE = "training.json"
PLAN_FILE = "plan.json"
FORMAT_VERSION = 1


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


W = TypeVar("W", bound=_Written)


class TrainingPlan(_Written):
    """Everything that determines the weights; written before the first step, so that no other training resumes here.

    Attributes:
        revision: digest of a local model's files, else the commit.
        data_digest: digest of the rows, in order, after the mix.
        by_language: language → rows trained on.
        arguments, lora: as they were given.
        stops_by: the monitor that may end training early, or None.
    """

    format_version: int = FORMAT_VERSION
    method: Method
    model: str
    revision: str
    data: tuple[str, ...]
    data_digest: str
    num_rows: int
    by_language: dict[str, int]
    mix: dict[str, Any]
    arguments: dict[str, Any]
    lora: dict[str, Any] | None
    stops_by: dict[str, Any] | None


class TrainingRecord(_Written):
    """The result of a training.

    Attributes:
        effective: every argument of TRL's config with its effective value.
        num_steps: optimiser steps, including those before an interruption.
        resumed_from: the step from which this process resumed, or None.
        stopped: why training ended before its last step, or None.
        alarms: alarms of the monitor, in words.
        seconds: wall clock time of this process.
        figures: the trainer's figures, such as `train_loss`, which is left out if this process did only a part.
    """

    plan: TrainingPlan
    student: str  # below the record's directory
    seed: int
    device: str
    num_processes: int
    num_steps: int
    num_epochs: float
    resumed_from: int | None
    stopped: str | None
    alarms: tuple[str, ...]
    seconds: float
    figures: dict[str, float]
    packages: dict[str, str]
    effective: dict[str, Any]


def read_record(directory: Path) -> TrainingRecord | None:
    """Return the record of a finished training run, or None.

    Raises:
        RunDirectoryError: the file is not a training record.
    """
    return _read(directory / RECORD_FILE, TrainingRecord)


def read_plan(directory: Path) -> TrainingPlan | None:
    """Return the plan that a directory's checkpoints belong to, or None. Raises like `read_record`."""
    return _read(directory / PLAN_FILE, TrainingPlan)


def differences(found: TrainingPlan, wanted: TrainingPlan) -> list[str]:
    """Return the differences of two plans, ignoring how often something is logged, saved or evaluated."""
    one, other = (_comparable(plan) for plan in (found, wanted))
    return [
        f"{name}: {one.get(name, 'not set')} there, {other.get(name, 'not set')} wanted"
        for name in sorted(one.keys() | other.keys())
        if one.get(name, ...) != other.get(name, ...)
    ]


WATCHING = (
    "logging_",
    "save_",
    "eval_",
    "report_to",
    "disable_tqdm",
    "dataloader_",
    "run_name",
    "push_to_hub",
    "hub_",
)
"""Prefixes of arguments that do not change the weights."""


def _comparable(plan: TrainingPlan) -> dict[str, Any]:
    fields = plan.model_dump(exclude={"arguments", "lora", "data"})
    arguments = {f"arguments.{k}": v for k, v in plan.arguments.items() if not k.startswith(WATCHING)}
    lora = {"lora": "none"} if plan.lora is None else {f"lora.{k}": v for k, v in plan.lora.items()}
    return fields | arguments | lora


def _read(path: Path, kind: type[W]) -> W | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise RunDirectoryError(f"{path}: is not a training record of this version") from error
