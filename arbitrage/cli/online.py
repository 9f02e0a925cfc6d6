"""`arbitrage online`: iterative preference training in rounds."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbitrage.cli.options import JsonOption, RunDirOption, SetOption, run_directory
from arbitrage.cli.screen import Screen, say, to_json
from arbitrage.errors import UserError

if TYPE_CHECKING:
    from arbitrage.execution.context import RunContext
    from arbitrage.execution.progress import StopFlag
    from pipelines.online.record import OnlineRecord

OnlineArgument = Annotated[
    Path, typer.Argument(metavar="ONLINE.yaml", help="Config file; see `pipelines/online.yaml`.")
]
RayOption = Annotated[
    str | None, typer.Option("--ray", metavar="ADDRESS", help="Ray cluster for the runs: `auto`, or an address.")
]


def online(
    pipeline: OnlineArgument,
    assignments: SetOption = None,
    run_dir: RunDirOption = None,
    ray: RayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a student in rounds: supervised, then on offline pairs, then on pairs of its own samples.

    After each phase the student is evaluated by the training's reward and by judges that training does not use. There
    is no further round after an alarm of the over-optimisation monitor, or when a reward rises while such a judge
    falls. Rerun the same command to resume.
    """
    from arbitrage.cli.interrupt import interruptible
    from arbitrage.cli.session import working_in
    from arbitrage.execution.environment import collect_seldom
    from pipelines.online.config import load_online
    from pipelines.online.rounds import train_online

    collect_seldom()
    config = load_online(pipeline, assignments or [])
    out = run_directory(run_dir, config.name)
    if not isinstance(out, Path):
        raise UserError(f"--run-dir {run_dir}: students are written to a local directory")
    console = Screen(stderr=True)
    note = _noted(console)
    with interruptible(note, "ending what is under way") as stop, working_in(out):
        record = train_online(config, out, _context(console, note, ray, stop))
    if as_json:
        print(to_json(record.model_dump(mode="json")))
    else:
        _tell(record, out)


def _noted(console: Screen) -> Callable[[str], None]:
    return lambda sentence: console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _context(console: Screen, note: Callable[[str], None], address: str | None, stop: "StopFlag") -> "RunContext":
    from arbitrage.cli.progress import progress_for
    from arbitrage.cli.train_progress import training_progress
    from arbitrage.execution.context import RunContext
    from arbitrage.execution.local import LocalBackend
    from arbitrage.execution.ray.backend import RayBackend

    return RunContext(
        backend=lambda: RayBackend(address, awaits_end=False) if address else LocalBackend(),
        progress=lambda: progress_for(console),
        training=lambda: training_progress(console),
        note=note,
        stop=stop,
    )


def _tell(record: "OnlineRecord", out: Path) -> None:
    from arbitrage.report.rendering import terminal_table
    from pipelines.online.record import stage_figures

    Screen().print(terminal_table(stage_figures(record)))
    for alarm in record.alarms:
        say(f"alarm: {alarm}")
    if record.ended:
        say(f"no further round: {record.ended}")
    say(f"student: {next(stage.model for stage in record.stages if stage.name == record.student)}")
    say(f"teachers: {out / 'teachers.yaml'}")
    say(f"record: {out / 'online.json'}")
