"""Learning curves: how many fully scored prompts a router needs. Training parts grow; the test fold stays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from arbitrage.candidates.matrix import RewardMatrix, best_admitted, chosen
from arbitrage.candidates.queries import Rows
from routers.learning.folds import deal_test_folds
from routers.learning.learner import LearnerConfig
from routers.learning.table import SingleLearner

Told = Callable[[str], None]
SIZES = (64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True)
class SamplePoint:
    """Reward of a router trained on a number of prompts, mean over folds and draws.

    Attributes:
        gap_closed: relative to the best single teacher of the *whole* training part.
        single_gap_closed: the same for the best single teacher of the few prompts (0 or below).
    """

    num_prompts: int
    gap_closed: float
    single_gap_closed: float


@dataclass(frozen=True, slots=True)
class SampleCurve:
    """A learning curve.

    Attributes:
        enough: the fewest prompts tried that reach 90 % of what all of them reach; None if only all do.
    """

    router: str
    points: Sequence[SamplePoint]
    enough: int | None


def trace_samples(
    learner: LearnerConfig,
    matrix: RewardMatrix,
    *,
    sizes: Sequence[int] = SIZES,
    num_folds: int = 5,
    num_draws: int = 2,
    seed: int = 0,
    told: Told = lambda _: None,
) -> SampleCurve:
    """Train on more and more prompts of the training folds, drawn by cluster."""
    fold_P = deal_test_folds(matrix.cluster_P, num_folds, seed)
    fewest = int(len(fold_P) - np.bincount(fold_P).max())
    tried = [size for size in sizes if size < fewest] + [fewest]
    points = [_point(learner, matrix, fold_P, size, 1 if size == fewest else num_draws, seed, told) for size in tried]
    full = points[-1].gap_closed
    enough = next((p.num_prompts for p in points[:-1] if full > 0 and p.gap_closed >= 0.9 * full), None)
    return SampleCurve(learner.label, points, enough)


def _point(
    learner: LearnerConfig, matrix: RewardMatrix, fold_P: Rows, size: int, num_draws: int, seed: int, told: Told
) -> SamplePoint:
    told(f"{size:,} prompts")
    gained = single_gained = possible = 0.0
    for fold in range(int(fold_P.max()) + 1):
        rest, test = np.flatnonzero(fold_P != fold), matrix.take(np.flatnonzero(fold_P == fold))
        single = _reward(SingleLearner(), matrix.take(rest), test)
        for draw in range(num_draws):
            part = matrix.take(_draw(matrix, rest, size, seed + draw))
            gained += (_reward(learner, part, test) - single) / num_draws
            single_gained += (_reward(SingleLearner(), part, test) - single) / num_draws
        possible += float(np.nanmax(test.rewards_PT, axis=1).sum()) - single
    scale = possible if possible > 0 else 1.0
    return SamplePoint(size, gained / scale, single_gained / scale)


def _draw(matrix: RewardMatrix, rest: Rows, size: int, seed: int) -> Rows:
    """Take whole clusters in a random order until `size` prompts are together, and cut the last one."""
    random = np.random.default_rng(seed)
    codes, index = np.unique(matrix.cluster_P[rest], return_inverse=True)
    order_C = random.permutation(len(codes))
    shuffled = rest[np.argsort(order_C[index], kind="stable")]
    return shuffled[:size]


def _reward(learner: LearnerConfig, training: RewardMatrix, test: RewardMatrix) -> float:
    expected_PT = learner.fit(training).predict(test.queries)
    return float(chosen(test.rewards_PT, best_admitted(expected_PT, test)).sum())
