"""The students' table as Markdown, and its gist in a few lines."""

from collections.abc import Sequence

from arbitrage.languages import name_of
from arbitrage.report.formatting import ABSENT, percent, signed
from arbitrage.report.students import SINGLE, StudentFigures, StudentRow
from arbitrage.statistics import Estimate

BUDGETS = {
    "rows": "At matched rows: one answer kept for each of the same prompts, whatever it took to get it",
    "generations": "At matched generations: as many answers asked for; who asks several teachers has fewer prompts",
}


def students_markdown(figures: StudentFigures) -> str:
    """Return a table for each budget, and one of the languages."""
    parts = [f"### {title}\n\n{budget_table(figures, budget)}" for budget, title in BUDGETS.items()]
    return "\n".join([*parts, f"### By language, at matched rows\n\n{language_table(figures)}", _notes(figures)])


def students_lines(figures: StudentFigures) -> list[str]:
    """Say at each budget who taught best."""
    told = []
    for budget in BUDGETS:
        ranked = [f"{row.strategy} {percent(row.overall.accuracy.value)}" for row in figures.at(budget)]
        told.append(f"students at matched {budget}: {' > '.join(ranked)}")
    return told


def budget_table(figures: StudentFigures, budget: str) -> str:
    """Return one line for each strategy, best first."""
    lines = [
        "| data of | rows | generations | rows right | students' accuracy | seeds | − best single |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in figures.at(budget):
        cells = (
            f"**{row.strategy}** (best single)" if row.strategy == figures.best_single else row.strategy,
            f"{row.rows:,}",
            f"{row.generations:,.0f}",
            percent(row.right, 0),
            f"{percent(row.overall.accuracy.value)} {_interval(row.overall.accuracy)}",
            ", ".join(f"{100 * value:.1f}" for value in row.by_seed),
            _difference(row.overall.difference),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if figures.start is not None:
        lines.append(f"| *none: where all start* | 0 | 0 | | {percent(figures.start)} | | |")
    return "\n".join(lines) + "\n"


def language_table(figures: StudentFigures) -> str:
    """Return one line for each language, where the best single teacher's students are weakest first."""
    rows = {row.strategy: row for row in figures.at("rows")}
    base = rows[figures.best_single]
    shown = [base, *(row for name, row in rows.items() if not name.startswith(SINGLE))]
    largest = best_of(shown[1:])
    head = [
        "language",
        *(row.strategy for row in shown),
        *([f"{largest.strategy} − best single"] if largest else []),
    ]
    lines = [f"| {' | '.join(head)} |", f"|---{'|--:' * (len(head) - 1)}|"]
    for tag in sorted(figures.languages, key=lambda tag: base.languages[tag].accuracy.value):
        cells = [f"{name_of(tag)} ({tag})"]
        cells += [
            f"{100 * row.languages[tag].accuracy.value:.0f} {_interval(row.languages[tag].accuracy, 0)}"
            for row in shown
        ]
        if largest:
            cells.append(_difference(largest.languages[tag].difference, 0))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def best_of(rows: Sequence[StudentRow]) -> StudentRow | None:
    """Return `reward` where it is among them, else the best; an oracle is no strategy."""
    named = {row.strategy: row for row in rows if row.strategy != "oracle"}
    return named.get("reward") or next(iter(named.values()), None)


def _notes(figures: StudentFigures) -> str:
    return (
        f"{figures.num_questions:,} held-out questions ({figures.num_clusters:,} facts) in {len(figures.languages)} "
        f"languages; seeds {', '.join(map(str, figures.seeds))}; in brackets 95 % intervals, by a bootstrap over "
        "facts and seeds; differences in points, paired by question.\n"
    )


def _difference(found: Estimate | None, digits: int = 1) -> str:
    return ABSENT if found is None else f"{signed(100 * found.value, digits)} {_interval(found, digits)}"


def _interval(found: Estimate, digits: int = 1) -> str:
    if found.interval is None:
        return ""
    ends = (signed_plain(100 * end, digits) for end in (found.interval.low, found.interval.high))
    return "[{}, {}]".format(*ends)


def signed_plain(value: float, digits: int) -> str:
    """Return a number with a true minus sign and no plus."""
    return signed(value, digits).lstrip("+")
