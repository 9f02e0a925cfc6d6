"""Tables of figures: one value, and its three renderers for a terminal, a page and a Markdown document.

A table is defined once, as columns of numbers with their format. Columns say which media show them: a page draws
estimates on an axis, a terminal of 80 columns has short headings and fewer columns.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from arbitrage.report.charts import Axis, Dot, Tick, dot
from arbitrage.report.formatting import ABSENT, NumberForm
from arbitrage.statistics import Estimate

Value = Estimate | float | int | str | None

Medium = Literal["terminal", "page", "markdown"]
EVERY_MEDIUM: tuple[Medium, ...] = ("terminal", "page", "markdown")

Emphasis = Literal["", "strong", "faint"]
"""Emphasis of a row: `strong` for the main figures, `faint` for figures that are only for comparison."""


@dataclass(frozen=True, slots=True)
class Plot:
    """How a column of estimates is drawn on a page: dots with whiskers on one axis.

    Attributes:
        label: how a tick is written.
        rule_at: value of a vertical reference line.
    """

    axis: Axis
    label: Callable[[float], str]
    rule_at: float | None = None

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """The marks on the axis."""
        return tuple(Tick(self.axis.place(tick), self.label(tick)) for tick in self.axis.ticks)

    @property
    def rule(self) -> float | None:
        """Position of the vertical line, 0 to 100."""
        return None if self.rule_at is None else self.axis.place(self.rule_at)

    def dot(self, value: Value) -> Dot | None:
        """Return the position of a cell's estimate."""
        return dot(self.axis, value) if isinstance(value, Estimate) else None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures, or of text.

    Attributes:
        heading: what the figures are.
        form: format of numbers; None for text, which is left-aligned.
        short: heading on a terminal of 80 columns.
        media: where the column is shown.
        plot: draw the figures on a page instead of writing them.
        overflow: what happens on a terminal to text that does not fit; figures are never cut.
        is_faint: of secondary interest.
        css: classes of its cells on a page.
    """

    heading: str
    form: NumberForm | None = None
    short: str = ""
    media: tuple[Medium, ...] = EVERY_MEDIUM
    plot: Plot | None = None
    overflow: Literal["never", "fold", "ellipsis"] = "never"
    is_faint: bool = False
    css: str = ""

    @property
    def is_number(self) -> bool:
        """Whether the column is right-aligned."""
        return self.form is not None

    def text(self, value: Value) -> str:
        """Return a value without its interval."""
        if value is None:
            return ABSENT if self.is_number else ""
        if isinstance(value, str):
            return value
        return (self.form or NumberForm()).value(value)

    def interval(self, value: Value) -> str:
        """Return the interval of an estimate; empty if there is none."""
        return self.form.interval(value) if self.form and isinstance(value, Estimate) else ""

    def full(self, value: Value) -> str:
        """Return a value with its interval."""
        return f"{self.text(value)} {self.interval(value)}".rstrip()


@dataclass(frozen=True, slots=True)
class Cell:
    """A value with a note in small print, which a terminal does not show, such as the number of texts."""

    value: Value
    note: str = ""


@dataclass(frozen=True, slots=True)
class Badge:
    """A word beside the name of a row, and what it means."""

    word: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Row:
    """A line of figures, one for each column.

    Attributes:
        name: what the line is about.
        tag: language tag: beside the name, or instead of it on a terminal.
        note: in small print below the name, on a page.
        is_hollow: dots are drawn hollow.
        css: classes on a page.
    """

    name: str
    cells: tuple[Value | Cell, ...]
    tag: str = ""
    note: str = ""
    badges: tuple[Badge, ...] = ()
    emphasis: Emphasis = ""
    is_hollow: bool = False
    css: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that belong together, with or without a title."""

    rows: tuple[Row, ...]
    title: str = ""
    short: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """A table, ready to be rendered.

    Attributes:
        title: title on a terminal; pages have their own headings.
        corner: heading of the row names.
        columns: one for each cell of a row.
        notes: notes that explain the table.
        is_dense: on a terminal, columns are close together and long names are folded, to fit 80 columns.
        short_corner: `corner` on a terminal of 80 columns.
    """

    title: str
    corner: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()
    is_dense: bool = False
    short_corner: str = ""

    @property
    def rows(self) -> tuple[Row, ...]:
        """All lines."""
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def is_grouped(self) -> bool:
        """Whether groups have titles."""
        return any(group.title for group in self.groups)

    def places(self, medium: Medium) -> list[tuple[int, Column]]:
        """Return the columns that a medium shows, with their place among the cells."""
        return [(place, column) for place, column in enumerate(self.columns) if medium in column.media]


