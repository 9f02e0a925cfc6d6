"""The six curves as one SVG: a panel each, thin lines for languages, a thick one for all, a mark at an alarm."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from arbitrage.languages import name_of
from arbitrage.report.charts import Axis, Panel, PlotLine, axis_over, draw
from arbitrage.runs.store import commit_bytes
from arbitrage.training.monitor.alarms import TrainingAlarm
from arbitrage.training.monitor.curves import OVERALL, Check, by_language

PICTURE_FILE = "monitor.svg"

TITLES = {
    "chosen": "log-likelihood of chosen, nats",
    "rejected": "log-likelihood of rejected, nats",
    "margin": "margin, nats",
    "entropy": "entropy of the top 10 tokens, bits",
    "mass": "probability of the top 10 tokens",
    "confusion": "responses in another language",
}
BOUNDS = {"mass": (0.0, 1.0), "confusion": (0.0, 1.0)}


def write_picture(path: Path, checks: Iterable[Check], alarms: Sequence[TrainingAlarm]) -> None:
    """Write the picture. Raises StorageError."""
    commit_bytes(path, picture(checks, alarms).encode())


def picture(checks: Iterable[Check], alarms: Sequence[TrainingAlarm]) -> str:
    """Return the picture as SVG; alarms of `all` are marked in their panel."""
    return draw(monitor_panels(checks, alarms), "Six curves over optimiser steps")


def monitor_panels(checks: Iterable[Check], alarms: Sequence[TrainingAlarm]) -> list[Panel]:
    """Return a panel for each curve, over optimiser steps."""
    series = by_language(checks)
    steps = axis_over([check.step for found in series.values() for check in found], num_ticks=4)
    return [_panel(name, series, steps, [a for a in alarms if a.kind == name]) for name in TITLES]


def _panel(name: str, series: dict[str, list[Check]], steps: Axis, alarms: Sequence[TrainingAlarm]) -> Panel:
    lines = [
        PlotLine(
            "all languages" if tag == OVERALL else name_of(tag),
            [(check.step, value) for check in found if (value := getattr(check, name)) is not None],
            is_main=tag == OVERALL,
        )
        for tag, found in series.items()
    ]
    marks = {float(alarm.step): alarm.sentence for alarm in alarms if alarm.language == OVERALL}
    return Panel(TITLES[name], steps, lines, BOUNDS.get(name), marks=marks)
