"""Does routing gain under another judge? Train on all rewards but one and evaluate by that one, each in turn.

Choosing by one metric and evaluating by another can lose more than the whole gap. So the naive router (argmax of the
mean reward) is compared with ours, which leaves the best single teacher only where rewards agree.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from arbitrage.candidates.matrix import Floats, RewardMatrix
from arbitrage.candidates.matrix_file import blend_rewards
from arbitrage.statistics import Estimate
from routers.evaluation.evaluate import evaluate
from routers.learning.auto import AutoLearner
from routers.learning.consensus import ConsensusLearner, spread
from routers.learning.learned import LearnedLearner

Told = Callable[[str], None]
NAIVE = LearnedLearner(caution=0.0)
CAUTIOUS = ConsensusLearner()


@dataclass(frozen=True, slots=True)
class RewardValidity:
    """Gains over the best single teacher of the other rewards, under a held-out judge.

    In standard deviations of the judge's scores of different teachers on one prompt.

    Attributes:
        naive: argmax of the mean reward.
        consensus: only where the rewards agree.
        auto: only if the gain also holds under each training reward when that is held out.
        oracle: sampling the teacher with the highest mean of the other rewards, which is known.
    """

    judge: str
    naive: Estimate | None
    consensus: Estimate | None
    auto: Estimate | None
    oracle: Estimate | None
    chose: Sequence[str]


@dataclass(frozen=True, slots=True)
class RewardAgreement:
    """How far two rewards agree on teachers: overall, and by language.

    Attributes:
        within_prompts: mean rank correlation of the teachers' rewards within a prompt.
        of_means: rank correlation of the teachers' means, by language.
    """

    first: str
    second: str
    within_prompts: float
    of_means: Mapping[str, float]


def select_by_each_reward(
    matrix: RewardMatrix, *, seed: int = 0, jobs: int = 1, told: Told = lambda _: None
) -> list[RewardValidity]:
    """Hold out each reward of the matrix in turn, and evaluate by it."""
    return [_judge(matrix, judge, seed, jobs, told) for judge in sorted(matrix.rewards_by_name)]


def measure_agreement(matrix: RewardMatrix) -> list[RewardAgreement]:
    """Compare every two rewards."""
    names = sorted(matrix.rewards_by_name)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    return [_agree(matrix, a, b) for a, b in pairs]


def _judge(matrix: RewardMatrix, judge: str, seed: int, jobs: int, told: Told) -> RewardValidity:
    others = {name: reward_PT for name, reward_PT in matrix.rewards_by_name.items() if name != judge}
    blended_PT = blend_rewards(others, matrix.queries.languages.tolist())
    judged = replace(
        matrix,
        rewards_PT=blended_PT,
        rewards_by_name=others if len(others) > 1 else {},
        judge_PT=matrix.rewards_by_name[judge] / spread(matrix.rewards_by_name[judge]),
    )
    found = evaluate(
        judged,
        seed=seed,
        learners=(NAIVE, CAUTIOUS),
        auto=AutoLearner(use_judge=False),
        jobs=jobs,
        told=lambda what: told(f"judge {judge}, {what}"),
    )
    gains = {figures.name: figures.judge_gain for figures in found.routers}
    return RewardValidity(
        judge=judge,
        naive=gains[NAIVE.label],
        consensus=gains[CAUTIOUS.label],
        auto=gains["auto"],
        oracle=gains["oracle"],
        chose=[choice.learner.label for choice in found.choices],
    )


def _agree(matrix: RewardMatrix, first: str, second: str) -> RewardAgreement:
    from scipy.stats import rankdata

    pair = [matrix.rewards_by_name[name] for name in (first, second)]
    asked_PT = np.isfinite(pair[0]) & np.isfinite(pair[1])
    pair = [np.where(asked_PT, reward_PT, np.nan) for reward_PT in pair]
    by_language = {
        language: _of_means([reward_PT[matrix.queries.languages == language] for reward_PT in pair])
        for language in sorted(set(matrix.queries.languages.tolist()))
    }
    ranks = [rankdata(reward_PT, axis=1, nan_policy="omit") for reward_PT in pair]
    middle_P1 = (asked_PT.sum(axis=1, keepdims=True) + 1) / 2  # the mean rank
    level = [np.where(asked_PT, rank_PT - middle_P1, 0.0) for rank_PT in ranks]
    squares = np.sqrt((level[0] ** 2).sum() * (level[1] ** 2).sum())
    within = float((level[0] * level[1]).sum() / squares) if squares else math.nan
    return RewardAgreement(first, second, within, by_language)


def _of_means(pair: Sequence[Floats]) -> float:
    """Return the rank correlation of the means of the teachers that were sampled; NaN for fewer than two."""
    from scipy.stats import spearmanr

    has_T = np.isfinite(pair[0]).any(axis=0)
    one_T, two_T = (np.nanmean(reward_PT[:, has_T], axis=0) for reward_PT in pair)
    return float(spearmanr(one_T, two_T).statistic) if has_T.sum() > 1 else math.nan
