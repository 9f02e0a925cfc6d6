"""`arbitrage status`: the progress of a run, read from its directory; also while it runs on another machine."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from arbitrage.cli.naming import title
from arbitrage.cli.options import JsonOption, RunArgument, find_run
from arbitrage.cli.screen import Screen
from arbitrage.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from arbitrage.contracts.steps import StepFacts
    from arbitrage.runs.manifest import LiveRun, StepReport
    from arbitrage.runs.paths import AnyPath

LOOK_EVERY_S = 1.0

IDLE_S = 3.0
"""`--watch` ends when no process has worked on the run for this long."""

WatchOption = Annotated[
    bool, typer.Option("--watch", help="Refresh every second, until the run has finished or no process works on it.")
]


def status(run: RunArgument, as_json: JsonOption = False, watch: WatchOption = False) -> None:
    """Show the complete shards of each step, the rejects, and, while the run is running, what is under way."""
    if watch and as_json:
        raise UserError("--watch and --json exclude each other")
    path = find_run(run)
    if watch:
        _watch(path)
        return
    view = _look(path)
    if as_json:
        print(json.dumps(_as_dict(view)))
        return
    Screen().print(_table(view))
    _print_problems(view)


@dataclass(frozen=True, slots=True)
class _View:
    """The state of a run directory at one moment."""

    name: str
    path: "AnyPath"
    facts: "Mapping[str, StepFacts]"
    done: Mapping[str, tuple[int, int]]  # step → shards complete, shards wanted
    reports: "Mapping[str, StepReport]"
    over_budget: tuple[str, ...]
    is_finished: bool
    live: "LiveRun | None"
    seconds: float  # wall clock of all passes, until now or until it was last seen at work


def _look(path: "AnyPath") -> _View:
    from arbitrage.execution.run import progress_of, seconds_so_far
    from arbitrage.runs.manifest import read_live
    from arbitrage.runs.run import open_run

    found = open_run(path)
    done = progress_of(found)
    manifest = found.manifest if found.is_finished else None
    is_finished = manifest is not None and all(have == want for have, want in done.values())
    return _View(
        name=found.plan.name,
        path=found.path,
        facts=found.plan.facts,
        done=done,
        reports={step.name: step for step in manifest.steps} if manifest else {},
        over_budget=tuple(manifest.over_budget) if manifest else (),
        is_finished=is_finished,
        live=None if is_finished else read_live(found.path),
        seconds=seconds_so_far(found.path),
    )


def _watch(path: "AnyPath") -> None:
    """Redraw the table until the run ends; without a terminal, only the last one is printed."""
    view, seen_at = _look(path), time.monotonic()
    with Live(_table(view), console=Screen(), auto_refresh=False) as screen:
        while not view.is_finished and time.monotonic() - seen_at < IDLE_S:
            time.sleep(LOOK_EVERY_S)
            view = _look(path)
            seen_at = time.monotonic() if view.live else seen_at
            screen.update(_table(view), refresh=True)
    _print_problems(view)


def _as_dict(view: _View) -> dict[str, object]:
    steps: list[dict[str, object]] = []
    for name, (have, want) in view.done.items():
        step: dict[str, object] = {"name": name, "shards_done": have, "shards": want}
        if (report := view.reports.get(name)) is not None:
            step |= {"rows": report.num_rows, "rejected": report.rejected}
        if view.live and name in view.live.steps:
            live = view.live.steps[name]
            pace = {key: getattr(live, key) for key in ("rows_per_s", "tokens_per_s", "seconds_left")}
            step |= {"live": live.model_dump() | pace}
        steps.append(step)
    head: dict[str, object] = {"run": str(view.path), "finished": view.is_finished, "at_work": view.live is not None}
    head |= {"seconds": view.seconds}
    return head | {"over_budget": view.over_budget, "steps": steps}


def _table(view: _View) -> "Table":
    from arbitrage.report.formatting import duration
    from arbitrage.report.rendering import TextRow, text_table

    last = "under way" if view.live else "worker seconds"
    title_line = f"{view.name} · {_state(view)} · wall clock {duration(view.seconds)}"
    rows = [
        TextRow(
            (title(view.facts[name]), f"{have}/{want}", *_results(view, name)), style="" if have == want else "yellow"
        )
        for name, (have, want) in view.done.items()
    ]
    return text_table(("step", "shards", "rows", "rejected", last), rows, title=title_line)


def _results(view: _View, step: str) -> tuple[str, str, str]:
    """Return the cells of one step: rows, rejects, and what is under way or the seconds it took."""
    from arbitrage.cli.progress import live_sentence

    report = view.reports.get(step)
    rows, rejected, last = "", "", ""
    if report is not None:
        rows, last = f"{report.num_rows:,}", f"{report.seconds:.1f}"
        rejected = ", ".join(f"{reason} {n}" for reason, n in report.rejected.items())
    if view.live and step in view.live.steps:
        last = live_sentence(view.live.steps[step])
    return rows, rejected, last


def _print_problems(view: _View) -> None:
    for problem in view.over_budget:
        Screen().print(problem, style="red", soft_wrap=True)


def _state(view: _View) -> str:
    if view.live:
        return "at work"
    return "finished" if view.is_finished else "unfinished; rerun the same command to resume"
