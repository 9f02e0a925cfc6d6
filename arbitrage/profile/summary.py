"""The figures of a profile, for JSON and display."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arbitrage.profile.cell import ProfileCell
from arbitrage.profile.measuring import REASONS
from arbitrage.profile.profile import CellKey, Profile
from arbitrage.text.measured import Measured

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

MEASURED_OF_ALL = 0.9
"""Share of the texts that must have a value for a mean without a mark."""

PARTIAL = "*"
PARTIAL_NOTE = f"{PARTIAL} mean of less than {MEASURED_OF_ALL:.0%} of the texts".replace("%", " %")


@dataclass(frozen=True, slots=True)
class MetricFigures:
    """One metric over the texts of a cell; None if no text has a value.

    Attributes:
        num: texts with a value.
        deviation: standard deviation; None below two values.
        quantiles: at `QUANTILES`; of the cell's sample, exact if it holds every text.
        nulls: reason → texts without a value.
    """

    num: int
    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None
    quantiles: tuple[float, ...] | None
    nulls: dict[str, int]

    @property
    def is_partial(self) -> bool:
        """Whether a mean covers too few of the texts (below `MEASURED_OF_ALL`): it is then marked."""
        return self.num < MEASURED_OF_ALL * (self.num + sum(self.nulls.values()))

    @property
    def why_null(self) -> str:
        """The reasons for missing values and their share of the texts, the most frequent first; may be empty."""
        total = self.num + sum(self.nulls.values())
        return ", ".join(
            f"{reason} {n / total:.0%}".replace(" 0%", " <1%").replace("%", " %")
            for reason, n in sorted(self.nulls.items(), key=lambda item: (-item[1], item[0]))
        )


@dataclass(frozen=True, slots=True)
class CellSummary:
    """The figures of one cell: by metric, and of the set."""

    key: CellKey
    num_texts: int
    is_exact: bool
    figures: dict[str, MetricFigures]
    of_set: dict[str, Measured]


def summarise(profile: Profile) -> list[CellSummary]:
    """Return the figures of every cell: all texts first, then by language, teacher and source."""
    order = sorted(profile.cells, key=lambda k: (k.teacher or "", k.source or "", k.language or ""))
    return [_cell_summary(profile, key, profile.cells[key]) for key in order]


def as_json(profile: Profile, cells: list[CellSummary]) -> dict[str, Any]:
    """Return a profile as JSON values. Every null figure has its reasons beside it."""
    return {
        "name": profile.name,
        "rows": profile.num_rows,
        "texts": profile.num_texts,
        "rejected": dict(sorted(profile.rejected.items())),
        "notes": dict(sorted(profile.notes.items())),
        "metrics": [
            {
                "name": config.metric_name,
                "family": config.family,
                "title": config.stated.title,
                "unit": config.stated.unit,
                "range": config.stated.range,
                "source": config.stated.source,
                "defined": config.stated.defined,
            }
            for config in (*profile.metrics, *profile.set_metrics)
        ],
        "cells": [_cell_json(cell) for cell in cells],
    }


def _cell_summary(profile: Profile, key: CellKey, cell: ProfileCell) -> CellSummary:
    values = cell.sample.rows().values_NM
    deviations = cell.deviations_M
    figures = {}
    for i, config in enumerate(profile.metrics):
        nulls: dict[str, int] = {reason: int(n) for reason, n in zip(REASONS, cell.nulls_MR[i, 1:], strict=True) if n}
        num = int(cell.counts_M[i])
        if not num:
            figures[config.metric_name] = MetricFigures(0, None, None, None, None, None, nulls)
            continue
        column = values[:, i]
        present = column[~np.isnan(column)].astype(np.float64)
        quantiles = tuple(float(q) for q in np.quantile(present, QUANTILES)) if len(present) else None
        figures[config.metric_name] = MetricFigures(
            num,
            float(cell.means_M[i]),
            float(deviations[i]) if num > 1 else None,
            float(cell.lows_M[i]),
            float(cell.highs_M[i]),
            quantiles,
            nulls,
        )
    names = (config.metric_name for config in profile.set_metrics)
    of_set = {name: sketch.value() for name, sketch in zip(names, cell.sketches, strict=False)}
    return CellSummary(key, cell.num_texts, cell.sample.is_exact, figures, of_set)


def _cell_json(cell: CellSummary) -> dict[str, Any]:
    return {
        "language": cell.key.language,
        "teacher": cell.key.teacher,
        "source": cell.key.source,
        "texts": cell.num_texts,
        "quantiles_are_exact": cell.is_exact,
        "metrics": {name: _figures_json(found) for name, found in cell.figures.items()},
        "set": {name: {"value": m.value, "null": m.reason} for name, m in cell.of_set.items()},
    }


def _figures_json(found: MetricFigures) -> dict[str, Any]:
    quantiles = zip(("p05", "p25", "p50", "p75", "p95"), found.quantiles or (None,) * 5, strict=True)
    figures = {"mean": found.mean, "sd": found.deviation, "min": found.low, "max": found.high} | dict(quantiles)
    return {"texts": found.num} | figures | {"nulls": found.nulls}
