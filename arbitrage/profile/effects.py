"""Differences between two data sets in one language: effect sizes, intervals by clusters of prompts, error control.

- Cohen's d: difference of means over the pooled standard deviation, of all texts (Cohen 1988).
- Cliff's delta: P(second > first) − P(second < first) over texts of the samples, −1..1 (Cliff 1993).
- Intervals and p-values: whole prompts are resampled, the same in both sets (`arbitrage.statistics`), so that texts
  for one prompt are paired. p is two-sided, of a normal with the bootstrap's standard error.
- Over all metrics and languages of a comparison the false discovery rate is held by Benjamini & Hochberg (1995).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from arbitrage.profile.cell import ProfileCell
from arbitrage.profile.sample import Sampled
from arbitrage.statistics import Interval, resample_ratios

NUM_RESAMPLES = 1000
MIN_CLUSTERS = 10
"""Minimum number of prompts on either side for an interval."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effect:
    """One metric in two sets.

    Attributes:
        d: Cohen's d, positive if the second is higher; None if nothing varies or a side has no values.
        interval: interval of d.
        delta: Cliff's delta.
        p: None without an interval.
    """

    before: float | None
    after: float | None
    num_before: int
    num_after: int
    d: float | None
    interval: Interval | None
    delta: float | None
    p: float | None


def effects(before: ProfileCell, after: ProfileCell, seed: int) -> list[Effect]:
    """Return the effect in each metric; all use the same resamples of prompts."""
    samples = before.sample.rows(), after.sample.rows()
    draws_RM = _draws(*samples, seed)
    spread_M = _pooled(before, after)
    found = []
    for i, (one, other) in enumerate(zip(before.means_M, after.means_M, strict=True)):
        nums = int(before.counts_M[i]), int(after.counts_M[i])
        if not all(nums):
            means = tuple(float(m) if n else None for m, n in zip((one, other), nums, strict=True))
            found.append(Effect(means[0], means[1], *nums, None, None, None, None))
            continue
        d = float((other - one) / spread_M[i]) if spread_M[i] > 0 else None
        interval, p = _interval(d, draws_RM[:, i])
        delta = cliffs_delta(samples[0].values_NM[:, i], samples[1].values_NM[:, i])
        found.append(Effect(float(one), float(other), *nums, d, interval, delta, p))
    return found


def cliffs_delta(before: NDArray[np.float32], after: NDArray[np.float32]) -> float | None:
    """Return P(after > before) − P(after < before), without NaN; None if a side is empty."""
    one, other = (np.sort(side[~np.isnan(side)]) for side in (before, after))
    if not len(one) or not len(other):
        return None
    below = np.searchsorted(one, other, side="left").sum()
    above = len(one) * len(other) - np.searchsorted(one, other, side="right").sum()
    return float(int(below) - int(above)) / (len(one) * len(other))


def false_discovery_rates(p_values: Sequence[float]) -> list[float]:
    """Return for each p the smallest rate at which Benjamini & Hochberg would call it a discovery, 0..1."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i], reverse=True)
    rates = [1.0] * len(p_values)
    lowest = 1.0
    for place, i in enumerate(order):
        lowest = min(lowest, p_values[i] * len(p_values) / (len(p_values) - place))
        rates[i] = lowest
    return rates


def _draws(before: Sampled, after: Sampled, seed: int) -> Floats:
    """Return Cohen's d in each resample, shape (R, M); NaN where it is not defined."""
    num_metrics = before.values_NM.shape[1]
    clusters = np.concatenate([before.clusters_N, after.clusters_N])
    if min(len(np.unique(side.clusters_N)) for side in (before, after)) < MIN_CLUSTERS:
        return np.full((NUM_RESAMPLES, num_metrics), np.nan)
    codes, index = np.unique(clusters, return_inverse=True)
    sums, weights = [], []
    start = 0
    for side in (before, after):
        rows = slice(start, start + len(side.clusters_N))
        start = rows.stop
        values = side.values_NM.astype(np.float64)
        present = ~np.isnan(values)
        values = np.where(present, values, 0.0)
        counts_CM = _by_cluster(present.astype(np.float64), index[rows], len(codes))
        sums += [_by_cluster(values, index[rows], len(codes)), _by_cluster(values**2, index[rows], len(codes))]
        weights += [counts_CM, counts_CM]
    ratios = resample_ratios(
        np.hstack(sums), np.hstack(weights), np.arange(len(codes)), seed=seed, num_resamples=NUM_RESAMPLES
    )
    mean_a, square_a, mean_b, square_b = np.split(ratios, 4, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((square_a - mean_a**2 + square_b - mean_b**2) / 2)
        return np.where(spread > 1e-9, (mean_b - mean_a) / spread, np.nan)


def _by_cluster(values_NM: Floats, index_N: NDArray[np.intp], num_clusters: int) -> Floats:
    sums = np.zeros((num_clusters, values_NM.shape[1]))
    np.add.at(sums, index_N, values_NM)
    return sums


def _pooled(before: ProfileCell, after: ProfileCell) -> Floats:
    """Return the root of the mean of both variances: sides of unequal size have equal weight."""
    one, other = (np.nan_to_num(cell.deviations_M) for cell in (before, after))
    return np.asarray(np.sqrt((one**2 + other**2) / 2))


def _interval(d: float | None, draws_R: Floats) -> tuple[Interval | None, float | None]:
    finite = draws_R[np.isfinite(draws_R)]
    if d is None or len(finite) < 0.99 * len(draws_R):
        return None, None
    error = float(finite.std(ddof=1))
    low, high = np.quantile(finite - finite.mean(), [0.025, 0.975])
    if not isfinite(error) or error == 0.0:
        return None, None
    return Interval(d + float(low), d + float(high)), erfc(abs(d) / error / sqrt(2))
