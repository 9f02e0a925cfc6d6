"""Strategies in the report and on the terminal: tables over all prompts and by language, and the curve."""

from collections.abc import Callable, Sequence

from arbitrage.report.charts import LineChart, LinePoint, axis_over, ends, line_chart
from arbitrage.report.comparing import StrategyRow
from arbitrage.report.formatting import COMPACT, MINUS, WHOLE_SHARE, NumberForm, difference_form, metric_form, share
from arbitrage.report.rendering import Badge, Cell, Column, Figures, Group, Plot, Row, Value, ungrouped
from arbitrage.report.strategies import Budget
from arbitrage.report.summary import Judged, RunSummary
from arbitrage.report.wording import NOT_EVIDENCE

_ORDER: tuple[Budget, ...] = ("one", "matched", "teachers", "all")
_SHORT: dict[Budget, str] = {
    "one": "one answer",
    "matched": "same budget",
    "teachers": "one of each teacher",
    "all": "all answers",
}

COVERAGE = NumberForm(write=share)
GENERATIONS = NumberForm(write=lambda number: f"{number:.1f}".removesuffix(".0"))
RELATIVE = NumberForm(digits=1, scale=100, unit="%", is_signed=True)

HINDSIGHT = Badge("hindsight", "chosen by the metric itself, which no pipeline can do")
ANSWERS_FEW = Badge(
    "answers few", "covers less than half as many prompts as others: its mean may be high because they are easy"
)

StrategyColumn = tuple[Column, Callable[[StrategyRow], Value]]
"""A column, and how its value is computed from a strategy."""


def strategy_figures(judged: Judged) -> Figures:
    """Return all strategies, grouped by budget: in each group the best first, those with hindsight last."""
    columns, groups = _strategy_columns(judged), []
    for budget in _ORDER:
        inside = sorted(
            (r for r in judged.overall.rows if r.budget == budget), key=lambda row: _best_first(judged, row)
        )
        if inside:
            rows = tuple(_strategy_row(judged, row, columns) for row in inside)
            groups.append(Group(rows, _title(budget, inside), _SHORT[budget]))
    is_accuracy = judged.metric.kind == "accuracy"
    absent = "absent responses are wrong" if is_accuracy else "figures are over the prompts with a response"
    title = f"Strategies judged by {judged.metric.name} on {judged.overall.num_prompts:,} prompts"
    return Figures(
        title=title if judged.metric.is_held_out else f"{title}\n{NOT_EVIDENCE}",
        corner="strategy",
        columns=tuple(column for column, _ in columns),
        groups=tuple(groups),
        notes=(
            f"best single teacher: {judged.best_single}; ans.: share of prompts with a response ({absent}); "
            "gen.: generations per prompt",
        ),
        is_dense=True,
    )


def _strategy_columns(judged: Judged) -> list[StrategyColumn]:
    """Return the columns for which the run has figures."""
    rows, metric = judged.overall.rows, judged.metric
    is_accuracy = metric.kind == "accuracy"
    best = judged.row("best single", "one")
    axis = axis_over(ends([r.value for r in rows]), bounds=metric.bounds)
    plot = Plot(axis, lambda value: _tick(judged, value), best.value.value if best and best.value else None)
    form, change, what = metric_form(metric), difference_form(metric), "accuracy" if is_accuracy else "mean score"
    columns: list[StrategyColumn] = [
        (Column(what, form, plot=plot, media=("page",)), lambda row: row.value),
        (Column("value", form, short=what), lambda row: row.value),
        (Column("answers", COVERAGE, short="ans."), lambda row: row.coverage),
        (Column("− best single", change), lambda row: row.difference),
    ]
    if is_accuracy:  # without its interval, which would repeat that of the difference
        relative = Column("relative", RELATIVE, media=("page",), css="rel")
        columns.append((relative, lambda row: row.relative.value if row.relative else None))
    if any(r.matched for r in rows):
        columns.append((Column("− best single, same budget", change, media=("page",)), lambda row: row.matched))
    if any(r.gap_closed is not None for r in rows):
        columns.append((Column("gap closed", WHOLE_SHARE, media=("page",)), lambda row: row.gap_closed))
    paid = Column("gen. per prompt", GENERATIONS, short="gen.")
    return [*columns, (paid, lambda row: row.generations_per_prompt)]


def _strategy_row(judged: Judged, row: StrategyRow, columns: Sequence[StrategyColumn]) -> Row:
    marks = ((HINDSIGHT, row.uses_hindsight), (ANSWERS_FEW, _answers_few(judged, row)))
    badges = tuple(badge for badge, is_marked in marks if is_marked)
    is_arbitrage = row.name == "reward" and judged.metric.is_held_out
    return Row(
        name=row.name,
        cells=tuple(read(row) for _, read in columns),
        note=row.note,
        badges=badges,
        emphasis="strong" if is_arbitrage else "faint" if badges else "",
        is_hollow=row.uses_hindsight,
    )


