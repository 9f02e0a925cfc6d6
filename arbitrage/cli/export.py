"""`arbitrage export`: write a run's data sets as a trainer reads them."""

import json
from typing import TYPE_CHECKING, Annotated, cast

import typer

from arbitrage.cli.options import JsonOption, RunArgument, find_run
from arbitrage.cli.screen import say

if TYPE_CHECKING:
    from arbitrage.export.format import Trainer


def export(
    run: RunArgument,
    trainer: Annotated[
        str, typer.Option("--for", metavar="TRAINER", help="trl, axolotl, llamafactory, open-instruct or nemo-rl.")
    ] = "trl",
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="Only this one, such as `sft`; or `candidates`, the whole table."),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="Where to write, on a disk or in a store; `RUN/export/` by default.")
    ] = None,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", help="Share of prompts, 0 to 1, whose rows go to a `test` split.")
    ] = 0.0,
    licence: Annotated[
        list[str] | None, typer.Option("--licence", help="Keep only rows bound by these licences; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write data sets for a trainer: Parquet, a card, provenance, and the config snippet the trainer needs."""
    from arbitrage.export.export import export_run
    from arbitrage.shards.place import place_of

    wanted = cast("Trainer", trainer)  # export_run refuses what is none
    target = place_of(out) if out else None
    results = export_run(find_run(run), wanted, dataset, target, test_fraction=test_fraction, licences=licence)
    if as_json:
        names = ("dataset", "num_rows", "skipped")
        rows = [{name: getattr(result, name) for name in names} | {"path": str(result.path)} for result in results]
        print(json.dumps(rows))
        return
    for result in results:
        say(f"{result.dataset}: {result.num_rows:,} rows in {result.path}")
        for reason, count in sorted(result.skipped.items()):
            say(f"  left out: {count:,} ({reason})")
