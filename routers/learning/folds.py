"""Cross-validation folds that keep clusters whole: translations of one prompt are always in the same fold."""

import numpy as np

from arbitrage.candidates.queries import Rows
from arbitrage.errors import UserError


def deal_folds(cluster_P: Rows, num_folds: int, seed: int) -> Rows:
    """Assign clusters to folds of about equal size; shape (P,), values 0 to num_folds − 1 (or fewer).

    Large clusters go first, each to the fold that is smallest so far. Clusters of which one is less than twice as
    large as the other may change places in the queue, drawn by `seed`: so another seed gives other folds,
    whatever the sizes.
    """
    _, index_P, size_C = np.unique(cluster_P, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    blurred_C = np.log2(size_C) + rng.random(len(size_C))
    fold_C = np.zeros(len(size_C), np.int64)
    filled = np.zeros(num_folds)
    for cluster in np.argsort(-blurred_C):
        fold_C[cluster] = np.argmin(filled)
        filled[fold_C[cluster]] += size_C[cluster]
    return fold_C[index_P]


def deal_test_folds(cluster_P: Rows, num_folds: int, seed: int) -> Rows:
    """Assign clusters to test folds.

    Raises:
        UserError: all prompts are of one cluster, so that none can be held out.
    """
    if len(np.unique(cluster_P)) < 2:
        raise UserError(
            f"{len(cluster_P):,} prompts, all of one group: no prompt can be held out to evaluate routers; "
            "give at least two groups; a few hundred give narrow intervals"
        )
    return deal_folds(cluster_P, num_folds, seed)
