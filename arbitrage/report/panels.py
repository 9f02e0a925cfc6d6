"""Small line charts side by side, as one SVG that follows the reader's light or dark mode."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from arbitrage.report.dotplot import Axis, axis_over

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
class Line:
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
    lines: Sequence[Line]
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


def _line(line: Line, x: Axis, y: Axis) -> str:
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
