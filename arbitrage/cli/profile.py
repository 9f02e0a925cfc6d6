"""`arbitrage profile`: measure a data set, or the difference between data sets."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from arbitrage.cli.naming import shortest_names
from arbitrage.cli.options import write_out
from arbitrage.cli.screen import Screen, say, to_json
from arbitrage.errors import UserError, did_you_mean
from arbitrage.processes.pools import num_cpus

if TYPE_CHECKING:
    from arbitrage.profile.compare import ProfileComparison
    from arbitrage.profile.profile import Profile
    from arbitrage.profile.summary import CellSummary


DataArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA", help="Parquet or JSON Lines files, globs, directories; or run directories: their candidates."
    ),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="ROLE=NAME",
        help="Which column holds what, where it has no usual name. Roles: text, messages, reasoning, language, "
        "teacher, source, prompt_id, embedding. `meta.lang` leads into objects.",
    ),
]
LanguageOption = Annotated[
    str | None, typer.Option("--language", metavar="TAG", help="Language of rows without one (default: identified).")
]
TurnsOption = Annotated[
    str, typer.Option("--turns", metavar="last|all", help="Which assistant turns of a conversation are measured.")
]
MetricsOption = Annotated[
    Path | None,
    typer.Option("--metrics", metavar="FILE.yaml", help="Further metrics: classifiers, likelihood, tokens, options."),
]
CompareOption = Annotated[
    bool,
    typer.Option("--compare", help="Each DATA is a set of its own; compare each with the next, first with last."),
]
JsonOutOption = Annotated[
    str | None, typer.Option("--json", metavar="OUT", help="Write every figure as JSON; `-` prints it.")
]
HtmlOutOption = Annotated[Path | None, typer.Option("--html", metavar="OUT", help="Write one self-contained page.")]
ProcessesOption = Annotated[
    int | None, typer.Option("--processes", min=1, help="Number of worker processes (default: one per core).")
]
SampleOption = Annotated[
    int, typer.Option("--sample", min=100, help="Rows kept of each group for quantiles and intervals.")
]


def profile(
    data: DataArgument,
    column: ColumnOption = None,
    language: LanguageOption = None,
    turns: TurnsOption = "last",
    metrics: MetricsOption = None,
    compare: CompareOption = False,
    json_out: JsonOutOption = None,
    html_out: HtmlOutOption = None,
    processes: ProcessesOption = None,
    sample: SampleOption = 4096,
) -> None:
    """Measure a data set: length, diversity, readability, language, layout, by language and teacher.

    Where a metric is not defined, its value is null, with a reason. The data is read once; memory does not grow with
    the number of rows.

    Examples:
        arbitrage profile answers.jsonl --column text=output --column teacher=model
        arbitrage profile runs/quickstart --html profile.html
        arbitrage profile --compare teacher.jsonl data/ student.jsonl

    Comparisons pair texts with the same `prompt_id`; without ids texts are independent. They give Cohen's d and
    Cliff's delta, intervals clustered by prompt, and control the false discovery rate at 5 %.
    docs/metrics.md defines every metric.
    """
    from arbitrage.profile.page import render
    from arbitrage.profile.settings import load_settings
    from arbitrage.profile.summary import summarise

    settings = load_settings(metrics)
    sets = [[item] for item in data] if compare else [data]
    if compare and len(sets) < 2:
        raise UserError(f"--compare: needs two data sets or more, found {data[0]} alone")
    names = (
        shortest_names(data)
        if compare
        else [Path(data[0]).name + (f" and {len(data) - 1} more" if len(data) > 1 else "")]
    )
    found = []
    with _progress(quiet=json_out == "-") as on_texts:
        for i, (name, patterns) in enumerate(zip(names, sets, strict=True)):
            reader = _reader(patterns, column or [], language, turns, f"set {i}")
            found.append(_profile(name, reader, settings, processes, sample, on_texts))
        summaries = [summarise(each) for each in found]
        comparisons = _compare(found) if compare else []
    if json_out:
        write_out(json_out, to_json(_as_json(found, summaries, comparisons), indent=1))
    if html_out:
        write_out(str(html_out), render(found, summaries, comparisons))
    if json_out != "-":
        _print(found, summaries, comparisons)


def _reader(patterns: Sequence[str], column: Sequence[str], language: str | None, turns: str, salt: str) -> Any:
    from arbitrage.inputs.columns import ProfileColumns
    from arbitrage.languages import normalise_tag, suggest_tag
    from arbitrage.profile.entries import EntryBuilder
    from arbitrage.profile.reading import ProfileReader

    if turns not in ("last", "all"):
        raise UserError(f"--turns {turns}: is not one of last, all")
    tag = normalise_tag(language) if language else None
    if language and tag is None:
        raise UserError(f"--language {language}: is not a BCP-47 tag{did_you_mean(suggest_tag(language))}")
    wanted = cast("Literal['last', 'all']", turns)
    columns = ProfileColumns.parse_assignments(column, "--column", "text=answer")
    return ProfileReader(patterns, EntryBuilder(columns, wanted, tag, salt))


def _profile(
    name: str, reader: Any, settings: Any, processes: int | None, sample: int, on_texts: Callable[[int], None]
) -> "Profile":
    from arbitrage.profile.profile import profile_data

    workers = processes or num_cpus()
    return profile_data(name, reader, settings, num_processes=workers, max_rows=sample, on_texts=on_texts)


def _compare(found: Sequence["Profile"]) -> list["ProfileComparison"]:
    from arbitrage.profile.compare import compare_all

    return compare_all(found)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    console = Screen(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda num: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} texts"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("profile", total=None)
        yield lambda num: bar.advance(task, num)


def _as_json(
    found: Sequence["Profile"], summaries: Sequence[list["CellSummary"]], comparisons: Sequence["ProfileComparison"]
) -> dict[str, Any]:
    from arbitrage.profile import compare, summary

    return {
        "profiles": [summary.as_json(p, cells) for p, cells in zip(found, summaries, strict=True)],
        "comparisons": [compare.as_json(each) for each in comparisons],
    }


def _print(
    found: Sequence["Profile"], summaries: Sequence[list["CellSummary"]], comparisons: Sequence["ProfileComparison"]
) -> None:
    from arbitrage.inputs.notes import note_text
    from arbitrage.profile.view import profile_figures, shift_figures
    from arbitrage.report.rendering import terminal_table

    console = Screen()
    for each, cells in zip(found, summaries, strict=True):
        if comparisons:
            console.print(f"{each.name}: {each.num_texts:,} texts", highlight=False, markup=False)
        else:
            for figures in profile_figures(each, cells):
                console.print(terminal_table(figures))
        for reason, count in sorted(each.rejected.items()):
            say(f"left out of {each.name}: {count:,} {reason} ({each.examples[reason]})", file=sys.stderr)
        for note, count in sorted(each.notes.items()):
            say(f"{each.name}: {count:,} {note_text(note)}", file=sys.stderr)
    for comparison in comparisons:
        console.print(terminal_table(shift_figures(comparison)))
