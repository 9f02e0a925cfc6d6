"""An evaluation of routers on a terminal, and as JSON."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from arbitrage.candidates.matrix_file import MatrixReading
from arbitrage.cli.screen import Screen, say
from arbitrage.report.formatting import COUNT, NUMBER, SHARE, WHOLE_SHARE, NumberForm
from arbitrage.report.rendering import Column, Figures, Row, terminal_table, ungrouped
from arbitrage.statistics import Estimate
from routers.evaluation.evaluate import Evaluation, summarise_choices
from routers.evaluation.figures import RouterFigures
from routers.evaluation.frontier import Frontier, count_generations, trace_frontier

MOST_GENERATIONS = 5
WIDTH = 140
"""Columns where there is no terminal."""
NUM_SHARES = 3
"""Teachers named beside a router: those it sends most prompts to."""
REWARD = NumberForm(digits=4)
GAIN = NumberForm(digits=4, is_signed=True)
VALUE = NumberForm(digits=3, is_signed=True)


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
    console.print(terminal_table(router_figures(found)))
    for choice in summarise_choices(found.choices):
        console.print(f"auto chose {choice}", markup=False)
    comparison = found.comparison
    if comparison:
        console.print(
            f"auto − {comparison.baseline}, the strongest language-aware baseline (picked with hindsight): "
            f"{GAIN.full(comparison.difference)}"
        )
    if len(languages) > 1:
        console.print(terminal_table(language_rewards(found, languages)))
    console.print(terminal_table(generation_figures(found)))
    if frontier := trace_frontier(found.expected["auto"], matrix):
        console.print(terminal_table(frontier_figures(frontier)))


def left_out(reading: MatrixReading) -> list[str]:
    """Say which prompts and models of a matrix are in no figure, and what else is incomplete."""
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


def print_figures(figures: Figures) -> None:
    """Print a table, in full width where no terminal limits it."""
    Screen(width=None if sys.stdout.isatty() else WIDTH).print(terminal_table(figures))


def router_figures(found: Evaluation) -> Figures:
    """Return the routers: reward, gap closed, regret, and the teachers each sends most prompts to."""
    has_cost = any(figures.cost is not None for figures in found.routers)
    has_judge = any(figures.judge_gain is not None for figures in found.routers)
    columns = [Column("mean reward", REWARD), Column("gap closed", SHARE), Column("regret", REWARD)]
    columns += [Column("gain under judge", GAIN)] if has_judge else []
    columns += [Column("cost", REWARD)] if has_cost else []
    rows = [
        Row(
            figures.name,
            (
                figures.mean_reward,
                figures.gap_closed,
                figures.regret,
                *((figures.judge_gain,) if has_judge else ()),
                *((figures.cost,) if has_cost else ()),
                _shares(figures),
            ),
            emphasis="strong" if figures.name == "auto" else "faint" if figures.name == "oracle" else "",
        )
        for figures in found.routers
    ]
    shares = Column(
        "teachers", overflow="ellipsis"
    )  # figures are never cut: the names of teachers are shortened instead
    return Figures("", "router", (*columns, shares), ungrouped(rows))


def language_rewards(found: Evaluation, languages: Sequence[str]) -> Figures:
    """Return the mean reward of the main routers in each language, and the gap that `auto` closes."""
    shown = {figures.name: figures for figures in found.routers}
    names = [name for name in ("auto", "best_single", "per_language", "learned") if name in shown]
    rows = [
        Row(
            language,
            (
                shown["auto"].per_language[language].num_prompts,
                *(shown[name].per_language[language].mean_reward for name in (*names, "oracle")),
                shown["auto"].per_language[language].gap_closed,
            ),
        )
        for language in languages
    ]
    columns = (
        Column("prompts", COUNT),
        *(Column(name, REWARD) for name in (*names, "oracle")),
        Column("auto: gap closed", SHARE),
    )
    return Figures("Mean reward by language", "language", columns, ungrouped(rows))


def generation_figures(found: Evaluation) -> Figures:
    """Return what more completions add: the least certain prompts get a second one, then all of them, then more."""
    counted = count_generations(found.expected["auto"], found.matrix)
    rows = [Row(one.how, (one.per_prompt, one.mean_reward)) for one in counted if one.per_prompt <= MOST_GENERATIONS]
    columns = (Column("generations per prompt", NUMBER), Column("mean reward", REWARD))
    return Figures("Best of several completions, by auto", "sampled", columns, ungrouped(rows))


def frontier_figures(frontier: Frontier) -> Figures:
    """Return cost and quality at about eight cost weights."""
    step = max(1, len(frontier.points) // 8)
    rows = [
        Row(f"{point.cost_weight:.3g}", (point.cost, point.mean_reward))
        for point in [*frontier.points[:-1:step], frontier.points[-1]]
    ]
    title = (
        f"Cost and quality, by auto: area {SHARE.value(frontier.area)} "
        f"(mixing single models: {SHARE.value(frontier.area_of_singles)})"
    )
    columns = (Column("cost per prompt", REWARD), Column("mean reward", REWARD))
    return Figures(title, "cost weight", columns, ungrouped(rows))


def _shares(figures: RouterFigures) -> str:
    top = list(figures.shares.items())[:NUM_SHARES]
    more = len(figures.shares) - len(top)
    named = ", ".join(f"{name} {WHOLE_SHARE.value(share)}" for name, share in top)
    return f"{named}, {more} more" if more > 0 else named


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