def language_figures(summary: RunSummary, judged: Judged) -> Figures:
    """Return the main strategies' results in each language, and reward − best single, the largest gain first."""
    wanted = _main_strategies(judged)
    last = ("reward", next((b for b in ("all", "teachers") if judged.row("reward", b)), "all"))
    names = {language.tag: language.name for language in summary.languages}
    found = []
    for each in judged.by_language:
        rows = {(r.name, r.budget): r for r in each.rows}
        found.append((each, rows, rows[last].difference if last in rows else None))
    # languages without a difference come last, else they would stand between gains and losses
    found.sort(key=lambda item: (item[2] is None, -item[2].value if item[2] else 0.0))
    axis = axis_over([0.0, *ends([difference for _, _, difference in found])], num_ticks=4)
    compared, change = f"reward − {judged.best_single}", difference_form(judged.metric)
    lines = [
        Row(
            names[each.language],
            (each.num_prompts, gain, gain, *(_partial(judged, rows.get(key)) for key, _ in wanted)),
            tag=each.language,
        )
        for each, rows, gain in found
    ]
    return Figures(
        title=f"Language by language: {compared}",
        corner="language",
        columns=(
            Column("prompts", COMPACT, css="count"),
            Column(
                compared, change, plot=Plot(axis, lambda value: _signed_tick(judged, value), 0.0), media=("page",)
            ),
            Column("difference", change),
            *(Column(title, metric_form(judged.metric)) for _, title in wanted),
        ),
        groups=ungrouped(lines),
    )


def _main_strategies(judged: Judged) -> list[tuple[tuple[str, Budget], str]]:
    wanted: list[tuple[tuple[str, Budget], str]] = [
        (("best single", "one"), f"best single ({judged.best_single})"),
        (("best per language", "one"), "best per language"),
        (("uniform", "one"), "uniform"),
    ]
    shown = {"best single", "best per language", "uniform", "oracle router"}
    routed = [r for r in judged.overall.rows if r.budget == "one" and not r.name.startswith("single:")]
    wanted += [((r.name, r.budget), f"{r.name} router") for r in routed if r.name not in shown]
    wanted += [(("reward", "teachers"), "reward, one of each"), (("reward", "all"), "reward, all answers")]
    wanted += [(("oracle router", "one"), "oracle router")]
    present = {(r.name, r.budget) for r in judged.overall.rows}
    return [(key, title) for key, title in wanted if key in present]


def _partial(judged: Judged, row: StrategyRow | None) -> Cell:
    """Return a value, with the share of the prompts that it covers if that is not all."""
    if row is None or row.value is None:
        return Cell(None)
    is_partial = judged.metric.kind == "score" and row.coverage < 0.995
    return Cell(row.value.value, f"(of {share(row.coverage)})" if is_partial else "")


def _best_first(judged: Judged, row: StrategyRow) -> tuple[bool, bool, float, str]:
    value = row.value.value if row.value else float("-inf")
    return (row.uses_hindsight, _answers_few(judged, row), -value, row.name)


def _answers_few(judged: Judged, row: StrategyRow) -> bool:
    """Tell whether a mean score is over so few prompts that it may be high because they are easy.

    An accuracy counts absent answers as wrong, so it needs no such mark.
    """
    most = max(each.coverage for each in judged.overall.rows)
    return judged.metric.kind == "score" and 2 * row.coverage < most


def _title(budget: Budget, rows: Sequence[StrategyRow]) -> str:
    number = GENERATIONS.value(max(r.generations_per_prompt for r in rows))
    return {
        "one": "One answer per prompt",
        "matched": f"{number} answers per prompt, from one teacher or from several",
        "teachers": f"One answer of every teacher of the route: {number} per prompt",
        "all": f"Every recorded answer: {number} per prompt",
    }[budget]


def _tick(judged: Judged, value: float) -> str:
    return f"{value * 100:g} %" if judged.metric.kind == "accuracy" else f"{value:g}".replace("-", MINUS)


def _signed_tick(judged: Judged, value: float) -> str:
    shown = value * 100 if judged.metric.kind == "accuracy" else value
    return f"{shown:+g}".replace("-", MINUS) if shown else "0"


def budget_chart(judged: Judged) -> LineChart | None:
    """Return the result over generations per prompt; None without a curve of two points."""
    form = metric_form(judged.metric)
    lines = {
        name: [LinePoint(p.generations, p.value, f"m = {p.num_drawn}: {form.value(p.value)}") for p in points]
        for name, points in judged.curves.items()
        if points
    }
    if not any(len(points) > 1 for points in lines.values()):
        return None
    return line_chart(lines, "generations per prompt", lambda value: _tick(judged, value), judged.metric.bounds)
