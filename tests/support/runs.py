"""Run pipelines of toy steps, and look at what lies in their run directories."""

import os
from pathlib import Path

from arbitrage.contracts.steps import Pipeline
from arbitrage.execution.local import LocalBackend
from arbitrage.execution.progress import NoProgress, StopFlag
from arbitrage.execution.run import Backend, RunRequest, execute
from arbitrage.runs.manifest import LiveStep, Manifest
from arbitrage.runs.paths import AnyPath, StorePath


class Notes(NoProgress):
    """Keeps the notes of a run."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


class Watches(Notes):
    """Keeps which pools started, which steps had items in flight at once, and how many replicas there were."""

    def __init__(self) -> None:
        super().__init__()
        self.most_replicas = 0
        self.pools: list[str] = []
        self.at_once: list[set[str]] = []

    def pool_started(self, pool: str, replicas: int, resources: str) -> None:
        self.pools.append(pool)

    def live(self, steps: dict[str, LiveStep]) -> None:
        self.at_once.append({name for name, step in steps.items() if step.num_in_flight})
        self.most_replicas = max([self.most_replicas, *(step.replicas for step in steps.values())])


def run(
    directory: AnyPath,
    pipeline: Pipeline,
    backend: Backend | None = None,
    *,
    shards: int = 4,
    only: int | None = None,
    max_rejected: float = 0.5,
    progress: NoProgress | None = None,
    stop: StopFlag | None = None,
    stall_after_s: float = 120.0,
) -> Manifest:
    """Run a pipeline of `shards` shards, or the first `only` of them."""
    request = RunRequest(
        name="toy",
        kind="toy",
        pipeline=pipeline,
        run_dir=directory,
        num_shards=shards,
        shards=range(only or shards),
        max_rejected=max_rejected,
        config={},
        stall_after_s=stall_after_s,
    )
    return execute(request, backend or LocalBackend(), progress or NoProgress(), stop)


def shard_bytes(directory: AnyPath) -> dict[str, bytes]:
    """Return the content of each shard, rejects among them, by its path in the run directory."""
    return {_name_in(directory, path): path.read_bytes() for path in _shards(directory)}


def shard_times(directory: Path) -> dict[str, int]:
    """Return when each shard was last written."""
    return {_name_in(directory, path): path.stat().st_mtime_ns for path in directory.rglob("shard-*.parquet")}


def journaled(directory: AnyPath) -> int:
    """Count the rows in journals of shards that are not published yet."""
    files = _files(directory)
    published = {_shard_of(path) for path in files if path.name.endswith(".parquet")}
    journals = [path for path in files if path.parent.parent.name == "_journal"]
    return sum(_num_rows(path) for path in journals if _shard_of(path.parent) not in published)


def _shard_of(path: AnyPath) -> str:
    """Return which shard a file or a folder of its step is of."""
    return str(path).replace("/_journal/", "/").removesuffix(".parquet")


def _shards(directory: AnyPath) -> list[AnyPath]:
    return [path for path in _files(directory) if path.name.startswith("shard-") and path.name.endswith(".parquet")]


def _files(directory: AnyPath) -> list[AnyPath]:
    """Return all files below a directory in which a run may be making and removing others."""
    if isinstance(directory, StorePath):
        return list(directory.files())
    return sorted(Path(folder, name) for folder, _, names in os.walk(directory) for name in names)


def _name_in(directory: AnyPath, path: AnyPath) -> str:
    return str(path)[len(str(directory)) + 1 :]


def _num_rows(journal: AnyPath) -> int:
    try:
        return sum(line.startswith('{"row"') for line in journal.read_text().splitlines())
    except FileNotFoundError:  # removed meanwhile: its shard is finished
        return 0
