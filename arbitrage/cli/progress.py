"""Progress of a run: bars with rates and time left on a terminal, one plain line per event elsewhere."""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from arbitrage.cli.naming import VERBS, title
from arbitrage.cli.screen import Screen, say
from arbitrage.execution.pace import Pace, begun_at
from arbitrage.execution.plan import ExecutionPlan, PlannedStep
from arbitrage.report.formatting import duration
from arbitrage.runs.manifest import LiveStep, ShardStats

if TYPE_CHECKING:
    pass

TELL_EVERY_S = 30.0


class LineProgress:
    """One line when a step ends, and one every half minute for each that is under way; for logs."""

    def __init__(self) -> None:
        self._left: dict[str, int] = {}
        self._titles: dict[str, str] = {}
        self._paces: dict[str, Pace] = {}
        self._num_read = 0
        self._started = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def planned(self, execution: ExecutionPlan) -> None:
        """Print the number of shards to do."""
        self._left = {s.step.name: len(s.missing) for s in execution.steps}
        self._titles = {s.step.name: title(s.step.facts) for s in execution.steps}
        total = sum(len(s.outputs) for s in execution.steps)
        self.note(f"{execution.num_missing} of {total} shards to do in {len(execution.steps)} steps")

    def pool_started(self, pool: str, replicas: int, resources: str) -> None:
        """Print that an engine starts."""
        self.note(f"{pool}: replica {replicas} starts ({resources})")

    def rows_read(self, step: PlannedStep, num_rows: int) -> None:
        """Print a line every million rows."""
        self._pace(step.step.name, time.monotonic())
        before = self._num_read
        self._num_read += num_rows
        if before // 1_000_000 != self._num_read // 1_000_000:
            self.note(f"{title(step.step.facts)}: {self._num_read:,} rows")

    def shard_done(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        """Print a line at the last shard of a step."""
        name = step.step.name
        pace = self._pace(name, begun_at(stats))
        pace.shard_done(stats)
        if pace.shards_left <= 0:
            seconds = time.monotonic() - pace.began_at
            self.note(
                f"{self._titles[name]}: done, {pace.rows_done:,} rows in {duration(seconds)}{_average(pace, seconds)}"
            )

    def live(self, steps: Mapping[str, LiveStep]) -> None:
        """Print every half minute what is under way."""
        for name in steps:
            self._pace(name, time.monotonic())
        if steps and time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            for name, step in steps.items():
                self.note(f"{self._titles[name]}: {live_sentence(step)}")

    def _pace(self, step: str, began_at: float) -> Pace:
        return self._paces.setdefault(step, Pace(began_at, self._left.get(step, 0)))

    def note(self, message: str) -> None:
        """Print a line with the seconds since the start."""
        say(f"[{time.monotonic() - self._started:6.1f}s] {message}", file=sys.stderr)


class BarProgress:
    """A bar for each kind of step; for terminals."""

    def __init__(self, console: Screen) -> None:
        figures = "{task.fields[rows]:>9,} rows {task.fields[pace]}"
        self._bars = Progress(
            TextColumn("{task.description:<14}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(f"shards {figures}", markup=False),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._verbs: dict[str, str] = {}
        self._rows: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._began: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def planned(self, execution: ExecutionPlan) -> None:
        """Draw a bar for each verb, filled by the shards that are complete."""
        totals: Counter[str] = Counter()
        missing: Counter[str] = Counter()
        self._verbs = {step.step.name: step.step.facts.verb for step in execution.steps}
        for step in execution.steps:
            totals[_verb(step)] += len(step.outputs)
            missing[_verb(step)] += len(step.missing)
        for verb, total in totals.items():
            done = total - missing[verb]
            self._tasks[verb] = self._bars.add_task(
                VERBS.get(verb, verb), total=total, completed=done, rows=0, pace=""
            )

    def pool_started(self, pool: str, replicas: int, resources: str) -> None:
        """Print that an engine starts."""
        self.note(f"{pool}: replica {replicas} starts ({resources})")

    def rows_read(self, step: PlannedStep, num_rows: int) -> None:
        """Count rows as they are read."""
        self._count(_verb(step), num_rows, 0, time.monotonic())

    def shard_done(self, step: PlannedStep, shard: int, stats: ShardStats) -> None:
        """Advance the bar."""
        verb = _verb(step)
        self._bars.advance(self._tasks[verb])
        if step.step.scope != "source":
            self._count(verb, stats.num_rows, stats.completion_tokens, begun_at(stats))

    def live(self, steps: Mapping[str, LiveStep]) -> None:
        """Show completions that have arrived, their rate, requests in flight, and the time left."""
        under_way: dict[str, list[LiveStep]] = defaultdict(list)
        for name, step in steps.items():
            under_way[self._verbs[name]].append(step)
        for verb, found in under_way.items():
            answered = sum(step.num_answered + step.num_replayed for step in found)
            parts = [
                *rates(
                    sum(step.rows_per_s or 0.0 for step in found), sum(step.tokens_per_s or 0.0 for step in found)
                ),
                f"{sum(step.num_in_flight for step in found):,} in flight",
            ]
            left = [step.seconds_left for step in found if step.seconds_left is not None]
            parts += [f"{duration(max(left))} left"] if left else []  # side by side: the slowest decides
            if verb in self._tasks:
                self._bars.update(self._tasks[verb], rows=self._rows[verb] + answered, pace=", ".join(parts))
        for verb in self._tasks.keys() - under_way.keys():
            self._bars.update(self._tasks[verb], pace=self._average(verb))

    def note(self, message: str) -> None:
        """Print above the bars."""
        self._bars.console.print(message, style="dim", markup=False, highlight=False)

    def _count(self, verb: str, num_rows: int, num_tokens: int, began_at: float) -> None:
        self._rows[verb] += num_rows
        self._tokens[verb] += num_tokens
        self._began.setdefault(verb, began_at)
        self._bars.update(self._tasks[verb], rows=self._rows[verb], pace=self._average(verb))

    def _average(self, verb: str) -> str:
        began = self._began.get(verb)
        seconds = 0.0 if began is None or self._bars.tasks[self._tasks[verb]].finished else time.monotonic() - began
        return ", ".join(rates(self._rows[verb] / seconds, self._tokens[verb] / seconds)) if seconds >= 1.0 else ""


def progress_for(console: Screen) -> BarProgress | LineProgress:
    """Return bars on a terminal, lines otherwise."""
    return BarProgress(console) if console.is_terminal else LineProgress()


def live_sentence(step: LiveStep) -> str:
    """Describe a step's progress: '2 of 8 shards, 1,200 of 4,000 answered, 64 in flight'."""
    done = step.num_answered + step.num_replayed
    shards = step.shards_done + step.shards_left
    parts = [f"{step.shards_done:,} of {shards:,} shards" if shards else ""]
    parts.append(f"{done:,} of {step.num_items:,} answered" if step.num_items else "")
    parts += rates(step.rows_per_s or 0.0, step.tokens_per_s or 0.0)
    parts.append(f"{duration(step.seconds_left)} left" if step.seconds_left is not None else "")
    parts += [f"{number:,} {what}" for number, what in _remarks(step) if number]
    parts += _engine_remarks(step)
    return ", ".join(part for part in parts if part)


def rates(rows_per_s: float, tokens_per_s: float) -> list[str]:
    """Return the rates that are above zero: '93 rows/s', '1,204 tokens/s'; below ten with a digit more."""
    found = [(rows_per_s, "rows/s"), (tokens_per_s, "tokens/s")]
    return [f"{rate:,.0f} {unit}" if rate >= 10 else f"{rate:.2g} {unit}" for rate, unit in found if rate > 0]


def _average(pace: Pace, seconds: float) -> str:
    """Return the average rates of a step that has ended; empty if it was too short."""
    if seconds < 0.1:
        return ""
    return "".join(f", {rate}" for rate in rates(pace.rows_done / seconds, pace.tokens_done / seconds))


def _remarks(step: LiveStep) -> list[tuple[int, str]]:
    return [
        (step.num_in_flight, "in flight"),
        (step.num_waiting, "waiting for room"),
        (step.num_rejected, "rejected"),
        (step.num_replayed, "from the journal"),
        (step.num_retries, "sent again"),
        (step.num_refusals, "refused as too many"),
        (step.restarts, "restarts"),
    ]


def _engine_remarks(step: LiveStep) -> list[str]:
    if step.kv_use is None:
        return []
    found = [f"{step.num_queued:,} queued in the engine"] if step.num_queued else []
    found.append(f"KV cache {step.kv_use:.0%} in use")
    found += [f"{step.num_preemptions:,} preempted"] if step.num_preemptions else []
    return found + ([f"prefix cache hits {step.prefix_hits:.0%}"] if step.prefix_hits is not None else [])


def _verb(step: PlannedStep) -> str:
    return step.step.facts.verb
