"""The share of a set that near-duplicate removal would drop (Broder 1997; bottom-k sketches, Cohen & Kaplan 2007).

Two texts are near-duplicates if the Jaccard index of their shingles of 8 letters is at least `threshold`. A text is
represented by the 64 smallest hashes of its shingles, from which the Jaccard index is estimated with a standard error
of at most 0.06. Only texts that share four of their eight smallest hashes are compared: a pair at the threshold of
0.8 is found with probability 0.99, and a phrase that all texts share costs no comparisons.

Memory does not grow with the number of texts: beyond `max_texts`, only texts whose smallest hash is below a falling
limit are kept. Copies are kept or dropped together; each text is weighted by one over its probability to be kept. A
pair is then found with probability `threshold` at least instead of 0.99, so the share of a huge set may be too low by
a fifth.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from arbitrage.contracts.metrics import SetMetric, Sketch
from arbitrage.metrics.options import Facts, Family, MetricOptions
from arbitrage.text.measured import TOO_FEW, Measured
from arbitrage.text.text import Text

SHINGLE_LETTERS = 8
NUM_HASHES = 64
NUM_KEYS = 8
MIN_SHARED_KEYS = 4
MAX_COMPARED = 50
"""Maximum number of texts kept under one hash."""

Hashes = NDArray[np.uint64]

_PRIME = 0x9E3779B97F4A7C15
_POWERS = np.array([pow(_PRIME, i, 1 << 64) for i in (1, 2, 4)], dtype=np.uint64)
"""A shingle of 8 is hashed as two of 4, those as two of 2."""


class NearDuplicatesConfig(MetricOptions):
    """The share of texts that are near-duplicates of an earlier one.

    Attributes:
        threshold: smallest Jaccard index of near-duplicates.
        max_texts: number of texts that are compared exactly; beyond it, a sample is.
    """

    kind: Literal["near_duplicates"] = "near_duplicates"
    threshold: float = Field(default=0.8, gt=0.0, le=1.0)
    max_texts: int = Field(default=4096, ge=2)

    @property
    def usual_name(self) -> str:
        """Return 'near_duplicates'."""
        return "near_duplicates"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "set"

    @property
    def facts(self) -> Facts:
        """Broder 1997."""
        title = f"texts that repeat another (Jaccard ≥ {self.threshold:g})"
        return Facts(title, "share", 0.0, 1.0, "Broder 1997; Cohen & Kaplan 2007", "two texts with letters and more")

    def build(self) -> SetMetric:
        """Build the metric."""
        return NearDuplicates(self)


@dataclass(frozen=True, slots=True)
class Signature:
    """The smallest hashes of a text's shingles, ascending, and their number (among many, repeats count)."""

    hashes: Hashes
    num_shingles: int


class NearDuplicates:
    """A `SetMetric`."""

    def __init__(self, config: NearDuplicatesConfig) -> None:
        self._config = config

    @property
    def name(self) -> str:
        """Name in profiles."""
        return self._config.metric_name

    def digest(self, text: Text) -> Signature | None:
        """Return the signature of a text; None without letters."""
        return signature_of(text.text)

    def sketch(self) -> Sketch:
        """Return the sketch of an empty set."""
        return _Sketch(self._config.threshold, self._config.max_texts)


