"""`arbitrage export`: write a run's data sets as a trainer reads them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from arbitrage.cli.options import JsonOption, RunArgument, find_run


def export(
    run: RunArgument,
    trainer: Annotated[
        str, typer.Option("--for", metavar="TRAINER", help="trl, axolotl, llamafactory, open-instruct, nemo-rl.")
    ] = "trl",
    dataset: Annotated[list[str] | None, typer.Option("--dataset", help="Only this data set, such as `sft`.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write; `RUN/export/` by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write data sets for a trainer: Parquet, a card, provenance, and the config snippet the trainer needs."""
    from arbitrage.export import export_run

    results = export_run(find_run(run), trainer, dataset, out)
    if as_json:
        print(json.dumps([{"dataset": r.dataset, "path": str(r.path), "rows": r.num_rows} for r in results]))
        return
    for result in results:
        print(f"{result.dataset}: {result.num_rows:,} rows in {result.path}")
