"""The best single teacher: the reference of every comparison."""

from typing import Literal

from arbitrage.outcomes.matrix import OutcomeMatrix, teacher_means
from routers.learners.learner import Fixed, LearnerConfig


class SingleLearner(LearnerConfig):
    """Expect of each teacher what it reached on average."""

    kind: Literal["best_single"] = "best_single"

    def fit(self, matrix: OutcomeMatrix) -> Fixed:
        """Average the rewards of each teacher."""
        return Fixed(teacher_means(matrix.rewards_PT))
