"""Progress of a run: the interface for backends, and the monitor that collects and publishes it.

The monitor sums the live counters, writes `_live.json`, reads the stop flag, and ends a run without progress.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from arbitrage.contracts.workers import Load
from arbitrage.errors import DrainedError, StalledError
from arbitrage.execution.accounting import Accounts
from arbitrage.execution.counters import Counters
from arbitrage.execution.engine_figures import EngineFigures
from arbitrage.execution.pace import Pace, begun_at
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.runs.manifest import LIVE_FILE, EngineReport, LiveRun, LiveStep, ShardStats
from arbitrage.runs.paths import StorePath
from arbitrage.runs.store import replace_json


class Progress(Protocol):
    """Receives the progress of a run. Called only from the driver's thread."""

    def planned(self, execution: ExecutionPlan) -> None:
        """The run is about to start."""
        ...

    def pool_started(self, pool: str, replicas: int, resources: str) -> None:
        """A pool of workers has reserved its resources."""
        ...

    def rows_read(self, step: PlannedStep, num_rows: int) -> None:
        """A source has read this many more rows."""
        ...

    def shard_done(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        """A shard is complete on disk."""
        ...

    def live(self, steps: Mapping[str, LiveStep]) -> None:
        """The live counters, by step; about once a second."""
        ...

    def note(self, message: str) -> None:
        """A note for the user, in one sentence."""
        ...


class NoProgress:
    """Reports nothing."""

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


PUBLISH_EVERY_S = 1.0
PUBLISH_EVERY_IN_STORE_S = 4.0
"""Interval of writing `_live.json` to a store, where each write is a paid request that the driver waits for."""


class StopFlag:
    """Stop flag, set by the signal handler.

    Attributes:
        is_requested: a signal came.
        is_at_once: nothing is in flight, so that the first signal ends the command where it is.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self.is_at_once = False

    def require_none(self) -> None:
        """Raise DrainedError if a signal came."""
        if self.is_requested:
            raise DrainedError("stopped on request")

    @contextmanager
    def draining(self) -> Iterator[None]:
        """From now on requests are in flight: the first signal lets them arrive."""
        with self._at_once(False):
            yield

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `draining`: nothing is in flight while this lasts, such as while a model loads."""
        with self._at_once(True):
            yield

    @contextmanager
    def _at_once(self, value: bool) -> Iterator[None]:
        before, self.is_at_once = self.is_at_once, value
        try:
            yield
        finally:
            self.is_at_once = before


class RunMonitor:
    """Collects the progress that a backend reports.

    Attributes:
        accounts: counts of the shards that are done.

    Args:
        execution: the run.
        progress: shows the progress.
        stop: set by the user.
        stall_after_s: seconds without progress after which the run ends; 0: never.
    """

    def __init__(self, execution: ExecutionPlan, progress: Progress, stop: StopFlag, stall_after_s: float) -> None:
        self.progress, self.stop = progress, stop
        self._path = execution.run_dir / LIVE_FILE
        self._publish_every_s = PUBLISH_EVERY_IN_STORE_S if isinstance(self._path, StorePath) else PUBLISH_EVERY_S
        self._stall_after_s = stall_after_s
        self._counters: dict[str, Mapping[str, Counters]] = {}  # worker → step → what is under way
        self._loads: dict[str, Load] = {}
        self._num_replicas: dict[str, int] = {}
        self._pools = {step.step.name: step.job.pool for step in execution.steps}
        self._left = {step.step.name: len(step.missing) for step in execution.steps}
        self._paces: dict[str, Pace] = {}
        self._engines = EngineFigures(self._pools)
        self.accounts = Accounts()
        self._num_done = 0
        self._restarts: dict[str, int] = {}
        self._last_state: object = None
        self._deferred = {step.step.name for step in execution.steps if step.job.config.is_deferred}
        self._noted: set[str] = set()
        self._moved_at = self._published_at = time.monotonic()

    def shard_done(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        """A shard is complete on disk."""
        self._num_done += 1
        self._pace(step.step.name, begun_at(stats)).shard_done(stats)
        self.accounts.enter(step.step.name, shard, stats)
        if stats.num_damaged_lines:
            self.progress.note(
                f"{step.step.name} shard {shard}: {stats.num_damaged_lines} damaged lines of its journal dropped, "
                "and their items generated again"
            )
        self.progress.shard_done(step, shard, stats)

    def rows_read(self, step: PlannedStep, num_rows: int) -> None:
        """A source has read this many more rows. Raises DrainedError after a signal: it is read again then."""
        self.stop.require_none()
        self.progress.rows_read(step, num_rows)

    def shard_kept(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        """A doubtful shard is up to date and stays."""
        self.accounts.num_kept[step.step.name] += 1
        self.shard_done(step, shard, stats)

    def pool_size(self, pool: str, replicas: int) -> None:
        """A pool now has this many replicas."""
        self._num_replicas[pool] = replicas

    def restarted(self, step: str) -> None:
        """A worker of the step died and was started again."""
        self._restarts[step] = self._restarts.get(step, 0) + 1

    def counters_received(self, worker: str, counters: Mapping[str, Counters], load: Load) -> None:
        """A worker has reported its live counters."""
        for note in load.notes:
            self._note_once(note)
        if self.stop.is_requested:
            known = {**self._counters.get(worker, {}), **counters}
            for step in sorted(name for name in self._deferred & known.keys() if known[name].num_in_flight):
                self._note_once(f"{step}: submitted batches keep running; rerunning collects their results")
        self._counters[worker], self._loads[worker] = counters, load
        self._engines.received(worker, counters, load.engine)
        for step in counters:
            self._pace(step, time.monotonic())

    def _note_once(self, note: str) -> None:
        if note not in self._noted:
            self._noted.add(note)
            self.progress.note(note)

    def gone(self, worker: str) -> None:
        """A worker has no shards under way any more."""
        self._counters.pop(worker, None)

    def live(self) -> dict[str, LiveStep]:
        """Return the state of each step that is under way or was restarted."""
        found: dict[str, LiveStep] = {}
        for worker, counters in sorted(self._counters.items()):
            load = self._loads[worker]
            for step, each in sorted(counters.items()):
                known = found.get(step, LiveStep())
                found[step] = LiveStep(
                    **{name: getattr(known, name) + value for name, value in each.as_dict().items()},
                    num_waiting=known.num_waiting + load.num_waiting,
                    num_retries=known.num_retries + load.num_retries,
                    num_refusals=known.num_refusals + load.num_refusals,
                    replicas=self._num_replicas.get(self._pools.get(step, ""), 1),
                )
        for step, pace in self._paces.items():
            if step in found:
                workers = [worker for worker, counters in self._counters.items() if step in counters]
                figures = pace.figures() | self._engines.live(step, workers)
                found[step] = found[step].model_copy(update=figures)
        for step, restarts in self._restarts.items():
            found[step] = found.get(step, LiveStep()).model_copy(update={"restarts": restarts})
        return found

    def engines(self) -> dict[str, EngineReport]:
        """Return the speed and the figures of the engines that generated tokens in this pass, by step."""
        return self._engines.reports(self._paces)

    def _pace(self, step: str, began_at: float) -> Pace:
        return self._paces.setdefault(step, Pace(began_at, self._left.get(step, 0)))

    def tick(self, under_way: Callable[[], str]) -> None:
        """Publish the live counters; to be called about once a second.

        Args:
            under_way: describes what is under way, for the error message.

        Raises:
            StalledError: nothing has moved for too long.
        """
        now = time.monotonic()
        if now - self._published_at < self._publish_every_s:
            return
        self._published_at = now
        steps = self.live()
        replace_json(self._path, LiveRun(at=time.time(), steps=steps))
        self.progress.live(steps)
        state = (self._num_done, [(s.num_answered, s.num_replayed, s.num_items) for s in steps.values()])
        waits_for_batch = any(steps[name].num_in_flight for name in self._deferred & steps.keys())
        if state != self._last_state or waits_for_batch:
            self._last_state, self._moved_at = state, now
        elif self._stall_after_s and now - self._moved_at > self._stall_after_s:
            raise StalledError(
                f"nothing has moved for {now - self._moved_at:.0f} s; under way: {under_way()}. "
                "Finished work is kept: rerun the same command to resume; increase --stall-timeout if it was slow"
            )
