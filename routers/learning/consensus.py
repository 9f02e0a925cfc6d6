"""Leave the best single teacher only when all rewards agree.

Choosing by one metric and evaluating by another can lose more than routing gains (docs/routing.md). A predictor is
trained on each reward; a teacher is preferred to the best single one only where each predictor expects a gain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from arbitrage.candidates.matrix import RewardMatrix, centred, teacher_means
from arbitrage.candidates.queries import Queries
from routers.learning.learned import Learned, LearnedLearner, restore_learned
from routers.learning.learner import Floats, LearnerConfig, State, nested

ONLY: Final = "reward"


class ConsensusLearner(LearnerConfig):
    """One `learned` router for each reward, and their agreement.

    Attributes:
        each: options of the router that is trained on each reward.
    """

    kind: Literal["consensus"] = "consensus"
    each: LearnedLearner = LearnedLearner(folds=2)

    def fit(self, matrix: RewardMatrix) -> "Consensus":
        """Fit once for each reward of the matrix."""
        rewards = matrix.rewards_by_name or {ONLY: matrix.rewards_PT}
        fits = {name: self.each.fit(matrix.rewarded_by(rewards[name])) for name in sorted(rewards)}
        scales = {name: spread(rewards[name]) for name in fits}
        return Consensus(fits, scales, int(np.argmax(teacher_means(matrix.rewards_PT))))


@dataclass(frozen=True, slots=True)
class Consensus:
    """Predictors by reward, the rewards' scales, and the column of the best single teacher."""

    by_reward: Mapping[str, Learned]
    scales: Mapping[str, float]
    single: int

    def predict(self, queries: Queries) -> Floats:
        """Return the agreed advantage over the best single teacher, in standard deviations; shape (P, T)."""
        expected = [fit.predict(queries) / self.scales[name] for name, fit in self.by_reward.items()]
        return agreed_advantage(expected, self.single)

    def state(self) -> State:
        """Return all predictors."""
        values = {"single": self.single, "scales": dict(self.scales), "rewards": list(self.by_reward)}
        fits = nested({}, **{name: fit.state() for name, fit in self.by_reward.items()})
        return nested(values, by_reward=fits)


def agreed_advantage(expected: Sequence[Floats], single: int) -> Floats:
    """Return the mean advantage over one teacher where all predictors agree that it is positive, else the smallest.

    Args:
        expected: predictions by each reward, (P, T), in standard deviations of that reward.
        single: column of the reference teacher, whose own advantage is 0.
    """
    advantage_RPT = np.stack([expected_PT - expected_PT[:, [single]] for expected_PT in expected])
    least_PT, mean_PT = advantage_RPT.min(axis=0), advantage_RPT.mean(axis=0)
    agreed_PT: Floats = np.where(least_PT > 0, mean_PT, np.minimum(least_PT, 0.0))
    agreed_PT[:, single] = 0.0
    return agreed_PT


def spread(reward_PT: Floats) -> float:
    """Return the standard deviation of teachers' rewards within a prompt."""
    return max(float(centred(reward_PT)[0].std()), 1e-9)


def restore_consensus(state: State) -> Consensus:
    """Rebuild the predictor from its state."""
    written = state.part("by_reward")
    fits = {name: restore_learned(written.part(name)) for name in state.values["rewards"]}
    return Consensus(fits, state.values["scales"], state.values["single"])
