"""What every further generation buys, as lines over the number of generations."""

from dataclasses import dataclass

from arbitrage.report.charts import axis_over
from arbitrage.report.formatting import metric_value
from arbitrage.report.strategy_view import Tick, tick
from arbitrage.report.summary import Judged


@dataclass(frozen=True, slots=True)
class Point:
    """A dot; `x` from the left and `y` from the top, in per cent."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class CurveSeries:
    """One line."""

    name: str
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        """The line as SVG points, in a box of 100 × 100."""
        return " ".join(f"{p.x},{p.y}" for p in self.points)


@dataclass(frozen=True, slots=True)
class CurveView:
    """The chart."""

    series: tuple[CurveSeries, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def curve_view(judged: Judged) -> CurveView | None:
    """Lay out the curves; None where there is no curve of two points."""
    curves = {name: points for name, points in judged.curves.items() if points}
    if not any(len(points) > 1 for points in curves.values()):
        return None
    bounds = (0.0, 1.0) if judged.metric.kind == "accuracy" else None
    x_axis = axis_over([1.0, *(p.generations for points in curves.values() for p in points)], num_ticks=5)
    y_axis = axis_over([p.value for points in curves.values() for p in points], num_ticks=4, bounds=bounds)
    series = [
        CurveSeries(
            name,
            tuple(
                Point(
                    x_axis.place(p.generations),
                    round(100 - y_axis.place(p.value), 2),
                    f"m = {p.num_drawn}: {metric_value(judged.metric, p.value)}",
                )
                for p in points
            ),
        )
        for name, points in curves.items()
    ]
    y_ticks = tuple(Tick(round(100 - y_axis.place(t), 2), tick(judged, t)) for t in y_axis.ticks)
    whole = [t for t in x_axis.ticks if t == int(t)]
    return CurveView(tuple(series), tuple(Tick(x_axis.place(t), f"{t:g}") for t in whole), y_ticks)
