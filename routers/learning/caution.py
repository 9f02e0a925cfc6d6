"""Subtract uncertainty from the predicted advantage over the best single teacher.

One document on which a teacher fails can cancel its gain on fifty others, so a small advantage that rests on few
clusters is risky. The amount subtracted is the standard error of the advantage, by language, with clusters as the
unit. Where the best single teacher is not eligible, the best eligible one takes its place.
"""

from typing import Final

import numpy as np

from arbitrage.candidates.matrix import Floats, RewardMatrix, best_admitted, chosen, teacher_means
from arbitrage.candidates.queries import Rows
from routers.features.tags import vocabulary_of
from routers.learning.table import Table

POOLED_CLUSTERS: Final = 5.0
"""Weight, in clusters, of the spread over all languages beside a language's own."""


def price_uncertainty(matrix: RewardMatrix, caution: float) -> Table:
    """Return a table by language that subtracts `caution` standard errors from each teacher's prediction.

    Args:
        matrix: rewards; where a teacher was not sampled, its mean advantage is used.
        caution: number of standard errors; 0 subtracts nothing.
    """
    vocabulary = vocabulary_of(matrix.queries, "language")
    means_T = teacher_means(matrix.rewards_PT)
    single_P = best_admitted(np.broadcast_to(means_T, matrix.rewards_PT.shape), matrix)
    advantage_PT = matrix.rewards_PT - chosen(matrix.rewards_PT, single_P)[:, None]
    spread_PT = np.nan_to_num(advantage_PT - _means(advantage_PT))
    pooled_T = _spread_of_clusters(spread_PT, matrix.cluster_P)[0]
    codes_P = vocabulary.codes(matrix.queries)
    prices_RT = np.zeros((len(vocabulary.values), len(matrix.teachers)))
    for code in range(len(prices_RT)):
        rows = np.flatnonzero(codes_P == code)
        own_PT = advantage_PT[rows] - _means(advantage_PT[rows])
        own_T, num, inverse = _spread_of_clusters(np.nan_to_num(own_PT), matrix.cluster_P[rows])
        variance_T = (num * own_T + POOLED_CLUSTERS * pooled_T) / (num + POOLED_CLUSTERS)
        prices_RT[code] = caution * np.sqrt(variance_T * inverse)
    unseen_T = caution * np.sqrt(pooled_T / POOLED_CLUSTERS)
    return Table(vocabulary, -unseen_T, unseen_T - prices_RT)


def _means(values_PT: Floats) -> Floats:
    asked_PT = np.isfinite(values_PT)
    means_T: Floats = np.where(asked_PT, values_PT, 0.0).sum(axis=0) / np.maximum(asked_PT.sum(axis=0), 1)
    return means_T


def _spread_of_clusters(deviation_PT: Floats, cluster_P: Rows) -> tuple[Floats, int, float]:
    """Return the variance of a mean cluster (weighted by its prompts), (T,); how many there are; and Σ weight²."""
    codes, index_P, num_C = np.unique(cluster_P, return_inverse=True, return_counts=True)
    sums_CT = np.zeros((len(codes), deviation_PT.shape[1]))
    np.add.at(sums_CT, index_P, deviation_PT)
    weight_C = num_C / num_C.sum()
    inverse = float((weight_C**2).sum())
    variance_T = ((weight_C[:, None] * sums_CT / num_C[:, None]) ** 2).sum(axis=0) / inverse
    return variance_T, len(codes), inverse
