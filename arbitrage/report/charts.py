"""Where dots, intervals and ticks stand, in per cent of a plot's width, so that text never scales with the plot.

Heatmaps as tables: every cell carries its number, colour only helps the eye.

Small line charts side by side, as one SVG that follows the reader's light or dark mode.
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
        return self.hue + crowded + (" wide" if len(self.columns) > 8 else "")


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
"""Of a panel's plot, and around it; pixels."""

STYLE = (
    ":root{--paper:#fff;--ink:#1b1d20;--soft:#5d626a;--hair:#e3e4e2;--accent:#0b5394;--warm:#a84a00}"
    "@media(prefers-color-scheme:dark){:root{--paper:#131518;--ink:#e6e7e9;--soft:#a0a6ae;--hair:#2d3137;"
    "--accent:#7fb8f0;--warm:#f0a35e}}"
    "text{font:11px system-ui,sans-serif;fill:var(--soft)}.title{font-size:12px;fill:var(--ink)}"
    ".x{text-anchor:middle}.y{text-anchor:end}.grid{stroke:var(--hair)}polyline{fill:none;stroke:var(--soft);"
    "stroke-width:1;opacity:.45}polyline.all{stroke:var(--accent);stroke-width:2.5;opacity:1}"
    ".whisker{stroke:var(--accent);stroke-width:1.5}"
    ".alarm{stroke:var(--warm);stroke-width:1.5;stroke-dasharray:4 3}"
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
    """Return the panels as SVG, three in a row."""
    width = COLUMNS * (LEFT + WIDTH + RIGHT)
    height = -(-len(panels) // COLUMNS) * (TOP + HEIGHT + BOTTOM)
    drawn = "".join(_panel(panel, place) for place, panel in enumerate(panels))
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
