"""An evaluation of routers on a terminal, and as JSON."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table

from arbitrage.candidates.matrix_file import MatrixReading
from arbitrage.cli.screen import Screen, say
from arbitrage.report.formatting import decimal, percent, signed
from arbitrage.statistics import Estimate
from routers.evaluation.evaluate import Evaluation, summarise_choices
from routers.evaluation.figures import RouterFigures
from routers.evaluation.frontier import Frontier, count_generations, trace_frontier

MOST_GENERATIONS = 5
WIDTH = 140
"""Columns where there is no terminal."""
NUM_SHARES = 3
"""Teachers named beside a router, those asked most."""


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Show what is being done: a spinner on a terminal, nothing elsewhere."""
    console = Screen(stderr=True)
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with console.status("reading") as status:
        yield lambda what: status.update(what)


def print_evaluation(found: Evaluation, reading: MatrixReading, name: str) -> None:
    """Print the table of routers, then the languages, and what `auto` did."""
    console = Screen(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    matrix = reading.matrix
    languages = sorted(set(matrix.queries.languages.tolist()))
    console.print(
        f"{name}: {len(matrix):,} prompts, {len(matrix.teachers)} models, {len(languages)} languages, "
        f"{len(set(matrix.cluster_P.tolist())):,} groups"
    )
    for note in left_out(reading):
        console.print(f"  {note}", markup=False)
    console.print(_router_table(found))
    for choice in summarise_choices(found.choices):
        console.print(f"auto chose {choice}", markup=False)
    comparison = found.comparison
    if comparison:
        console.print(
            f"auto − {comparison.baseline}, the strongest language-aware baseline (picked with hindsight): "
            f"{with_interval(comparison.difference, lambda v: signed(v, 4))}"
        )
    if len(languages) > 1:
        console.print(_language_table(found, languages))
    console.print(_generation_table(found))
    if frontier := trace_frontier(found.expected["auto"], matrix):
        console.print(_frontier_table(frontier))


def left_out(reading: MatrixReading) -> list[str]:
    """Say what of a matrix is in no figure, and what else is incomplete."""
    lacking = sorted(reading.missing.items(), key=lambda pair: -pair[1])
    named = ", ".join(f"{name} lacks {count:,}" for name, count in lacking[:NUM_SHARES])
    more = f", {len(lacking) - NUM_SHARES} more models" if len(lacking) > NUM_SHARES else ""
    said = [
        f"left out: {count:,} prompts ({reason}{f': {named}{more}' if named else ''})"
        for reason, count in reading.dropped.items()
    ]
    return [*said, *reading.notes]


def tell_left_out(reading: MatrixReading) -> None:
    """Print what is left out where figures go to standard output: on standard error."""
    for note in left_out(reading):
        say(note, file=sys.stderr)


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column names things, and whose others are figures."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    Screen(width=None if sys.stdout.isatty() else WIDTH, highlight=False).print(table)


def _router_table(found: Evaluation) -> Table:
    has_cost = any(figures.cost is not None for figures in found.routers)
    has_judge = any(figures.judge_gain is not None for figures in found.routers)
    headings = ["router", "mean reward", "gap closed", "regret"]
    headings += ["gain under judge"] if has_judge else []
    headings += ["cost"] if has_cost else []
    rows = [
        [
            figures.name,
            decimal(figures.mean_reward, 4),
            _gap(figures.gap_closed),
            decimal(figures.regret, 4),
            *([with_interval(figures.judge_gain, lambda v: signed(v, 4))] if has_judge else []),
            *([decimal(figures.cost, 4)] if has_cost else []),
        ]
        for figures in found.routers
    ]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(headings):  # figures are never cut: who is asked gives way
        width = max(len(heading), *(len(row[place]) for row in rows))
        table.add_column(heading, justify="right" if place else "left", no_wrap=True, min_width=width)
    table.add_column("asks", no_wrap=True, overflow="ellipsis")
    for figures, row in zip(found.routers, rows, strict=True):
        style = "bold" if figures.name == "auto" else "dim" if figures.name == "oracle" else ""
        table.add_row(*row, _shares(figures), style=style)
    return table


def _language_table(found: Evaluation, languages: list[str]) -> Table:
    shown = {figures.name: figures for figures in found.routers}
    names = [name for name in ("auto", "best_single", "per_language", "learned") if name in shown]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Mean reward by language", title_justify="left")
    table.add_column("language")
    table.add_column("prompts", justify="right")
    for name in (*names, "oracle"):
        table.add_column(name, justify="right")
    table.add_column("auto: gap closed", justify="right", no_wrap=True)
    for language in languages:
        auto = shown["auto"].per_language[language]
        means = [decimal(shown[name].per_language[language].mean_reward, 4) for name in (*names, "oracle")]
        table.add_row(language, f"{auto.num_prompts:,}", *means, _gap(auto.gap_closed))
    return table


def _generation_table(found: Evaluation) -> Table:
    """Show what more answers buy: the least sure prompts get a second one, then all of them, then more."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Best of several answers, by auto", title_justify="left")
    table.add_column("asked")
    table.add_column("generations per prompt", justify="right")
    table.add_column("mean reward", justify="right")
    counted = count_generations(found.expected["auto"], found.matrix)
    for one in [point for point in counted if point.per_prompt <= MOST_GENERATIONS]:
        table.add_row(one.how, decimal(one.per_prompt, 2), decimal(one.mean_reward, 4))
    return table


def _frontier_table(frontier: Frontier) -> Table:
    title = (
        f"Cost and quality, by auto: area {percent(frontier.area, 1)} "
        f"(mixing single models: {percent(frontier.area_of_singles, 1)})"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for heading in ("cost weight", "cost per prompt", "mean reward"):
        table.add_column(heading, justify="right")
    step = max(1, len(frontier.points) // 8)
    for point in [*frontier.points[:-1:step], frontier.points[-1]]:
        table.add_row(f"{point.cost_weight:.3g}", decimal(point.cost, 4), decimal(point.mean_reward, 4))
    return table


def _shares(figures: RouterFigures) -> str:
    top = list(figures.shares.items())[:NUM_SHARES]
    more = len(figures.shares) - len(top)
    return ", ".join(f"{name} {percent(share, 0)}" for name, share in top) + (f", {more} more" if more > 0 else "")


def _gap(found: Estimate | None) -> str:
    return with_interval(found, lambda value: percent(value, 1))


def with_interval(found: Estimate | None, form: Callable[[float], str] = lambda value: signed(value, 3)) -> str:
    """Return a figure with its interval; a dash where there is none."""
    if found is None:
        return "–"
    if found.interval is None:
        return form(found.value)
    return f"{form(found.value)} [{form(found.interval.low)}, {form(found.interval.high)}]"


def evaluation_json(found: Evaluation, reading: MatrixReading, name: str) -> dict[str, Any]:
    """Return all figures; fractions, not per cent."""
    frontier = trace_frontier(found.expected["auto"], reading.matrix)
    return {
        "matrix": name,
        "prompts": len(reading.matrix),
        "models": list(reading.matrix.teachers),
        "groups": len(set(reading.matrix.cluster_P.tolist())),
        "dropped": dict(reading.dropped),
        "notes": list(reading.notes),
        "missing": dict(reading.missing),
        "frontier": asdict(frontier) if frontier else None,
        "generations": [asdict(point) for point in count_generations(found.expected["auto"], reading.matrix)],
        "routers": [_figures_json(figures) for figures in found.routers],
        "auto": [
            {"chose": choice.learner.label, "reason": choice.reason, "gains": dict(choice.gains)}
            for choice in found.choices
        ],
        "comparison": found.comparison
        and {"baseline": found.comparison.baseline, **_estimate_json(found.comparison.difference, "gain")},
    }


def _figures_json(figures: RouterFigures) -> dict[str, Any]:
    per_language = {
        language: {
            "prompts": f.num_prompts,
            "mean_reward": f.mean_reward,
            **_estimate_json(f.gap_closed, "gap_closed"),
        }
        for language, f in figures.per_language.items()
    }
    return {
        "name": figures.name,
        "mean_reward": figures.mean_reward,
        **_estimate_json(figures.gap_closed, "gap_closed"),
        "gain": asdict(figures.gain) if figures.gain else None,
        "judge_gain": asdict(figures.judge_gain) if figures.judge_gain else None,
        "regret": figures.regret,
        "cost": figures.cost,
        "shares": dict(figures.shares),
        "per_language": per_language,
    }


def _estimate_json(found: Estimate | None, key: str) -> dict[str, Any]:
    if found is None:
        return {key: None, "ci": None}
    return {key: found.value, "ci": [found.interval.low, found.interval.high] if found.interval else None}
