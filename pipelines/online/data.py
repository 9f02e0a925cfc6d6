"""Runs that make training rows: the offline run, and one per round in which the student is a teacher.

A student gets an entry in a pool file, so that pipelines, judges and other runs can sample it.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from arbitrage.execution.context import RunContext
from arbitrage.export.export import export_run
from arbitrage.runs.store import commit_bytes
from arbitrage.selection import PairPolicy
from arbitrage.selection.pairs import PairSelection
from arbitrage.selection.policies import BestVsWorst, OnPolicy
from arbitrage.teachers.pool import TeacherConfig, load_pool
from pipelines.online.config import OnlineConfig, Stage, shards_of
from pipelines.online.runs import complete_run
from pipelines.preference import PreferenceConfig
from routers.all import AllConfig

POOL_FILE = "teachers.yaml"


def student_entry(config: OnlineConfig, model: str, name: str | None = None) -> TeacherConfig:
    """Return the student's entry with the weights of a stage.

    Args:
        config: the config of the student.
        model: directory of the stage's weights.
        name: name of the entry (default: the student's).
    """
    revision = config.student.revision if model == config.student.model else None
    return config.student.model_copy(
        update={"name": name or config.student.name, "model": model, "revision": revision}
    )


def write_pool(folder: Path, students: Sequence[TeacherConfig], others: Path | None = None) -> Path:
    """Write a pool file of students and all teachers of another pool file; return its path. Raises StorageError."""
    entries = [*students, *(load_pool(others).teachers if others else ())]
    text = yaml.safe_dump(
        {"teachers": [entry.model_dump(mode="json", exclude_none=True) for entry in entries]},
        sort_keys=False,
        allow_unicode=True,
    )
    path = folder / POOL_FILE
    commit_bytes(path, text.encode())
    return path


DATA_FOLDER = "data"
EXPORT_FOLDER = "rows"
PAIRS_FOLDER = "pairs"


def offline_rows(config: OnlineConfig, out: Path, context: RunContext) -> Path:
    """Complete the run of `data`; return the directory of its exported data sets.

    Raises:
        ArbitrageError: like `execute` and `export_run`.
    """
    run_dir = Path(config.data_run) if config.data_run else out / DATA_FOLDER
    complete_run(context, config.data, run_dir)
    wanted = ["preference", *(["sft"] if config.sft is not None else [])]
    held_out = config.monitor.held_out if config.monitor and not config.monitor.probe else 0.0
    export_run(run_dir, "trl", wanted, out / EXPORT_FOLDER, test_fraction=held_out)
    return out / EXPORT_FOLDER


def round_run(config: OnlineConfig, stage: Stage, model: str, out: Path, context: RunContext) -> Path:
    """Sample the previous stage's student and rank the candidates; return the run with the round's pairs.

    Args:
        config: the config.
        stage: the stage after the round.
        model: the student's weights.
        out: output directory of the whole training.
        context: the caller's context.
    """
    folder = stage.folder(out)
    pool = write_pool(folder, [student_entry(config, model)], Path(config.data.teachers))
    request = round_config(config, stage, pool)
    complete_run(context, request, folder / PAIRS_FOLDER, shards_of(config, stage.iteration))
    return folder / PAIRS_FOLDER


def round_config(config: OnlineConfig, stage: Stage, pool: Path) -> PreferenceConfig:
    """Return the preference pipeline of a round: that of `data`, with the student sampled and no SFT rows."""
    rounds = config.rounds
    pairs = PairSelection(
        policy=_policy(config), min_gap=rounds.min_gap, max_pairs=rounds.max_pairs, iteration=stage.iteration
    )
    changes = {
        "name": f"{config.name}-{stage.name}",
        "prompts": rounds.prompts or config.data.prompts,
        "teachers": str(pool),
        "pool": (config.student.name, *config.opponents),
        "router": AllConfig(),
        "compare": (),
        "sampling": rounds.sampling.model_copy(update={"seed": config.seed}),
        "sft": None,
        "fusion": None,
        "pairs": pairs,
    }
    return config.data.model_copy(update=changes)


def _policy(config: OnlineConfig) -> PairPolicy:
    if config.rounds.policy is not None:
        return config.rounds.policy
    return OnPolicy(student=config.student.name) if config.opponents else BestVsWorst()
