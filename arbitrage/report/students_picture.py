"""The students' table as one SVG: every strategy at both budgets, and the gain in each language.

The students' table as Markdown, and its gist in a few lines.
"""

from collections.abc import Sequence
from html import escape

from arbitrage.languages import name_of
from arbitrage.report.charts import Axis, axis_over, dot, ends
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


WIDTH, LINE, LABEL, TOP, GAP = 330, 20, 120, 48, 30
"""Of a panel's plot, a line, the room for its labels, the head, and between the panels; pixels."""

STYLE = (
    ":root{--paper:#fff;--ink:#1b1d20;--soft:#5d626a;--hair:#e3e4e2;--accent:#0b5394;--warm:#a84a00}"
    "@media(prefers-color-scheme:dark){:root{--paper:#131518;--ink:#e6e7e9;--soft:#a0a6ae;--hair:#2d3137;"
    "--accent:#7fb8f0;--warm:#f0a35e}}"
    "text{font:11px system-ui,sans-serif;fill:var(--soft)}.title{font-size:12px;fill:var(--ink)}"
    ".x{text-anchor:middle}.y{text-anchor:end;fill:var(--ink)}.grid{stroke:var(--hair)}.base{stroke:var(--soft);"
    "stroke-dasharray:3 3}.rows{fill:var(--accent);stroke:var(--accent)}.generations{fill:var(--paper);"
    "stroke:var(--warm);stroke-width:1.5}line.generations{stroke:var(--warm)}"
)


def students_picture(figures: StudentFigures) -> str:
    """Return the picture."""
    left, right = _strategies(figures), _languages(figures)
    lines = max(len(figures.at("rows")), len(figures.languages))
    width, height = 2 * (LABEL + WIDTH) + GAP + 20, TOP + lines * LINE + 34
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>Accuracy of students by strategy, and gains by language</title><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="var(--paper)"/>'
        f"{_at(0, left)}{_at(LABEL + WIDTH + GAP, right)}</svg>\n"
    )


def _at(x: float, inside: str) -> str:
    return f'<g transform="translate({x + LABEL} {TOP})">{inside}</g>'


def _strategies(figures: StudentFigures) -> str:
    """Draw the accuracy of every strategy, full at matched rows, hollow at matched generations."""
    shown = figures.at("rows")
    other = {row.strategy: row for row in figures.at("generations")}
    everything = [row.overall.accuracy for row in (*shown, *other.values())]
    axis = axis_over(ends(everything), bounds=(0.0, 1.0))
    base = next(row for row in shown if row.strategy == figures.best_single)
    parts = [
        _head("students' accuracy: full, matched rows; hollow, matched generations"),
        _grid(axis, len(shown), percent=True),
        _rule(axis, base.overall.accuracy.value, len(shown)),
    ]
    for place, row in enumerate(shown):
        parts.append(_label(row.strategy, place))
        parts.append(_dot(axis, row.overall.accuracy, place, "rows", row))
        if (hollow := other.get(row.strategy)) is not None and hollow is not row:
            parts.append(_dot(axis, hollow.overall.accuracy, place + 0.25, "generations", hollow))
    return "".join(parts)


def _languages(figures: StudentFigures) -> str:
    """Draw what the strategy gains over the best single teacher, where that one is weakest first."""
    rows = figures.at("rows")
    base = next(row for row in rows if row.strategy == figures.best_single)
    best = best_of([row for row in rows if not row.strategy.startswith("single-")])
    if best is None:
        return ""
    tags = sorted(figures.languages, key=lambda tag: base.languages[tag].accuracy.value)
    gains = [best.languages[tag].difference for tag in tags]
    axis = axis_over([0.0, *ends(gains)], num_ticks=4)
    title = f"{best.strategy} − {base.strategy}, points; from where the latter is weakest"
    parts = [_head(title), _grid(axis, len(tags), percent=False), _rule(axis, 0.0, len(tags))]
    for place, (tag, gain) in enumerate(zip(tags, gains, strict=True)):
        parts += [_label(name_of(tag), place), _dot(axis, gain, place, "rows", best)]
    return "".join(parts)


def _head(title: str) -> str:
    return f'<text x="{-LABEL + 12}" y="-26" class="title">{escape(title)}</text>'


def _label(name: str, place: int) -> str:
    return f'<text class="y" x="-8" y="{_y(place) + 4}">{escape(name)}</text>'


def _grid(axis: Axis, lines: int, *, percent: bool) -> str:
    bottom = lines * LINE
    return "".join(
        f'<line class="grid" x1="{_x(axis, tick)}" x2="{_x(axis, tick)}" y1="0" y2="{bottom}"/>'
        f'<text class="x" x="{_x(axis, tick)}" y="{bottom + 16}">{100 * tick:g}{" %" if percent else ""}</text>'
        for tick in axis.ticks
    )


def _rule(axis: Axis, value: float, lines: int) -> str:
    return f'<line class="base" x1="{_x(axis, value)}" x2="{_x(axis, value)}" y1="-6" y2="{lines * LINE}"/>'


def _dot(axis: Axis, found: Estimate | None, place: float, kind: str, row: StudentRow) -> str:
    placed = dot(axis, found)
    if placed is None:
        return ""
    scale, y = WIDTH / 100, _y(place)
    title = f"{row.strategy}: {row.rows:,} rows, {row.generations:,.0f} generations"
    return (
        f'<line class="{kind}" x1="{placed.left * scale:.1f}" x2="{(placed.left + placed.width) * scale:.1f}" '
        f'y1="{y}" y2="{y}"/><circle class="{kind}" cx="{placed.at * scale:.1f}" cy="{y}" r="4">'
        f"<title>{escape(title)}</title></circle>"
    )


def _x(axis: Axis, value: float) -> float:
    return round(axis.place(value) * WIDTH / 100, 1)


def _y(place: float) -> float:
    return round((place + 0.5) * LINE, 1)
