"""What a backend tells while it works; the CLI turns it into bars or lines."""

from collections.abc import Mapping
from typing import Protocol

from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.shards.live import LiveStep
from arbitrage.shards.manifest import ShardStats


class Progress(Protocol):
    """Listens to a run. Called from the driver's thread only."""

    def planned(self, execution: ExecutionPlan) -> None:
        """The run is about to start."""
        ...

    def pool_started(self, pool: str, replicas: int, resources: str) -> None:
        """A pool of workers holds its resources now."""
        ...

    def rows_read(self, step: PlannedStep, num_rows: int) -> None:
        """A source has read so many more rows."""
        ...

    def shard_done(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        """A shard is complete on disk."""
        ...

    def live(self, steps: Mapping[str, LiveStep]) -> None:
        """What is under way now, by step; about once a second."""
        ...

    def note(self, message: str) -> None:
        """Something a person would want to know, in one sentence."""
        ...


class Quiet:
    """Says nothing."""

    def planned(self, execution: ExecutionPlan) -> None:
        """Ignore."""

    def pool_started(self, pool: str, replicas: int, resources: str) -> None:
        """Ignore."""

    def rows_read(self, step: PlannedStep, num_rows: int) -> None:
        """Ignore."""

    def shard_done(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        """Ignore."""

    def live(self, steps: Mapping[str, LiveStep]) -> None:
        """Ignore."""

    def note(self, message: str) -> None:
        """Ignore."""
