"""`arbitrage run` and `arbitrage quickstart`: run a pipeline, export its data sets, write its report."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arbitrage.cli.export import StrictOption, empty_json, print_exports, require_rows
from arbitrage.cli.interrupt import interruptible
from arbitrage.cli.options import (
    JsonOption,
    PipelineArgument,
    RunDirOption,
    SetOption,
    ShardsOption,
    chosen_shards,
    run_directory,
)
from arbitrage.cli.screen import Screen, say
from arbitrage.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arbitrage.export.export import Exported
    from arbitrage.export.format import Trainer
    from arbitrage.export.reasoning import ReasoningChoice
    from arbitrage.report.page import Report
    from arbitrage.runs.manifest import Notes
    from arbitrage.runs.paths import AnyPath


LocalOption = Annotated[bool, typer.Option("--local", help="Run in one process, without Ray: for small runs.")]
StallOption = Annotated[
    float,
    typer.Option(
        "--stall-timeout",
        min=0.0,
        metavar="SECONDS",
        help="Seconds without progress after which the run ends (default: 1800; 0: never).",
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="Ray cluster to run on, such as `auto` (default: start one here)."),
]
WaitForNodesOption = Annotated[
    int,
    typer.Option(
        "--wait-for-nodes",
        min=0,
        metavar="N",
        help="Start when N nodes of the cluster are alive, the head included (default: 0, start at once).",
    ),
]
WaitTimeoutOption = Annotated[
    float,
    typer.Option(
        "--wait-timeout", min=0.0, metavar="SECONDS", help="Maximum time to wait for these nodes (default: 600)."
    ),
]


def run(
    pipeline: PipelineArgument,
    assignments: SetOption = None,
    shards: ShardsOption = None,
    run_dir: RunDirOption = None,
    local: LocalOption = False,
    ray: RayOption = None,
    wait_for_nodes: WaitForNodesOption = 0,
    wait_timeout: WaitTimeoutOption = 600.0,
    stall_timeout: StallOption = 1800.0,
    as_json: JsonOption = False,
    strict: StrictOption = False,
) -> None:
    """Run a pipeline: compute what is missing, then export and report.

    Rerun the same command to resume after an interruption. If you change the config and rerun, only what depends on
    the change is computed again.
    """
    if wait_for_nodes and not ray:
        raise UserError("--wait-for-nodes needs --ray ADDRESS: a Ray that is started here has one node")
    nodes = wait_for_nodes, wait_timeout
    _run(pipeline, assignments or [], shards, run_dir, local, ray, stall_timeout, as_json, strict, nodes)


def quickstart(
    assignments: SetOption = None,
    shards: ShardsOption = None,
    run_dir: RunDirOption = None,
    local: LocalOption = False,
    ray: RayOption = None,
    stall_timeout: StallOption = 1800.0,
    as_json: JsonOption = False,
    strict: StrictOption = False,
) -> None:
    """Run the demo: its models in 14 languages, offline, on two cores.

    Seven teachers respond to held-out questions, a reward model scores the candidates, and the best ones become SFT
    and preference data in `runs/quickstart/`. An exact checker then shows the accuracy of each strategy.
    """
    from pipelines.loading import quickstart_file

    _run(quickstart_file(), assignments or [], shards, run_dir, local, ray, stall_timeout, as_json, strict)


def _run(
    pipeline: Path,
    assignments: list[str],
    only: int | None,
    run_dir: str | None,
    local: bool,
    address: str | None,
    stall_after_s: float,
    as_json: bool,
    strict: bool,
    nodes: tuple[int, float] = (0, 0.0),
) -> None:
    if local and address:
        raise UserError("--local and --ray exclude each other")
    from arbitrage.cli.progress import progress_for
    from arbitrage.cli.session import working_in
    from arbitrage.execution.context import RunContext
    from arbitrage.execution.environment import collect_seldom
    from arbitrage.execution.local import LocalBackend
    from arbitrage.execution.ray.backend import RayBackend
    from arbitrage.execution.ray.demand import NodesWanted
    from arbitrage.report.page import build_report
    from arbitrage.runs.run import NOTES_FILE
    from arbitrage.runs.sealed import commit_sealed
    from pipelines.loading import load_pipeline, require_teachers

    collect_seldom()
    loaded = load_pipeline(pipeline, assignments)
    config = loaded.config
    directory = run_directory(run_dir, config.name)
    request = loaded.request(directory, chosen_shards(config.num_shards, only), stall_after_s)
    console = Screen(stderr=True)
    with progress_for(console) as progress, interruptible(progress.note, at_once=True) as stop, working_in(directory):
        context = RunContext(
            backend=lambda: (
                LocalBackend() if local else RayBackend(address, awaits_end=False, nodes=NodesWanted(*nodes))
            ),
            progress=lambda: nullcontext(progress),
            note=progress.note,
            stop=stop,
        )
        manifest = context.execute(request, require_teachers)
        with stop.draining():
            config.follow(directory, context)
        notes = config.finish(directory)
        commit_sealed(directory / NOTES_FILE, notes)
        report = build_report(directory)
        exported = _export(config.export, config.export_reasoning, directory)
    if as_json:
        paths: dict[str, Any] = {"run": str(directory), "report": str(report.path)}
        paths |= {"exports": [str(e.path) for e in exported.results], "empty": [*map(empty_json, exported.empty)]}
        figures = {"seconds": manifest.seconds, "summary": json.loads(report.summary.to_json()), **notes.figures}
        print(json.dumps(paths | figures))
    else:
        _tell(report, exported, notes)
    require_rows(exported.results, exported.empty, strict=strict)


def _export(trainers: "Sequence[Trainer]", reasoning: "ReasoningChoice", directory: "AnyPath") -> "Exported":
    """Export for each trainer."""
    from arbitrage.export.export import Exported, export_datasets

    done = [export_datasets(directory, trainer, reasoning=reasoning) for trainer in trainers]
    return Exported(
        results=tuple(result for each in done for result in each.results),
        empty=tuple(empty for each in done for empty in each.empty),
    )


def _tell(report: "Report", exported: "Exported", notes: "Notes") -> None:
    from arbitrage.report.losses import loss_lines
    from arbitrage.report.reasoning_view import language_pairs, reasoning_figures
    from arbitrage.report.rendering import terminal_table
    from arbitrage.report.steering import aim_figures, steering_lines
    from arbitrage.report.strategy_view import strategy_figures

    console, summary = Screen(), report.summary
    for alarm in summary.alarms:
        console.print(f"ALARM {alarm.sentence}", style="bold red", soft_wrap=True)
    if summary.judged:
        console.print(terminal_table(strategy_figures(summary.judged)))
    else:
        say("no strategy can be compared: there is no score or check by which to compare them")
    if summary.reasoning:
        console.print(terminal_table(reasoning_figures(summary.reasoning)))
        console.print(terminal_table(language_pairs(summary.reasoning)))
    if summary.steering:
        for aim in summary.steering.aims:
            console.print(terminal_table(aim_figures(aim, summary.steering)))
        for line in steering_lines(summary.steering):
            say(line)
    print_exports(exported.results, exported.empty, _short)
    for line in (*notes.lines, *loss_lines(summary.losses, summary.step_notes)):
        say(line)
    say(f"report: {_short(report.path)}")


def _short(place: "AnyPath") -> str:
    if isinstance(place, Path) and place.is_relative_to(Path.cwd()):
        return str(place.relative_to(Path.cwd()))
    return str(place)
