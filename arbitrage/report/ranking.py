"""What choosing the best of m answers yields: an exact expectation over which m of the recorded ones were drawn.

Of k recorded answers sorted best first, the one at rank r (from 0) is the best of a random m with probability
C(k − 1 − r, m − 1) / C(k, m). So best-of-m needs no simulation and no luck of the draw.
"""

from dataclasses import dataclass
from math import comb

import numpy as np

from arbitrage.candidates.arrays import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Ranked:
    """The answers of every prompt, best first; absent ones last. Axis K runs over ranks.

    Attributes:
        metric_PK: metric of the answer at each rank, 0 where absent; equals share their mean.
        answered_PK: 1 where there is an answer that may be chosen and was judged.
        num_asked_P: how many answers were asked for.
    """

    metric_PK: Floats
    answered_PK: Floats
    num_asked_P: Ints


@dataclass(frozen=True, slots=True)
class Yield:
    """What a strategy gets for each prompt: expected metric (0 where absent), chance of an answer; and its price."""

    metric_P: Floats
    answered_P: Floats
    generations: float


def rank(key_PK: Floats, metric_PK: Floats, asked_PK: Bools) -> Ranked:
    """Sort the answers of every prompt by a key.

    Args:
        key_PK: what they are chosen by, higher is better; NaN where they may not be chosen.
        metric_PK: what they are judged by; NaN where they were not judged.
        asked_PK: which of the K places were asked for; the others do not exist.
    """
    may_PK = asked_PK & np.isfinite(key_PK)
    sort_PK = np.where(may_PK, key_PK, np.where(asked_PK, -np.inf, np.nan))  # numpy sorts NaN last
    order_PK = np.argsort(-sort_PK, axis=1, kind="stable")
    key_sorted_PK = np.take_along_axis(sort_PK, order_PK, axis=1)
    judged_PK = np.take_along_axis(may_PK & np.isfinite(metric_PK), order_PK, axis=1)
    metric_sorted_PK = np.where(judged_PK, np.nan_to_num(np.take_along_axis(metric_PK, order_PK, axis=1)), 0.0)
    ties_PK = _tie_codes(key_sorted_PK)
    return Ranked(
        metric_PK=_mean_within(metric_sorted_PK, ties_PK),
        answered_PK=_mean_within(judged_PK.astype(np.float64), ties_PK),
        num_asked_P=asked_PK.sum(axis=1),
    )


def best_of(ranked: Ranked, num_drawn: int) -> Yield:
    """Return what the best of `num_drawn` recorded answers yields; of all of them where fewer were asked for."""
    chance_PK = chances(num_drawn, ranked.metric_PK.shape[1])[ranked.num_asked_P]
    return Yield(
        metric_P=(chance_PK * ranked.metric_PK).sum(axis=1),
        answered_P=(chance_PK * ranked.answered_PK).sum(axis=1),
        generations=float(np.minimum(num_drawn, ranked.num_asked_P).mean()) if len(chance_PK) else 0.0,
    )


def chances(num_drawn: int, num_places: int) -> Floats:
    """Return the probability that rank r of k answers is the best of `num_drawn`, shape (K + 1, K), row k."""
    chance_KK = np.zeros((num_places + 1, num_places))
    for k in range(1, num_places + 1):
        m = min(num_drawn, k)
        chance_KK[k, :k] = [comb(k - 1 - r, m - 1) / comb(k, m) for r in range(k)]
    return chance_KK


def _tie_codes(sorted_PK: Floats) -> Ints:
    """Number the runs of equal keys in each row, numbers unique over all rows."""
    num_places = sorted_PK.shape[1]
    same_PK = sorted_PK[:, 1:] == sorted_PK[:, :-1]
    codes_PK = np.repeat(np.arange(len(sorted_PK), dtype=np.int64)[:, None] * num_places, num_places, axis=1)
    codes_PK[:, 1:] += np.cumsum(~same_PK, axis=1)
    return codes_PK


def _mean_within(values_PK: Floats, codes_PK: Ints) -> Floats:
    """Replace every value by the mean of those with its code."""
    codes = codes_PK.ravel()
    sums = np.bincount(codes, weights=values_PK.ravel(), minlength=codes_PK.size)
    counts = np.bincount(codes, minlength=codes_PK.size)
    return np.asarray((sums[codes] / counts[codes]).reshape(values_PK.shape), dtype=np.float64)
