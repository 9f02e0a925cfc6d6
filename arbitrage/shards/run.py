"""Read a run: its plan, its manifest, and the rows of any step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from arbitrage.errors import RunDirectoryError
from arbitrage.shards.layout import rejects_path, shard_path
from arbitrage.shards.manifest import Manifest, Notes, RunPlan, StepPlan
from arbitrage.shards.place import Place
from arbitrage.shards.store import read_table

PLAN_FILE = "run.json"
MANIFEST_FILE = "manifest.json"
REPORT_FILE = "report.html"
NOTES_FILE = "notes.json"


@dataclass(frozen=True)
class Run:
    """A run directory, finished or under way."""

    path: Place
    plan: RunPlan

    @cached_property
    def manifest(self) -> Manifest:
        """What the run did.

        Raises:
            RunDirectoryError: the run has not finished.
        """
        path = self.path / MANIFEST_FILE
        if not path.exists():
            raise RunDirectoryError(
                f"{self.path}: the run has not finished (no {MANIFEST_FILE}); run it again to resume"
            )
        return _load(path, Manifest)

    @cached_property
    def notes(self) -> Notes:
        """What the pipeline has to say of the finished run; mostly nothing."""
        path = self.path / NOTES_FILE
        return _load(path, Notes) if path.exists() else Notes()

    @property
    def is_finished(self) -> bool:
        """Whether the manifest has been published."""
        return (self.path / MANIFEST_FILE).exists()

    def step(self, name: str) -> StepPlan:
        """Return the plan of a step.

        Raises:
            RunDirectoryError: no such step; the message lists those there are.
        """
        for step in self.plan.steps:
            if step.name == name:
                return step
        raise RunDirectoryError(
            f"{self.path}: has no step '{name}'; steps: {', '.join(s.name for s in self.plan.steps)}"
        )

    def directory(self, step: str) -> Place:
        """Return where a step's shards lie."""
        return self.path / self.step(step).directory

    def shards(self, step: str) -> tuple[int, ...]:
        """Return the shard numbers a step has when complete."""
        planned = self.step(step)
        if planned.scope == "corpus":
            return (0,)
        return self.plan.shards if planned.shards is None else planned.shards

    def shard(self, step: str, shard: int) -> pa.Table:
        """Return the rows of one of a step's shards."""
        return read_table(shard_path(self.directory(step), shard))

    def tables(self, step: str) -> Iterator[pa.Table]:
        """Yield a step's rows, one table for each complete shard, in order."""
        yield from self._existing(step, shard_path)

    def rejects(self, step: str) -> Iterator[pa.Table]:
        """Yield a step's rejects, one table for each shard that has any, in order."""
        yield from self._existing(step, rejects_path)

    def table(self, step: str) -> pa.Table:
        """Return all rows of a step; for steps known to be small."""
        return pa.concat_tables(self.tables(step))

    def _existing(self, step: str, place: Callable[[Place, int], Place]) -> Iterator[pa.Table]:
        directory = self.directory(step)
        for shard in self.shards(step):
            path = place(directory, shard)
            if path.exists():
                yield read_table(path)


def open_run(path: Place) -> Run:
    """Open a run directory.

    Raises:
        RunDirectoryError: no run lies there.
    """
    if not (path / PLAN_FILE).exists():
        raise RunDirectoryError(f"{path}: is not a run directory (no {PLAN_FILE})")
    return Run(path, _load(path / PLAN_FILE, RunPlan))


M = TypeVar("M", bound=BaseModel)


def _load(path: Place, model: type[M]) -> M:
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error}") from error
