"""The mean of several routers' expectations: where none is surely best, their errors partly cancel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from arbitrage.outcomes.matrix import OutcomeMatrix
from arbitrage.outcomes.queries import Queries
from routers.learners.knn import KnnLearner, restore_knn
from routers.learners.learned import LearnedLearner, restore_learned
from routers.learners.learner import Floats, LearnerConfig, Predictor, Restore, State, nested
from routers.learners.table import TableLearner, restore_table

RESTORE: Final[Mapping[str, Restore]] = {"learned": restore_learned, "knn": restore_knn, "table": restore_table}
"""Members in order."""


class BlendLearner(LearnerConfig):
    """Prior plus residual, neighbours, and the language table, with equal weights."""

    kind: Literal["blend"] = "blend"
    learned: LearnedLearner = LearnedLearner()
    neighbours: KnnLearner = KnnLearner()
    table: TableLearner = TableLearner(shrinkage=10.0)

    @property
    def members(self) -> tuple[LearnerConfig, ...]:
        """Whose expectations are averaged."""
        return (self.learned, self.neighbours, self.table)

    def fit(self, matrix: OutcomeMatrix) -> "Blend":
        """Fit all members."""
        return Blend(tuple(member.fit(matrix) for member in self.members))


@dataclass(frozen=True, slots=True)
class Blend:
    """The fitted members."""

    members: tuple[Predictor, ...]

    def predict(self, queries: Queries) -> Floats:
        """Return the mean expectation, shape (P, T)."""
        return mean_expectation([member.predict(queries) for member in self.members])

    def state(self) -> State:
        """Return all members."""
        return nested({}, **{name: part.state() for name, part in zip(RESTORE, self.members, strict=True)})


def mean_expectation(expected: Sequence[Floats]) -> Floats:
    """Average what members expect, each without what it gives to all teachers of a prompt alike."""
    level = [expected_PT - expected_PT.mean(axis=1, keepdims=True) for expected_PT in expected]
    mean_PT: Floats = np.mean(level, axis=0)
    return mean_PT


def restore_blend(state: State) -> Blend:
    """Make the predictor of its state."""
    return Blend(tuple(restore(state.part(name)) for name, restore in RESTORE.items()))
