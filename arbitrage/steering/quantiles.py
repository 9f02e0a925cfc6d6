"""Quantile functions as rising tuples, evenly spaced from 0 to 1, and the way back from a value to its share."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

NUM_QUANTILES = 101
"""Kept of each distribution: every per cent."""


def quantiles_of(rising: Sequence[float]) -> tuple[float, ...]:
    """Return the quantiles of rising values (linear between order statistics: type 7); empty of none."""
    if not rising:
        return ()
    top = len(rising) - 1
    return tuple(value_at(rising, i / (NUM_QUANTILES - 1)) for i in range(NUM_QUANTILES)) if top else (rising[0],)


def value_at(quantiles: Sequence[float], share: float) -> float:
    """Return the value below which a share, 0..1, lies."""
    place = min(max(share, 0.0), 1.0) * (len(quantiles) - 1)
    left = int(place)
    right = min(left + 1, len(quantiles) - 1)
    low, high = quantiles[left], quantiles[right]
    # equal ends are told apart first: a + t·(b − a) may round to another number
    return low if low == high else low + (place - left) * (high - low)


def share_of(quantiles: Sequence[float], value: float) -> float:
    """Return the share, 0..1, that lies below a value; of ties the middle."""
    if len(quantiles) < 2:
        return 0.5
    first, last = bisect_left(quantiles, value), bisect_right(quantiles, value)
    top = len(quantiles) - 1
    if first < last:
        return (first + last - 1) / 2 / top
    if first in (0, len(quantiles)):
        return 0.0 if first == 0 else 1.0
    low, high = quantiles[first - 1], quantiles[first]
    return (first - 1 + (value - low) / (high - low)) / top
