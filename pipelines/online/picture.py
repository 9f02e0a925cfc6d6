"""The curve over rounds, by the training's rewards and by unseen judges, and the monitor's curves below it."""

from collections.abc import Sequence

from arbitrage.report.dotplot import axis_over
from arbitrage.report.panels import Line, Panel, draw
from arbitrage.statistics import Estimate
from arbitrage.training.monitor.alarms import Alarm
from arbitrage.training.monitor.curves import Check
from arbitrage.training.monitor.picture import monitor_panels

CURVES_PICTURE = "online.svg"


def judged_panel(title: str, stages: Sequence[str], lines: Sequence[Line], means: Sequence[Estimate | None]) -> Panel:
    """Return the panel of a judge: a thick line through the stages' means with their intervals, over thin lines.

    Args:
        title: what is judged.
        stages: names, in the order of training.
        lines: thin, such as one for each seed; x is the position of a stage.
        means: of each stage.
    """
    thick = Line("mean", [(float(x), found.value) for x, found in enumerate(means) if found], is_main=True)
    whiskers = [
        (float(x), found.interval.low, found.interval.high)
        for x, found in enumerate(means)
        if found and found.interval
    ]
    axis = axis_over([0.0, float(len(stages) - 1)], num_ticks=max(1, len(stages) - 1))
    names = {float(x): name for x, name in enumerate(stages)}
    return Panel(title, axis, [*lines, thick], whiskers=whiskers, x_names=names)


def curves_picture(judged: Sequence[Panel], checks: Sequence[Check], alarms: Sequence[Alarm] = ()) -> str:
    """Return the picture as SVG: the judges' panels, then the monitor's."""
    watched = monitor_panels(checks, alarms) if checks else []
    return draw([*judged, *watched], "Students over the rounds, and the monitor's curves over optimiser steps")
