"""How a run shows itself: bars with rates and time left on a terminal, one plain line per event elsewhere."""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from arbitrage.cli.naming import VERBS, title
from arbitrage.cli.screen import Screen, say
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.shards.live import LiveStep
from arbitrage.shards.manifest import ShardStats

TELL_EVERY_S = 30.0


class LineProgress:
    """One line when a step ends; for logs."""

    def __init__(self) -> None:
        self._left: dict[str, int] = {}
        self._rows: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._started = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def planned(self, execution: ExecutionPlan) -> None:
        """Say how much is to do."""
        self._left = {s.step.name: len(s.missing) for s in execution.steps}
        total = sum(len(s.outputs) for s in execution.steps)
        self.note(f"{execution.num_missing} of {total} shards to do in {len(execution.steps)} steps")

    def pool_started(self, pool: str, replicas: int, resources: str) -> None:
        """Say that an engine starts."""
        self.note(f"{title(pool)}: replica {replicas} starts ({resources})")

    def rows_read(self, step: PlannedStep, num_rows: int) -> None:
        """Say so every million rows."""
        before = self._rows["read"]
        self._rows["read"] += num_rows
        if before // 1_000_000 != self._rows["read"] // 1_000_000:
            self.note(f"{title(step.step.name)}: {self._rows['read']:,} rows")

    def shard_done(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        """Say so when it was the step's last."""
        name = step.step.name
        self._left[name] -= 1
        self._rows[name] += stats.num_rows
        self._seconds[name] += stats.seconds
        if self._left[name] <= 0:
            rate = self._rows[name] / self._seconds[name] if self._seconds[name] else 0.0
            self.note(f"{title(name)}: done, {self._rows[name]:,} rows, {rate:,.0f}/s per worker")

    def live(self, steps: Mapping[str, LiveStep]) -> None:
        """Say every half minute what is under way."""
        if steps and time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            for name, step in steps.items():
                self.note(f"{title(name)}: {live_sentence(step)}")

    def note(self, message: str) -> None:
        """Print a line with the seconds since the start."""
        say(f"[{time.monotonic() - self._started:6.1f}s] {message}", file=sys.stderr)


class BarProgress:
    """A bar for each kind of step; for terminals."""

    def __init__(self, console: Screen) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<14}", markup=False),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("shards  {task.fields[rows]:>10,} rows  {task.fields[rate]:>9}  {task.fields[flying]}"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._rows: Counter[str] = Counter()
        self._started: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def planned(self, execution: ExecutionPlan) -> None:
        """Draw a bar for each verb, filled by what is already there."""
        totals: Counter[str] = Counter()
        missing: Counter[str] = Counter()
        for step in execution.steps:
            totals[_verb(step)] += len(step.outputs)
            missing[_verb(step)] += len(step.missing)
        for verb, total in totals.items():
            self._tasks[verb] = self._bars.add_task(
                VERBS.get(verb, verb), total=total, completed=total - missing[verb], rows=0, rate="", flying=""
            )

    def pool_started(self, pool: str, replicas: int, resources: str) -> None:
        """Say that an engine starts."""
        self.note(f"{title(pool)}: replica {replicas} starts ({resources})")

    def rows_read(self, step: PlannedStep, num_rows: int) -> None:
        """Count rows as they are read."""
        self._count(_verb(step), num_rows)

    def shard_done(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        """Advance the bar."""
        verb = _verb(step)
        self._bars.advance(self._tasks[verb])
        if step.step.scope != "source":
            self._count(verb, stats.num_rows)

    def live(self, steps: Mapping[str, LiveStep]) -> None:
        """Show the answers that have arrived in shards under way, and how many are in flight."""
        answered: Counter[str] = Counter()
        in_flight: Counter[str] = Counter()
        for name, step in steps.items():
            answered[name.split("-")[0]] += step.num_answered + step.num_replayed
            in_flight[name.split("-")[0]] += step.num_in_flight
        for verb, task in self._tasks.items():
            flying = f"{in_flight[verb]:,} in flight" if in_flight[verb] else ""
            self._bars.update(task, rows=self._rows[verb] + answered[verb], flying=flying)

    def note(self, message: str) -> None:
        """Print above the bars."""
        self._bars.console.print(message, style="dim", markup=False, highlight=False)

    def _count(self, verb: str, num_rows: int) -> None:
        self._rows[verb] += num_rows
        seconds = time.monotonic() - self._started.setdefault(verb, time.monotonic())
        rate = f"{self._rows[verb] / seconds:,.0f}/s" if seconds > 0.5 else ""
        self._bars.update(self._tasks[verb], rows=self._rows[verb], rate=rate)


def progress_for(console: Screen) -> BarProgress | LineProgress:
    """Return bars if a person watches, lines otherwise."""
    return BarProgress(console) if console.is_terminal else LineProgress()


def live_sentence(step: LiveStep) -> str:
    """Say where a step's shards under way stand: '1,200 of 4,000 answered, 64 in flight, 3 asked again'."""
    done = step.num_answered + step.num_replayed
    parts = [f"{done:,} of {step.num_owed:,} answered" if step.num_owed else ""]
    parts += [f"{number:,} {what}" for number, what in _remarks(step) if number]
    return ", ".join(part for part in parts if part)


def _remarks(step: LiveStep) -> list[tuple[int, str]]:
    return [
        (step.num_in_flight, "in flight"),
        (step.num_waiting, "waiting for room"),
        (step.num_rejected, "rejected"),
        (step.num_replayed, "from the journal"),
        (step.num_retries, "asked again"),
        (step.num_refusals, "refused as too many"),
        (step.restarts, "restarts"),
    ]


def _verb(step: PlannedStep) -> str:
    return step.step.name.split("-")[0]
