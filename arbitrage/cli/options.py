"""Arguments and options that several commands share, and where `--json FILE` and `--html FILE` are written."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbitrage.errors import DataError, UserError

if TYPE_CHECKING:
    from arbitrage.runs.paths import AnyPath

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run directory (a path or `s3://…`), or the name of one in `runs/`.")
]
PipelineArgument = Annotated[
    Path, typer.Argument(metavar="PIPELINE.yaml", help="Pipeline config; see `pipelines/*.yaml` for examples.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the config, such as `sampling.n=4`."),
]
ShardsOption = Annotated[
    int | None,
    typer.Option("--shards", min=1, help="Run only the first N shards, as a pilot on a fair sample (default: all)."),
]
RunDirOption = Annotated[
    str | None,
    typer.Option(
        "--run-dir",
        metavar="D",
        help="Run directory: a path, `s3://bucket/prefix` or `gs://…` (default: `runs/<name>/`).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

RUNS = Path("runs")


def run_directory(given: str | None, name: str) -> "AnyPath":
    """Return the run directory; a local path is made absolute."""
    from arbitrage.runs.paths import parse_path

    place = parse_path(given) if given else RUNS / name
    return place.absolute() if isinstance(place, Path) else place


def find_run(run: str) -> "AnyPath":
    """Return the directory of a run given by path or by name.

    Raises:
        UserError: neither is there.
    """
    from arbitrage.runs.paths import StorePath, parse_path

    place = parse_path(run)
    if isinstance(place, StorePath):
        if (place / "run.json").exists():
            return place
        raise UserError(f"{run}: is not a run directory (no run.json)")
    for path in (place, RUNS / run):
        if (path / "run.json").exists():
            return path
    known = sorted(p.parent.name for p in RUNS.glob("*/run.json"))
    there = f"; runs here: {', '.join(known)}" if known else ""
    raise UserError(f"{run}: is neither a run directory nor the name of one in {RUNS}/{there}")


def chosen_shards(num_shards: int, only: int | None) -> range:
    """Return the shards to do.

    Raises:
        UserError: the pipeline has fewer shards.
    """
    if only is not None and only > num_shards:
        raise UserError(f"--shards {only}: the pipeline has num_shards: {num_shards}")
    return range(only or num_shards)


def write_out(out: str, text: str) -> None:
    """Write JSON (`screen.to_json`) or a page to a file, or print it where the file is called `-`.

    Raises:
        DataError: it cannot be written.
    """
    if out == "-":
        print(text)
        return
    try:
        Path(out).write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error
