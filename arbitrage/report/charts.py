"""All charts: axes, dots with whiskers, line charts and heatmaps of pages; panels of lines or dots as one SVG.

On a page, dots, ticks and points stand in per cent of the plot, so that text never scales with it; every cell of a
heatmap carries its number, and colour only helps the eye. An SVG follows the reader's light or dark mode.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

from arbitrage.report.tally import Grid
from arbitrage.statistics import Estimate

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis over round numbers."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Return where a value stands, 0..100, kept inside the plot."""
        return round(min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low))), 2)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis, 0 to 100."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A dot with its whisker."""

    at: float
    left: float
    width: float


def axis_over(values: Iterable[float], *, num_ticks: int = 5, bounds: tuple[float, float] | None = None) -> Axis:
    """Return an axis with about `num_ticks` round ticks that holds all values, not wider than `bounds` asks."""
    found = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(found), max(found)
    # ticks are rounded to ten decimals: nothing closer together can be told apart
    width = next(size for size in (high - low, abs(high), 1.0) if size > 1e-9)
    step = _round_step(width / num_ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        last += 1
    if bounds:
        first = max(first, math.ceil(bounds[0] / step - 1e-9))
        last = min(last, math.floor(bounds[1] / step + 1e-9))
        first -= first == last  # all values at the upper bound
    ticks = tuple(round(i * step, 10) for i in range(first, last + 1))
    return Axis(min(ticks[0], low), max(ticks[-1], high), ticks)


def dot(axis: Axis, found: Estimate | None) -> Dot | None:
    """Return where an estimate stands; None if there is none."""
    if found is None:
        return None
    at = axis.place(found.value)
    if found.interval is None:
        return Dot(at, at, 0.0)
    left, right = axis.place(found.interval.low), axis.place(found.interval.high)
    return Dot(at, left, round(right - left, 2))


def ends(estimates: Sequence[Estimate | None]) -> list[float]:
    """Return every value and interval end, for an axis to hold."""
    found: list[float] = []
    for each in estimates:
        if each is not None:
            found.append(each.value)
            if each.interval is not None:
                found += [each.interval.low, each.interval.high]
    return found


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class LinePoint:
    """A point of a line, and what it says."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line, its points placed from the left and from the top, in per cent."""

    name: str
    points: tuple[LinePoint, ...]

    @property
    def path(self) -> str:
        """The line as SVG points, in a box of 100 × 100."""
        return " ".join(f"{p.x},{p.y}" for p in self.points)


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines over one axis, drawn by a page."""

    lines: tuple[ChartLine, ...]
    x_title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def line_chart(
    lines: Mapping[str, Sequence[LinePoint]],
    x_title: str,
    y_label: Callable[[float], str],
    bounds: tuple[float, float] | None = None,
) -> LineChart:
    """Place lines over counts: the horizontal axis begins at 1 and has whole ticks.

    Args:
        lines: name → points.
        x_title: what is counted.
        y_label: how a tick of the vertical axis is written.
        bounds: no value can lie outside.
    """
    points = [point for each in lines.values() for point in each]
    x_axis = axis_over([1.0, *(p.x for p in points)], num_ticks=5)
    y_axis = axis_over([p.y for p in points], num_ticks=4, bounds=bounds)

    def from_top(value: float) -> float:
        return round(100 - y_axis.place(value), 2)

    return LineChart(
        lines=tuple(
            ChartLine(name, tuple(LinePoint(x_axis.place(p.x), from_top(p.y), p.label) for p in found))
            for name, found in lines.items()
        ),
        x_title=x_title,
        x_ticks=tuple(Tick(x_axis.place(t), f"{t:g}") for t in x_axis.ticks if t == int(t)),
        y_ticks=tuple(Tick(from_top(t), y_label(t)) for t in y_axis.ticks),
    )


Hue = Literal["heat", "alarm", "diverging"]
"""`heat`: more is more; `alarm`: more is worse; `diverging`: around zero, blue above and orange below."""


@dataclass(frozen=True, slots=True)
class HeatmapCell:
    """One cell. `strength` in 0..1 mixes the hue with the paper; None leaves the cell blank.

    `note` stands in small print under the number: how many it is of.
    """

    text: str
    strength: float | None
    is_negative: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One row: a label, its cells; `tag` is the language tag where the row is a language."""

    label: str
    tag: str
    cells: tuple[HeatmapCell, ...]
    is_total: bool = False


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A table ready to be drawn."""

    caption: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[HeatRow, ...]
    hue: Hue

    @property
    def css(self) -> str:
        """Classes: `crowded` heads stand upright, a `wide` table has a row of the page to itself."""
        crowded = " crowded" if len(self.columns) > 7 or sum(map(len, self.columns)) > 60 else ""
        return self.hue + crowded + (" wide" if len(self.columns) > 7 else "")  # 8 do not fit half a page of 84 rem


def heatmap(
    caption: str,
    labels: Sequence[tuple[str, str]],
    columns: Sequence[str],
    grid: Grid,
    text: Callable[[float | None], str],
    *,
    hue: Hue = "heat",
    limits: tuple[float, float] | None = None,
    total: tuple[str, Literal["mean", "sum"]] | None = None,
    corner: str = "",
    notes: Sequence[Sequence[str]] | None = None,
) -> Heatmap:
    """Draw a grid.

    Args:
        caption: what the numbers are.
        labels: (name, language tag or '') of each row.
        columns: heads.
        grid: one row for each label, one value for each column.
        text: how a value is written.
        hue: see `Hue`.
        limits: values of strength 0 and 1; by default the smallest and largest (diverging: ± the largest).
        total: label of a last row with the mean or the sum of every column.
        corner: what stands over the row labels.
        notes: of every cell, what stands in small print under its number.
    """
    low, high = limits or _limits(grid, hue)

    def cell(value: float | None, note: str) -> HeatmapCell:
        if value is None:
            return HeatmapCell(text(None), None, False)
        share = (abs(value) if hue == "diverging" else value - low) / (high - low or 1.0)
        return HeatmapCell(text(value), min(1.0, max(0.0, share)), hue == "diverging" and value < 0, note)

    noted = notes or [[""] * len(row) for row in grid]
    rows = [
        HeatRow(name, tag, tuple(itertools.starmap(cell, zip(row, small, strict=True))))
        for (name, tag), row, small in zip(labels, grid, noted, strict=True)
    ]
    if total is not None and len(grid) > 1:
        summed = [_total([v for v in column if v is not None], total[1]) for column in zip(*grid, strict=True)]
        cells = tuple(HeatmapCell(text(v), None, False) for v in summed)
        rows.append(HeatRow(total[0], "", cells, is_total=True))
    return Heatmap(caption, corner, tuple(columns), tuple(rows), hue)


def _limits(grid: Grid, hue: Hue) -> tuple[float, float]:
    values = [v for row in grid for v in row if v is not None]
    if not values:
        return 0.0, 1.0
    if hue == "diverging":
        return 0.0, max(abs(v) for v in values)
    return min(values), max(values)


def _total(values: list[float], how: Literal["mean", "sum"]) -> float | None:
    if not values:
        return None
    return sum(values) / (len(values) if how == "mean" else 1)


WIDTH, HEIGHT, COLUMNS = 260, 130, 3
LEFT, TOP, RIGHT, BOTTOM = 52, 34, 14, 30
"""Of a panel of lines, and around it; pixels."""
DOT_WIDTH, DOT_LINE, DOT_LABEL, DOT_TOP, DOT_GAP = 330, 20, 120, 48, 30
"""Of a panel of dots: plot, line, room for its labels, the head, and between panels; pixels."""

STYLE = (
    ":root{--paper:#fff;--ink:#1b1d20;--soft:#5d626a;--hair:#e3e4e2;--accent:#0b5394;--warm:#a84a00}"
    "@media(prefers-color-scheme:dark){:root{--paper:#131518;--ink:#e6e7e9;--soft:#a0a6ae;--hair:#2d3137;"
    "--accent:#7fb8f0;--warm:#f0a35e}}"
    "text{font:11px system-ui,sans-serif;fill:var(--soft)}.title{font-size:12px;fill:var(--ink)}"
    ".x{text-anchor:middle}.y{text-anchor:end}.name{text-anchor:end;fill:var(--ink)}.grid{stroke:var(--hair)}"
    "polyline{fill:none;stroke:var(--soft);stroke-width:1;opacity:.45}"
    "polyline.all{stroke:var(--accent);stroke-width:2.5;opacity:1}.whisker{stroke:var(--accent);stroke-width:1.5}"
    ".alarm{stroke:var(--warm);stroke-width:1.5;stroke-dasharray:4 3}.base{stroke:var(--soft);stroke-dasharray:3 3}"
    ".full{fill:var(--accent);stroke:var(--accent)}.hollow{fill:var(--paper);stroke:var(--warm);stroke-width:1.5}"
)


@dataclass(frozen=True, slots=True)
class PlotLine:
    """Points from left to right; the lines that matter are drawn thick, over the others."""

    name: str
    points: Sequence[tuple[float, float]]
    is_main: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart.

    Attributes:
        x: the horizontal axis.
        bounds: no value can lie outside.
        whiskers: x, low, high.
        marks: x → why it is marked by a dashed line.
        x_names: tick → what stands there in place of the number.
    """

    title: str
    x: Axis
    lines: Sequence[PlotLine]
    bounds: tuple[float, float] | None = None
    whiskers: Sequence[tuple[float, float, float]] = ()
    marks: Mapping[float, str] = field(default_factory=dict)
    x_names: Mapping[float, str] = field(default_factory=dict)


def draw(panels: Sequence[Panel], title: str) -> str:
    """Return panels of lines as SVG, three in a row."""
    width = COLUMNS * (LEFT + WIDTH + RIGHT)
    height = -(-len(panels) // COLUMNS) * (TOP + HEIGHT + BOTTOM)
    return _svg(width, height, title, "".join(_panel(panel, place) for place, panel in enumerate(panels)))


def _svg(width: int, height: int, title: str, drawn: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="var(--paper)"/>{drawn}</svg>\n'
    )


def _panel(panel: Panel, place: int) -> str:
    values = [value for line in panel.lines for _, value in line.points]
    values += [end for _, low, high in panel.whiskers for end in (low, high)]
    y = axis_over(values, num_ticks=4, bounds=panel.bounds)
    thin_first = sorted(panel.lines, key=lambda line: line.is_main)
    parts = [_grid(panel, y), *(_line(line, panel.x, y) for line in thin_first)]
    parts += _whiskers(panel, y)
    parts += [_mark(x, why, panel.x) for x, why in panel.marks.items()]
    left = place % COLUMNS * (LEFT + WIDTH + RIGHT) + LEFT
    top = place // COLUMNS * (TOP + HEIGHT + BOTTOM) + TOP
    title = f'<text x="0" y="-12" class="title">{escape(panel.title)}</text>'
    return f'<g transform="translate({left} {top})">{title}{"".join(parts)}</g>'


def _grid(panel: Panel, y: Axis) -> str:
    rows = "".join(
        f'<line class="grid" x1="0" x2="{WIDTH}" y1="{_y(y, tick)}" y2="{_y(y, tick)}"/>'
        f'<text class="y" x="-6" y="{_y(y, tick) + 4}">{tick:g}</text>'
        for tick in y.ticks
    )
    columns = "".join(
        f'<text class="x" x="{_x(panel.x, tick)}" y="{HEIGHT + 16}">'
        f"{escape(panel.x_names.get(tick, '') if panel.x_names else f'{tick:g}')}</text>"
        for tick in panel.x.ticks
    )
    return rows + columns


def _line(line: PlotLine, x: Axis, y: Axis) -> str:
    path = " ".join(f"{_x(x, at)},{_y(y, value)}" for at, value in line.points)
    kind = ' class="all"' if line.is_main else ""
    return f'<polyline points="{path}"{kind}><title>{escape(line.name)}</title></polyline>'


def _whiskers(panel: Panel, y: Axis) -> Iterable[str]:
    for at, low, high in panel.whiskers:
        x = _x(panel.x, at)
        yield f'<line class="whisker" x1="{x}" x2="{x}" y1="{_y(y, low)}" y2="{_y(y, high)}"/>'


def _mark(at: float, why: str, axis: Axis) -> str:
    x = _x(axis, at)
    return f'<line class="alarm" x1="{x}" x2="{x}" y1="0" y2="{HEIGHT}"><title>{escape(why)}</title></line>'


def _x(axis: Axis, value: float) -> float:
    return round(axis.place(value) * WIDTH / 100, 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - axis.place(value) * HEIGHT / 100, 1)


@dataclass(frozen=True, slots=True)
class Mark:
    """An estimate on a line of a panel of dots; a hollow one stands a little lower, beside a full one."""

    found: Estimate | None
    hover: str
    is_hollow: bool = False


@dataclass(frozen=True, slots=True)
class DotPanel:
    """Estimates as dots with whiskers, one named line each.

    Attributes:
        lines: name → marks.
        rule_at: a dashed vertical line stands at this value, to compare with.
        bounds: no value can lie outside.
        label: how a tick is written.
    """

    title: str
    lines: Sequence[tuple[str, Sequence[Mark]]]
    rule_at: float
    label: Callable[[float], str]
    bounds: tuple[float, float] | None = None
    num_ticks: int = 5


def draw_dots(panels: Sequence[DotPanel], title: str) -> str:
    """Return panels of dots as SVG, side by side."""
    width = len(panels) * (DOT_LABEL + DOT_WIDTH) + (len(panels) - 1) * DOT_GAP + 20
    height = DOT_TOP + max(len(panel.lines) for panel in panels) * DOT_LINE + 34
    step = DOT_LABEL + DOT_WIDTH + DOT_GAP
    return _svg(width, height, title, "".join(_dot_panel(panel, place * step) for place, panel in enumerate(panels)))


def _dot_panel(panel: DotPanel, left: int) -> str:
    marks = [mark for _, marks in panel.lines for mark in marks]
    axis = axis_over([panel.rule_at, *ends([m.found for m in marks])], num_ticks=panel.num_ticks, bounds=panel.bounds)
    bottom, rule = len(panel.lines) * DOT_LINE, _dot_x(axis, panel.rule_at)
    parts = [f'<text x="{12 - DOT_LABEL}" y="-26" class="title">{escape(panel.title)}</text>']
    for tick in axis.ticks:
        x = _dot_x(axis, tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{bottom}"/>')
        parts.append(f'<text class="x" x="{x}" y="{bottom + 16}">{escape(panel.label(tick))}</text>')
    parts.append(f'<line class="base" x1="{rule}" x2="{rule}" y1="-6" y2="{bottom}"/>')
    for place, (name, found) in enumerate(panel.lines):
        parts.append(f'<text class="name" x="-8" y="{_dot_y(place) + 4}">{escape(name)}</text>')
        parts += [_dot_mark(axis, mark, place + (0.25 if mark.is_hollow else 0)) for mark in found]
    return f'<g transform="translate({left + DOT_LABEL} {DOT_TOP})">{"".join(parts)}</g>'


def _dot_mark(axis: Axis, mark: Mark, place: float) -> str:
    placed = dot(axis, mark.found)
    if placed is None:
        return ""
    kind, scale, y = "hollow" if mark.is_hollow else "full", DOT_WIDTH / 100, _dot_y(place)
    return (
        f'<line class="{kind}" x1="{placed.left * scale:.1f}" x2="{(placed.left + placed.width) * scale:.1f}" '
        f'y1="{y}" y2="{y}"/><circle class="{kind}" cx="{placed.at * scale:.1f}" cy="{y}" r="4">'
        f"<title>{escape(mark.hover)}</title></circle>"
    )


def _dot_x(axis: Axis, value: float) -> float:
    return round(axis.place(value) * DOT_WIDTH / 100, 1)


def _dot_y(place: float) -> float:
    return round((place + 0.5) * DOT_LINE, 1)
