"""What a group of scores looks like, and how a small group leans on a larger one.

In the manner of empirical Bayes: a group of n scores trusts itself with weight w = n / (n + k) and the level above
with 1 − w. Means, variances, length slopes and the curves of the rank method are all shrunk alike.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt
from statistics import NormalDist, fmean

from arbitrage.rewards.moments import Moments

NUM_KNOTS = 65
"""Quantiles kept of each group by the rank method."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A rising map from raw to calibrated scores: straight between its points, and beyond them with `slope`."""

    raw: tuple[float, ...]
    z: tuple[float, ...]
    slope: float

    def __call__(self, x: float) -> float:
        """Return the calibrated score of a raw one."""
        if x <= self.raw[0]:
            return self.z[0] - self.slope * (self.raw[0] - x)
        if x >= self.raw[-1]:
            return self.z[-1] + self.slope * (x - self.raw[-1])
        right = bisect_left(self.raw, x)
        share = (x - self.raw[right - 1]) / (self.raw[right] - self.raw[right - 1])
        return self.z[right - 1] + share * (self.z[right] - self.z[right - 1])


@dataclass(frozen=True, slots=True)
class Level:
    """A group of scores: a language, a family, or all; before or after shrinkage."""

    num: int
    mean: float
    variance: float
    length_mean: float
    length_slope: float  # standard deviations per unit of log length
    curve: Curve | None = None

    @property
    def sd(self) -> float:
        """Standard deviation; 1 where all scores are equal, so that dividing by it is harmless."""
        return sqrt(self.variance) or 1.0


def level_of(moments: Moments, sample: Sequence[float] = ()) -> Level:
    """Describe a group by its moments and, for the rank method, by a rising sample of its scores."""
    sd = sqrt(moments.variance) or 1.0
    slope = moments.products / moments.length_squares / sd if moments.length_squares > 0.0 else 0.0
    curve = curve_of(sample, 1.0 / sd) if sample else None
    return Level(moments.num, moments.mean, moments.variance, moments.length_mean, slope, curve)


def shrink(own: Level, above: Level, k: float) -> Level:
    """Return a group as it is believed to be: n / (n + k) itself, the rest the level above."""
    w = own.num / (own.num + k)

    def mix(a: float, b: float) -> float:
        return w * a + (1.0 - w) * b

    curve = own.curve
    if own.curve and above.curve:
        knots = tuple(sorted({*own.curve.raw, *above.curve.raw}))
        z = tuple(mix(own.curve(x), above.curve(x)) for x in knots)
        curve = Curve(knots, z, mix(own.curve.slope, above.curve.slope))
    return Level(
        num=own.num,
        mean=mix(own.mean, above.mean),
        variance=mix(own.variance, above.variance),
        length_mean=mix(own.length_mean, above.length_mean),
        length_slope=mix(own.length_slope, above.length_slope),
        curve=curve,
    )


def curve_of(values: Sequence[float], slope: float) -> Curve:
    """Map the quantiles of rising values to those of the standard normal distribution; ties share their mean."""
    num = min(len(values), NUM_KNOTS)
    shares = [(i + 0.5) / num for i in range(num)]
    points = [(_quantile(values, p), NormalDist().inv_cdf(p)) for p in shares]
    tied = [(raw, [z for _, z in group]) for raw, group in groupby(points, key=lambda point: point[0])]
    return Curve(tuple(raw for raw, _ in tied), tuple(fmean(zs) for _, zs in tied), slope)


def _quantile(values: Sequence[float], share: float) -> float:
    position = min(max(share * len(values) - 0.5, 0.0), len(values) - 1.0)
    low = int(position)
    high = min(low + 1, len(values) - 1)
    # Not a + t·(b − a): that rounds differently where a = b, and would break ties.
    return (
        values[low] if values[low] == values[high] else values[low] + (position - low) * (values[high] - values[low])
    )
