"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from arbitrage.errors import UserError

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or the name of one in `runs/`.")]
PipelineArgument = Annotated[
    Path, typer.Argument(metavar="PIPELINE.yaml", help="What to run; see `pipelines/*.yaml` for examples.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the config, such as `sampling.n=4`."),
]
ShardsOption = Annotated[
    int | None,
    typer.Option("--shards", min=1, help="Do only the first N shards: a fair sample, and a pilot of the whole."),
]
RunDirOption = Annotated[
    Path | None, typer.Option("--run-dir", metavar="D", help="Where the run lives; `runs/<name>/` by default.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

RUNS = Path("runs")


def find_run(run: Path) -> Path:
    """Return the directory of a run given by path or by name.

    Raises:
        UserError: neither is there.
    """
    for place in (run, RUNS / run):
        if (place / "run.json").exists():
            return place
    known = sorted(p.parent.name for p in RUNS.glob("*/run.json"))
    there = f"; runs here: {', '.join(known)}" if known else ""
    raise UserError(f"{run}: is neither a run directory nor the name of one in {RUNS}/{there}")


def chosen_shards(num_shards: int, only: int | None) -> range:
    """Return the shards to do.

    Raises:
        UserError: more are asked for than there are.
    """
    if only is not None and only > num_shards:
        raise UserError(f"--shards {only}: the pipeline has num_shards: {num_shards}")
    return range(only or num_shards)
