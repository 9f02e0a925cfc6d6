"""Where dots, intervals and ticks stand, in per cent of a plot's width, so that text never scales with the plot."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