def signature_of(text: str) -> Signature | None:
    """Return the signature of a text, ignoring case and kinds of blanks; None without a letter."""
    plain = " ".join(text.casefold().split())
    if not any(map(str.isalnum, plain)):
        return None
    points = np.frombuffer(plain.encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
    if len(points) < SHINGLE_LETTERS:
        points = np.concatenate([points, np.zeros(SHINGLE_LETTERS - len(points), dtype=np.uint64)])
    num = len(points) - SHINGLE_LETTERS + 1
    pairs = points[:-1] * _POWERS[0] + points[1:]
    fours = pairs[:-2] * _POWERS[1] + pairs[2:]
    mixed = _mix(fours[:-4] * _POWERS[2] + fours[4:])
    if num > 2 * NUM_HASHES:
        found = np.unique(np.partition(mixed, 2 * NUM_HASHES)[: 2 * NUM_HASHES])
        if len(found) >= NUM_HASHES:
            return Signature(found[:NUM_HASHES].copy(), num)
    found = np.unique(mixed)
    return Signature(found[:NUM_HASHES].copy(), len(found))


def jaccard(one: Hashes, other: Hashes) -> float:
    """Estimate the Jaccard index of two sets from the smallest hashes of each; exact where both are shorter."""
    merged = np.sort(np.concatenate([one, other]))
    is_shared = merged[1:] == merged[:-1]
    if len(one) < NUM_HASHES and len(other) < NUM_HASHES:
        shared = int(is_shared.sum())
        return shared / (len(merged) - shared)
    first = np.concatenate([[True], ~is_shared])
    rank = np.cumsum(first)  # of each hash in the union
    size = min(int(rank[-1]), NUM_HASHES)
    return float((is_shared & (rank[:-1] <= size)).sum() / size)


class _Sketch:
    """Signatures by key; a text is kept if its smallest hash is below `limit`."""

    def __init__(self, threshold: float, max_texts: int) -> None:
        self._threshold = threshold
        self._max_texts = max_texts
        self._limit = 1 << 64
        self._kept: dict[int, Signature] = {}

    def add(self, key: int, digest: Signature) -> None:
        """Keep a text if its smallest hash is below the limit."""
        if int(digest.hashes[0]) < self._limit:
            self._kept[key] = digest
            if len(self._kept) > self._max_texts:
                self._shrink()

    def merge(self, other: Any) -> None:
        """Add the texts of another sketch."""
        self._limit = min(self._limit, other._limit)
        self._kept |= other._kept
        self._kept = {key: found for key, found in self._kept.items() if int(found.hashes[0]) < self._limit}
        while len(self._kept) > self._max_texts:
            self._shrink()

    def value(self) -> Measured:
        """Return the weighted share of the texts that repeat one that comes before them in the order of keys."""
        if len(self._kept) < 2:
            return TOO_FEW
        chance = self._limit / (1 << 64)
        unique: dict[int, list[int]] = {}
        dropped = total = 0.0
        for key, found in sorted(self._kept.items()):
            weight = 1.0 if chance >= 1.0 else 1.0 / -np.expm1(found.num_shingles * np.log1p(-chance))
            total += weight
            smallest = found.hashes[:NUM_KEYS].tolist()
            if self._is_near_any(found, smallest, unique):
                dropped += weight
                continue
            for value in smallest:
                if len(bucket := unique.setdefault(value, [])) < MAX_COMPARED:
                    bucket.append(key)
        return Measured(float(dropped / total))

    def _is_near_any(self, found: Signature, smallest: list[int], unique: dict[int, list[int]]) -> bool:
        wanted = min(MIN_SHARED_KEYS, max(1, len(smallest) // 2))
        buckets = [unique[value] for value in smallest if value in unique]
        if len(buckets) < wanted:
            return False
        shared = Counter(chain.from_iterable(buckets))
        near = (key for key, times in shared.items() if times >= wanted)
        return any(jaccard(found.hashes, self._kept[key].hashes) >= self._threshold for key in near)

    def _shrink(self) -> None:
        """Halve the limit until half of the room is free, or only copies of one text are left."""
        smallest = sorted(int(found.hashes[0]) for found in self._kept.values())
        middle = smallest[len(smallest) // 2]
        self._limit = middle if middle > smallest[0] else middle + 1
        self._kept = {key: found for key, found in self._kept.items() if int(found.hashes[0]) < self._limit}
        for key in sorted(self._kept)[self._max_texts :]:
            del self._kept[key]


def _mix(values: Hashes) -> Hashes:
    """Spread hashes evenly over 64 bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
