"""Read a run: its plan, its manifest, and the rows of any step."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from arbitrage.errors import RunDirectoryError
from arbitrage.runs.layout import shards_in
from arbitrage.runs.manifest import Manifest, Notes, RunPlan, StepPlan
from arbitrage.runs.paths import AnyPath, require_no_links
from arbitrage.runs.sealed import load_sealed, remedy_for
from arbitrage.runs.verified import read_rejects, read_shard, require_sound_shard

PLAN_FILE = "run.json"
MANIFEST_FILE = "manifest.json"
REPORT_FILE = "report.html"
NOTES_FILE = "notes.json"


@dataclass(frozen=True)
class Run:
    """A run directory, finished or under way."""

    path: AnyPath
    plan: RunPlan

    @cached_property
    def manifest(self) -> Manifest:
        """The results of the run.

        Raises:
            RunDirectoryError: the run has not finished.
        """
        path = self.path / MANIFEST_FILE
        if not path.exists():
            raise RunDirectoryError(
                f"{self.path}: the run has not finished (no {MANIFEST_FILE}); rerun the same command to resume"
            )
        return load_sealed(path, Manifest, remedy_for(self.path))

    @cached_property
    def notes(self) -> Notes:
        """What the pipeline reported about the finished run; mostly empty."""
        path = self.path / NOTES_FILE
        return load_sealed(path, Notes, remedy_for(self.path)) if path.exists() else Notes()

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

    def directory(self, step: str) -> AnyPath:
        """Return the directory of a step's shards.

        Raises:
            StorageError: it is a link, and so leads elsewhere.
        """
        name = self.step(step).directory
        if isinstance(self.path, Path):
            for parts in ([], ["_rejects"], ["_stats"]):
                require_no_links(self.path, [name, *parts])
        return self.path / name

    def shards(self, step: str) -> tuple[int, ...]:
        """Return the shard numbers a step has when complete."""
        planned = self.step(step)
        if planned.scope == "corpus":
            return (0,)
        return self.plan.shards if planned.shards is None else planned.shards

    def shard(self, step: str, shard: int) -> pa.Table:
        """Return the rows of one of a step's shards, checked against their digest.

        Raises:
            DamagedFileError: they are missing, or not what was written.
        """
        return read_shard(self.directory(step), shard)

    def tables(self, step: str) -> Iterator[pa.Table]:
        """Yield a step's rows, one table for each complete shard, in order; of a finished run, of every shard.

        Raises:
            DamagedFileError: a shard is not what was written; or is missing, though the run has finished.
        """
        for shard in self.readable(step):
            yield read_shard(self.directory(step), shard)

    def rejects(self, step: str) -> Iterator[pa.Table]:
        """Yield a step's rejects, one table for each shard that has any, in order. Raises like `tables`."""
        for shard in self.readable(step):
            if (table := read_rejects(self.directory(step), shard)) is not None:
                yield table

    def table(self, step: str) -> pa.Table:
        """Return all rows of a step; for steps known to be small."""
        return pa.concat_tables(self.tables(step))

    def require_sound(self, step: str) -> None:
        """Compare all shards of a step with their digests, before others read the files. Raises like `tables`."""
        for shard in self.readable(step):
            require_sound_shard(self.directory(step), shard)

    def readable(self, step: str) -> list[int]:
        """Return the shards to read: all of a finished run, so that a missing one is an error."""
        wanted = self.shards(step)
        if self.is_finished:
            return list(wanted)
        there = shards_in(self.directory(step))
        return [shard for shard in wanted if shard in there]


def open_run(path: AnyPath) -> Run:
    """Open a run directory.

    Raises:
        RunDirectoryError: there is no run.
        DamagedFileError: its plan is not what was written.
    """
    if not (path / PLAN_FILE).exists():
        raise RunDirectoryError(f"{path}: is not a run directory (no {PLAN_FILE})")
    return Run(path, load_sealed(path / PLAN_FILE, RunPlan, remedy_for(path)))