def ungrouped(rows: Sequence[Row]) -> tuple[Group, ...]:
    """Return lines as one group without a title."""
    return (Group(tuple(rows)),)


def total_first(rows: Sequence[Row]) -> tuple[Group, ...]:
    """Return rows of which the first summarises the others, set apart and strong."""
    return tuple(Group(tuple(part)) for part in (rows[:1], rows[1:]) if part)


# --- terminal ------------------------------------------------------------------------------------------------------

_STYLES: dict[Emphasis, str] = {"": "", "strong": "bold", "faint": "dim"}


def terminal_table(figures: Figures) -> Table:
    """Return the table for a terminal: estimates with their intervals in brackets."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0) if figures.is_dense else (0, 1),
        title=figures.title or None,
        title_justify="left",
        title_style="bold",
        caption="\n".join(figures.notes) or None,
        caption_justify="left",
    )
    places, rows = figures.places("terminal"), figures.rows
    table.add_column(figures.short_corner or figures.corner, no_wrap=not figures.is_dense, overflow="fold")
    for place, column in places:
        heading = column.short or column.heading
        width = max((cell_len(column.full(_value(row.cells[place]))) for row in rows), default=0)
        if column.overflow == "never":
            width = max(width, cell_len(heading))
        table.add_column(
            heading,
            justify="right" if column.is_number else "left",
            no_wrap=column.overflow != "fold",
            overflow="fold" if column.overflow == "never" else column.overflow,
            min_width=width if column.is_number else None,
            style="dim" if column.is_faint else "",
        )
    for group in figures.groups:
        if group.title:
            table.add_row(Text(group.short or group.title, style="dim"))
        for row in group.rows:
            name = ("  " if group.title else "") + (row.tag or row.name)
            cells = [column.full(_value(row.cells[place])) for place, column in places]
            table.add_row(*(Text(text) for text in (name, *cells)), style=_STYLES[row.emphasis])
        table.add_section()
    return table


def _value(cell: Value | Cell) -> Value:
    return cell.value if isinstance(cell, Cell) else cell


@dataclass(frozen=True, slots=True)
class TextRow:
    """A row of a `text_table`; `ends_section`: a line follows."""

    cells: tuple[str | Text, ...]
    style: str = ""
    ends_section: bool = False


def text_table(
    texts: Sequence[str], rows: Iterable[TextRow], *, numbers: Sequence[str] = (), title: str = ""
) -> Table:
    """Return a terminal table of states and plans, with lines between its columns; long texts are folded.

    Args:
        texts: headings of left-aligned columns.
        rows: a cell for each column, `texts` first.
        numbers: headings of right-aligned columns.
    """
    table = Table(title=title or None)
    for heading in texts:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row.cells, style=row.style or None, end_section=row.ends_section)
    return table


# --- page ----------------------------------------------------------------------------------------------------------


def page_table(figures: Figures) -> Markup:
    """Return the table as HTML: estimates with their intervals in small print, or drawn. Every text is escaped."""
    return Markup(_template().render(figures=figures, places=figures.places("page")))


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("arbitrage.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = lambda value: value if isinstance(value, Cell) else Cell(value)
    return environment.get_template("figures.html.j2")


# --- Markdown ------------------------------------------------------------------------------------------------------


def markdown_table(figures: Figures) -> str:
    """Return the table as Markdown, its title as a heading and its notes below."""
    title = f"### {figures.title}\n\n" if figures.title else ""
    notes = "".join(f"\n{note}\n" for note in figures.notes)
    return title + "\n".join(_markdown_lines(figures)) + "\n" + notes


def _markdown_lines(figures: Figures) -> Iterator[str]:
    places = figures.places("markdown")
    yield _markdown_line([figures.corner, *(column.heading for _, column in places)])
    yield f"|---{''.join('|--:' if column.is_number else '|---' for _, column in places)}|"
    for group in figures.groups:
        if group.title:
            yield _markdown_line([f"**{group.title}**", *("" for _ in places)])
        for row in group.rows:
            name = f"**{row.name}**" if row.emphasis == "strong" else row.name
            badges = "".join(f" ({badge.word})" for badge in row.badges)
            tag = f" ({row.tag})" if row.tag else ""
            yield _markdown_line(
                [f"{name}{badges}{tag}", *(_noted(column, row.cells[place]) for place, column in places)]
            )


def _noted(column: Column, cell: Value | Cell) -> str:
    if isinstance(cell, Cell):
        return f"{column.full(cell.value)} {cell.note}".rstrip()
    return column.full(cell)


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
