"""The six curves as one SVG: a panel each, a thin line for each language, a thick one for all, a mark at an alarm."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from arbitrage.languages import name_of
from arbitrage.report.dotplot import Axis, axis_over
from arbitrage.shards.store import commit_bytes
from arbitrage.training.monitor.alarms import Alarm
from arbitrage.training.monitor.curves import OVERALL, Check, by_language

PICTURE_FILE = "monitor.svg"

TITLES = {
    "chosen": "log-likelihood of chosen, nats",
    "rejected": "log-likelihood of rejected, nats",
    "margin": "margin, nats",
    "entropy": "entropy of the top 10 tokens, bits",
    "mass": "probability of the top 10 tokens",
    "confusion": "answers in another language",
}
BOUNDS = {"mass": (0.0, 1.0), "confusion": (0.0, 1.0)}

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
    ".alarm{stroke:var(--warm);stroke-width:1.5;stroke-dasharray:4 3}"
)


def write_picture(path: Path, checks: Iterable[Check], alarms: Sequence[Alarm]) -> None:
    """Write the picture. Raises StorageError."""
    commit_bytes(path, picture(checks, alarms).encode())


def picture(checks: Iterable[Check], alarms: Sequence[Alarm]) -> str:
    """Return the picture as SVG; alarms of `all` are marked in their panel."""
    series = by_language(checks)
    steps = axis_over([check.step for found in series.values() for check in found], num_ticks=4)
    panels = [
        _panel(name, place, series, steps, [alarm for alarm in alarms if alarm.kind == name])
        for place, name in enumerate(TITLES)
    ]
    width = COLUMNS * (LEFT + WIDTH + RIGHT)
    height = -(-len(TITLES) // COLUMNS) * (TOP + HEIGHT + BOTTOM)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>Six curves over optimiser steps</title><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="var(--paper)"/>{"".join(panels)}</svg>\n'
    )


def _panel(name: str, place: int, series: dict[str, list[Check]], steps: Axis, alarms: Sequence[Alarm]) -> str:
    points = {
        tag: [(check.step, value) for check in found if (value := getattr(check, name)) is not None]
        for tag, found in series.items()
    }
    axis = axis_over([value for some in points.values() for _, value in some], num_ticks=4, bounds=BOUNDS.get(name))
    parts = [_grid(steps, axis), *(_line(tag, points[tag], steps, axis) for tag in reversed(points))]
    parts += [_mark(alarm, steps) for alarm in alarms if alarm.language == OVERALL]
    x = place % COLUMNS * (LEFT + WIDTH + RIGHT) + LEFT
    y = place // COLUMNS * (TOP + HEIGHT + BOTTOM) + TOP
    title = f'<text x="0" y="-12" class="title">{TITLES[name]}</text>'
    return f'<g transform="translate({x} {y})">{title}{"".join(parts)}</g>'


def _grid(steps: Axis, axis: Axis) -> str:
    rows = "".join(
        f'<line class="grid" x1="0" x2="{WIDTH}" y1="{_y(axis, tick)}" y2="{_y(axis, tick)}"/>'
        f'<text class="y" x="-6" y="{_y(axis, tick) + 4}">{tick:g}</text>'
        for tick in axis.ticks
    )
    columns = "".join(
        f'<text class="x" x="{_x(steps, tick)}" y="{HEIGHT + 16}">{tick:g}</text>' for tick in steps.ticks
    )
    return rows + columns


def _line(tag: str, points: Sequence[tuple[int, float]], steps: Axis, axis: Axis) -> str:
    path = " ".join(f"{_x(steps, step)},{_y(axis, value)}" for step, value in points)
    name = "all languages" if tag == OVERALL else name_of(tag)
    kind = ' class="all"' if tag == OVERALL else ""
    return f'<polyline points="{path}"{kind}><title>{escape(name)}</title></polyline>'


def _mark(alarm: Alarm, steps: Axis) -> str:
    x = _x(steps, alarm.step)
    return (
        f'<line class="alarm" x1="{x}" x2="{x}" y1="0" y2="{HEIGHT}"><title>{escape(alarm.sentence)}</title></line>'
    )


def _x(axis: Axis, value: float) -> float:
    return round(axis.place(value) * WIDTH / 100, 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - axis.place(value) * HEIGHT / 100, 1)
