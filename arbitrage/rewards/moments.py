"""Running sums of one group of scores: flat memory, whatever the number of scores."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

SAMPLE_SIZE = 2048
"""Scores kept for each reward and language by the rank method: quantiles within ±0.02 at 95 %."""


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
        """Take in one score."""
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
        """Take in one score; keys are hashes."""
        if len(self._heap) < SAMPLE_SIZE:
            heapq.heappush(self._heap, (-key, value))
        elif -key > self._heap[0][0]:
            heapq.heapreplace(self._heap, (-key, value))

    def pairs(self) -> list[tuple[int, float]]:
        """Return (−key, value) of each sampled score, in no order."""
        return list(self._heap)

    def values(self) -> list[float]:
        """Return the sampled scores, rising."""
        return sorted(value for _, value in self._heap)


def merge(samples: Iterable[Sample]) -> Sample:
    """Merge samples into one that is as fair: the smallest keys of all."""
    merged = Sample()
    for sample in samples:
        for negated, value in sample.pairs():
            merged.add(-negated, value)
    return merged
