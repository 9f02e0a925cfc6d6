"""`arbitrage export` and `arbitrage report`: write the data sets of a run for a trainer, or its report."""

import json
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from arbitrage.cli.options import JsonOption, RunArgument, find_run
from arbitrage.cli.screen import say
from arbitrage.errors import EmptyDatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arbitrage.export.export import EmptyExport, ExportResult
    from arbitrage.export.format import Trainer
    from arbitrage.export.reasoning import ReasoningChoice
    from arbitrage.runs.paths import AnyPath

StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit with 3 if any data set is empty (default: only if all are).")
]


def export(
    run: RunArgument,
    trainer: Annotated[
        str, typer.Option("--for", metavar="TRAINER", help="trl, axolotl, llamafactory, open-instruct or nemo-rl.")
    ] = "trl",
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset", help="Data set, such as `sft`, or `candidates` for the whole table (default: all)."
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="Directory or object store to write to (default: `RUN/export/`).")
    ] = None,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", help="Share of prompts, 0 to 1, whose rows go to a `test` split.")
    ] = 0.0,
    licence: Annotated[
        list[str] | None, typer.Option("--licence", help="Keep only rows bound by these licences; repeatable.")
    ] = None,
    reasoning: Annotated[
        str,
        typer.Option(
            "--reasoning",
            metavar="FORM",
            help="`keep`: as the trainer reads it (default); `drop`; or the form: `reasoning_content` or `thinking` "
            "(keys of the message), `inline` (`<think>` in its text).",
        ),
    ] = "keep",
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write data sets for a trainer: Parquet, a card, provenance, and the config snippet the trainer needs.

    Exits with 3 if all of the requested data sets are empty; with `--strict` if any is.
    """
    from arbitrage.export.export import export_datasets
    from arbitrage.runs.paths import parse_path

    wanted = cast("Trainer", trainer)  # export_datasets refuses what is none
    target = parse_path(out) if out else None
    form = cast("ReasoningChoice", reasoning)
    done = export_datasets(
        find_run(run), wanted, dataset, target, test_fraction=test_fraction, licences=licence, reasoning=form
    )
    if as_json:
        print(json.dumps([*map(result_json, done.results), *map(empty_json, done.empty)]))
    else:
        print_exports(done.results, done.empty, str)
    require_rows(done.results, done.empty, strict=strict)


def print_exports(
    results: "Sequence[ExportResult]", empty: "Sequence[EmptyExport]", named: "Callable[[AnyPath], str]"
) -> None:
    """Print which data sets were written, and which are empty.

    Args:
        results: those that were written.
        empty: those that have no rows.
        named: formats a path.
    """
    for result in results:
        say(f"{result.dataset}: {result.num_rows:,} rows in {named(result.path)}")
        for reason, count in sorted(result.skipped.items()):
            say(f"  left out: {count:,} ({reason})")
        if result.num_reasoned:
            what = "dropped" if result.reasoning is None else f"written as {result.reasoning}"
            say(f"  reasoning: {what} ({result.num_reasoned:,} of {result.num_rows:,} rows)")
    for each in empty:
        say(f"EMPTY {each.sentence}")


def result_json(result: "ExportResult") -> dict[str, Any]:
    """Return a data set that was written, for scripts."""
    return {
        "dataset": result.dataset,
        "num_rows": result.num_rows,
        "skipped": dict(result.skipped),
        "path": str(result.path),
        "reasoning": {"rows": result.num_reasoned, "form": result.reasoning},
    }


def empty_json(empty: "EmptyExport") -> dict[str, Any]:
    """Return a data set without rows, for scripts."""
    return {"dataset": empty.dataset, "num_rows": 0, "skipped": {}, "path": None, "why": empty.why}


def require_rows(results: "Sequence[ExportResult]", empty: "Sequence[EmptyExport]", *, strict: bool) -> None:
    """Fail where nothing was written, or, if `strict`, where some data set is empty.

    Raises:
        EmptyDatasetError: that is the case.
    """
    if empty and (strict or not results):
        raise EmptyDatasetError("; ".join(each.sentence for each in empty))


def report(run: RunArgument) -> None:
    """Write `report.html`, one self-contained page, and print where it is."""
    from arbitrage.report.page import build_report

    say(build_report(find_run(run)).path)
