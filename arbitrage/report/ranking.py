"""Best-of-m: the exact expectation over which m of the recorded candidates were drawn.

Of k recorded candidates sorted best first, the one at rank r (from 0) is the best of a random m with probability
C(k − 1 − r, m − 1) / C(k, m). So best-of-m needs no simulation and has no sampling noise.
"""

from dataclasses import dataclass
from math import comb

import numpy as np

from arbitrage.candidates.arrays import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Ranked:
    """The candidates of every prompt, best first; absent ones last. Axis K runs over ranks.

    Attributes:
        metric_PK: metric of the candidate at each rank, 0 if absent; ties share their mean.
        answered_PK: 1 if there is a usable candidate with a value of the metric.
        num_sampled_P: number of candidates sampled.
    """

    metric_PK: Floats
    answered_PK: Floats
    num_sampled_P: Ints


@dataclass(frozen=True, slots=True)
class Yield:
    """A strategy's result for each prompt: expected metric (0 if absent), probability of a response; and its cost."""

    metric_P: Floats
    answered_P: Floats
    generations: float


def rank(key_PK: Floats, metric_PK: Floats, sampled_PK: Bools) -> Ranked:
    """Sort the answers of every prompt by a key.

    Args:
        key_PK: selection key, higher is better; NaN if the candidate cannot be selected.
        metric_PK: metric; NaN if there is no value.
        sampled_PK: which of the K places were sampled; the others do not exist.
    """
    may_PK = sampled_PK & np.isfinite(key_PK)
    sort_PK = np.where(may_PK, key_PK, np.where(sampled_PK, -np.inf, np.nan))  # numpy sorts NaN last
    order_PK = np.argsort(-sort_PK, axis=1, kind="stable")
    key_sorted_PK = np.take_along_axis(sort_PK, order_PK, axis=1)
    judged_PK = np.take_along_axis(may_PK & np.isfinite(metric_PK), order_PK, axis=1)
    metric_sorted_PK = np.where(judged_PK, np.nan_to_num(np.take_along_axis(metric_PK, order_PK, axis=1)), 0.0)
    ties_PK = _tie_codes(key_sorted_PK)
    return Ranked(
        metric_PK=_mean_within(metric_sorted_PK, ties_PK),
        answered_PK=_mean_within(judged_PK.astype(np.float64), ties_PK),
        num_sampled_P=sampled_PK.sum(axis=1),
    )


def best_of(ranked: Ranked, num_drawn: int) -> Yield:
    """Return the yield of the best of `num_drawn` recorded candidates; of all of them if fewer were sampled."""
    chance_PK = chances(num_drawn, ranked.metric_PK.shape[1])[ranked.num_sampled_P]
    return Yield(
        metric_P=(chance_PK * ranked.metric_PK).sum(axis=1),
        answered_P=(chance_PK * ranked.answered_PK).sum(axis=1),
        generations=float(np.minimum(num_drawn, ranked.num_sampled_P).mean()) if len(chance_PK) else 0.0,
    )


def chances(num_drawn: int, num_places: int) -> Floats:
    """Return the probability that rank r of k candidates is the best of `num_drawn`, shape (K + 1, K), row k."""
    chance_KK = np.zeros((num_places + 1, num_places))
    for k in range(1, num_places + 1):
        m = min(num_drawn, k)
        chance_KK[k, :k] = [comb(k - 1 - r, m - 1) / comb(k, m) for r in range(k)]
    return chance_KK


def _tie_codes(sorted_PK: Floats) -> Ints:
    """Number the runs of equal keys in each row; numbers are unique over all rows."""
    num_places = sorted_PK.shape[1]
    same_PK = sorted_PK[:, 1:] == sorted_PK[:, :-1]
    codes_PK = np.repeat(np.arange(len(sorted_PK), dtype=np.int64)[:, None] * num_places, num_places, axis=1)
    codes_PK[:, 1:] += np.cumsum(~same_PK, axis=1)
    return codes_PK


def _mean_within(values_PK: Floats, codes_PK: Ints) -> Floats:
    """Replace every value by the mean of the values with its code."""
    codes = codes_PK.ravel()
    sums = np.bincount(codes, weights=values_PK.ravel(), minlength=codes_PK.size)
    counts = np.bincount(codes, minlength=codes_PK.size)
    return np.asarray((sums[codes] / counts[codes]).reshape(values_PK.shape), dtype=np.float64)
