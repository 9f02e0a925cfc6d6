"""Heatmaps as tables: every cell carries its number, colour only helps the eye."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from arbitrage.report.tally import Grid

Hue = Literal["heat", "alarm", "diverging"]
"""`heat`: more is more; `alarm`: more is worse; `diverging`: around zero, blue above and orange below."""


@dataclass(frozen=True, slots=True)
class Cell:
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
    cells: tuple[Cell, ...]
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

    def cell(value: float | None, note: str) -> Cell:
        if value is None:
            return Cell(text(None), None, False)
        share = (abs(value) if hue == "diverging" else value - low) / (high - low or 1.0)
        return Cell(text(value), min(1.0, max(0.0, share)), hue == "diverging" and value < 0, note)

    noted = notes or [[""] * len(row) for row in grid]
    rows = [
        HeatRow(name, tag, tuple(itertools.starmap(cell, zip(row, small, strict=True))))
        for (name, tag), row, small in zip(labels, grid, noted, strict=True)
    ]
    if total is not None and len(grid) > 1:
        summed = [_total([v for v in column if v is not None], total[1]) for column in zip(*grid, strict=True)]
        cells = tuple(Cell(text(v), None, False) for v in summed)
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
