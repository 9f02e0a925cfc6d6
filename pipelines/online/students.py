"""Students as teachers: the entries of a pool file, so that pipelines, judges and other runs can ask them."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from arbitrage.shards.store import commit_bytes
from arbitrage.teachers.pool import TeacherConfig, load_pool
from pipelines.online.config import OnlineConfig

POOL_FILE = "teachers.yaml"


def student_entry(config: OnlineConfig, model: str, name: str | None = None) -> TeacherConfig:
    """Return the student's entry with the weights of a stage.

    Args:
        config: describes the student.
        model: where the stage's weights lie.
        name: of the entry; by default the student's.
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
