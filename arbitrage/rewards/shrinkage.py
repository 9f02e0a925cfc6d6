"""Statistics of groups of scores, and shrinkage of a small group towards a larger one (empirical Bayes).

A group of n scores has weight w = n / (n + k), the level above it 1 − w. Means, variances, length slopes and the
curves of the rank method are all shrunk alike. `Moments` are running sums: memory does not grow with the number of
scores.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import sqrt
from statistics import NormalDist, fmean

from arbitrage.candidates.calibration import Curve

SAMPLE_SIZE = 2048
"""Number of scores sampled per reward and language by the rank method: quantiles within ±0.02 at 95 %."""


@dataclass(slots=True)
class Moments:
    """Means, sums of squared deviations and of products of scores and log lengths (Welford, Chan)."""

    num: int = 0
    mean: float = 0.0
    squares: float = 0.0
    length_mean: float = 0.0
    length_squares: float = 0.0
    products: float = 0.0

    def add(self, value: float, log_length: float) -> None:
        """Add one score."""
        self.num += 1
        delta = value - self.mean
        length_delta = log_length - self.length_mean
        self.mean += delta / self.num
        self.length_mean += length_delta / self.num
        self.squares += delta * (value - self.mean)
        self.length_squares += length_delta * (log_length - self.length_mean)
        self.products += delta * (log_length - self.length_mean)

    @property
    def variance(self) -> float:
        """Population variance of the scores."""
        return self.squares / self.num if self.num else 0.0


def pool_within(groups: Iterable[Moments]) -> Moments:
    """Merge groups: means over all scores, deviations from each group's *own* mean.

    Scores are standardised within a language, so the spread between languages must not widen the pooled spread.
    """
    pooled = Moments()
    for group in groups:
        total = pooled.num + group.num
        if total:
            pooled.mean += (group.mean - pooled.mean) * group.num / total
            pooled.length_mean += (group.length_mean - pooled.length_mean) * group.num / total
        pooled.num = total
        pooled.squares += group.squares
        pooled.length_squares += group.length_squares
        pooled.products += group.products
    return pooled


@dataclass(slots=True)
class Sample:
    """The scores with the `SAMPLE_SIZE` smallest keys: a fair sample that does not depend on order."""

    _heap: list[tuple[int, float]] = field(default_factory=list)  # (−key, value): the largest key on top

    def add(self, key: int, value: float) -> None:
        """Add one score; keys are hashes."""
        if len(self._heap) < SAMPLE_SIZE:
            heapq.heappush(self._heap, (-key, value))
        elif -key > self._heap[0][0]:
            heapq.heapreplace(self._heap, (-key, value))

    def pairs(self) -> list[tuple[int, float]]:
        """Return (−key, value) of each sampled score, in no order."""
        return list(self._heap)

    def values(self) -> list[float]:
        """Return the sampled scores in ascending order."""
        return sorted(value for _, value in self._heap)


def merge(samples: Iterable[Sample]) -> Sample:
    """Merge samples into one random sample: the smallest keys of all."""
    merged = Sample()
    for sample in samples:
        for negated, value in sample.pairs():
            merged.add(-negated, value)
    return merged


NUM_KNOTS = 65
"""Number of quantiles stored for each group by the rank method."""


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
        """Standard deviation; 1 if all scores are equal, so that one can divide by it."""
        return sqrt(self.variance) or 1.0


def level_of(moments: Moments, sample: Sequence[float] = ()) -> Level:
    """Describe a group by its moments and, for the rank method, by an ascending sample of its scores."""
    sd = sqrt(moments.variance) or 1.0
    slope = moments.products / moments.length_squares / sd if moments.length_squares > 0.0 else 0.0
    curve = curve_of(sample, 1.0 / sd) if sample else None
    return Level(moments.num, moments.mean, moments.variance, moments.length_mean, slope, curve)


def shrink(own: Level, above: Level, k: float) -> Level:
    """Return the shrunken group: weight n / (n + k) for itself, the rest for the level above."""
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
    """Map the quantiles of ascending values to those of the standard normal distribution; ties share their mean."""
    num = min(len(values), NUM_KNOTS)
    shares = [(i + 0.5) / num for i in range(num)]
    points = [(_quantile(values, p), NormalDist().inv_cdf(p)) for p in shares]
    tied = [(raw, [z for _, z in group]) for raw, group in groupby(points, key=lambda point: point[0])]
    return Curve(tuple(raw for raw, _ in tied), tuple(fmean(zs) for _, zs in tied), slope)


def _quantile(values: Sequence[float], share: float) -> float:
    position = min(max(share * len(values) - 0.5, 0.0), len(values) - 1.0)
    low = int(position)
    high = min(low + 1, len(values) - 1)
    # Not a + t·(b − a), which rounds differently for a = b and would break ties.
    return (
        values[low] if values[low] == values[high] else values[low] + (position - low) * (values[high] - values[low])
    )
