"""Comparison of students as tables, as a picture, and as lines for a terminal."""

from collections.abc import Mapping, Sequence

from arbitrage.languages import name_of
from arbitrage.report.charts import DotPanel, Mark, draw_dots
from arbitrage.report.formatting import COUNT, POINTS, SHARE, WHOLE_SHARE, NumberForm
from arbitrage.report.rendering import Badge, Column, Figures, Row, markdown_table, ungrouped
from arbitrage.report.students import SINGLE, StudentFigures, StudentRow

BUDGETS = {
    "rows": "At matched rows: one row for each of the same prompts, whatever it costs to generate it",
    "generations": "At matched generations: a strategy that samples several teachers gets fewer rows for them",
}

BEST_SINGLE = Badge("best single", "the teacher whose students are best on these same questions")
WHOLE_POINTS = NumberForm(digits=0, scale=100, is_signed=True)
PLAIN_SHARE = NumberForm(digits=0, scale=100)


def students_markdown(figures: StudentFigures) -> str:
    """Return a table for each budget, and one by language."""
    tables = [*(budget_figures(figures, budget) for budget in BUDGETS), students_by_language(figures)]
    return "\n".join(map(markdown_table, tables))


def students_lines(figures: StudentFigures) -> list[str]:
    """Return a line for each budget: the strategies, best first."""
    lines = []
    for budget in BUDGETS:
        ranked = [f"{row.strategy} {SHARE.value(row.overall.accuracy)}" for row in figures.at(budget)]
        lines.append(f"students at matched {budget}: {' > '.join(ranked)}")
    return lines


def students_picture(figures: StudentFigures) -> str:
    """Return the picture: the accuracy of every strategy at both budgets, and the gain in each language."""
    panels = [_strategy_panel(figures)]
    if (best := _best_of(figures)) is not None:
        panels.append(_language_panel(figures, best))
    return draw_dots(panels, "Accuracy of students by strategy, and gains by language")


def budget_figures(figures: StudentFigures, budget: str) -> Figures:
    """Return one row for each strategy, best first."""
    rows = [
        Row(
            row.strategy,
            (
                row.rows,
                row.generations,
                row.right,
                row.overall.accuracy,
                ", ".join(f"{100 * value:.1f}" for value in row.by_seed),
                row.overall.difference,
            ),
            badges=(BEST_SINGLE,) if row.strategy == figures.best_single else (),
            emphasis="strong" if row.strategy == figures.best_single else "",
        )
        for row in figures.at(budget)
    ]
    if figures.start is not None:
        rows.append(Row("before any training", (0, 0, "", figures.start, "", ""), emphasis="faint"))
    return Figures(
        title=BUDGETS[budget],
        corner="data of",
        columns=(
            Column("rows", COUNT),
            Column("generations", COUNT),
            Column("rows right", WHOLE_SHARE),
            Column("students' accuracy", SHARE),
            Column("seeds", SHARE),
            Column("− best single", POINTS),
        ),
        groups=ungrouped(rows),
    )


def students_by_language(figures: StudentFigures) -> Figures:
    """Return one row for each language, with the best single teacher's weakest language first."""
    rows = {row.strategy: row for row in figures.at("rows")}
    shown = [rows[figures.best_single], *(row for name, row in rows.items() if not name.startswith(SINGLE))]
    best = _best_of(figures)
    lines = [
        Row(
            name_of(tag),
            (
                *(row.languages[tag].accuracy for row in shown),
                *((best.languages[tag].difference,) if best else ()),
            ),
            tag=tag,
        )
        for tag in _weakest_first(figures)
    ]
    gain = (Column(f"{best.strategy} − best single", WHOLE_POINTS),) if best else ()
    return Figures(
        title="By language, at matched rows",
        corner="language",
        columns=(*(Column(row.strategy, PLAIN_SHARE) for row in shown), *gain),
        groups=ungrouped(lines),
        notes=(
            f"{figures.num_questions:,} held-out questions ({figures.num_clusters:,} facts) in "
            f"{len(figures.languages)} languages; seeds {', '.join(map(str, figures.seeds))}; in brackets 95 % "
            "intervals, by a bootstrap over facts and seeds; differences in points, paired by question.",
        ),
    )


def _strategy_panel(figures: StudentFigures) -> DotPanel:
    """Draw the accuracy of every strategy, full at matched rows, hollow at matched generations."""
    other = {row.strategy: row for row in figures.at("generations")}
    lines = [(row.strategy, _both_budgets(row, other)) for row in figures.at("rows")]
    return DotPanel(
        "students' accuracy: full, matched rows; hollow, matched generations",
        lines,
        _row_of(figures, figures.best_single).overall.accuracy.value,
        lambda tick: f"{100 * tick:g} %",
        bounds=(0.0, 1.0),
    )


def _both_budgets(row: StudentRow, other: Mapping[str, StudentRow]) -> list[Mark]:
    marks, hollow = [Mark(row.overall.accuracy, _hover(row))], other.get(row.strategy)
    if hollow is not None and hollow is not row:
        marks.append(Mark(hollow.overall.accuracy, _hover(hollow), is_hollow=True))
    return marks


def _language_panel(figures: StudentFigures, best: StudentRow) -> DotPanel:
    """Draw the gain of the best strategy over the best single teacher, with the latter's weakest language first."""
    return DotPanel(
        f"{best.strategy} − {figures.best_single}, points; from where the latter is weakest",
        [(name_of(tag), [Mark(best.languages[tag].difference, _hover(best))]) for tag in _weakest_first(figures)],
        0.0,
        lambda tick: f"{100 * tick:g}",
        num_ticks=4,
    )


def _hover(row: StudentRow) -> str:
    return f"{row.strategy}: {row.rows:,} rows, {row.generations:,.0f} generations"


def _best_of(figures: StudentFigures) -> StudentRow | None:
    """Return `reward` if it is among the strategies of several teachers, else the best of them; never an oracle."""
    named: Mapping[str, StudentRow] = {
        row.strategy: row
        for row in figures.at("rows")
        if row.strategy != "oracle" and not row.strategy.startswith(SINGLE)
    }
    return named.get("reward") or next(iter(named.values()), None)


def _weakest_first(figures: StudentFigures) -> Sequence[str]:
    base = _row_of(figures, figures.best_single)
    return sorted(figures.languages, key=lambda tag: base.languages[tag].accuracy.value)


def _row_of(figures: StudentFigures, strategy: str) -> StudentRow:
    return next(row for row in figures.at("rows") if row.strategy == strategy)
