"""The mean prediction of several routers: where none is clearly best, their errors partly cancel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import RewardMatrix
from arbitrage.candidates.queries import Queries
from routers.learning.caution import price_uncertainty
from routers.learning.knn import KnnLearner, restore_knn
from routers.learning.learned import LearnedLearner, restore_learned
from routers.learning.learner import Floats, LearnerConfig, Predictor, Restore, State, nested
from routers.learning.table import Table, TableLearner, restore_table

RESTORE: Final[Mapping[str, Restore]] = {"learned": restore_learned, "knn": restore_knn, "table": restore_table}
"""Weights of the members, in order."""
WEIGHTS: Final = (2.0, 1.0, 1.0)


class BlendLearner(LearnerConfig):
    """Prior plus residual (weight 2), neighbours, and the language table.

    Attributes:
        caution: standard errors subtracted from a teacher's advantage over the best single one; half of them in
            `learned`.
        learned: options of the first part: prior plus residual.
        neighbours: options of the second part: nearest neighbours.
        table: options of the third part: the mean reward of each language.
    """

    kind: Literal["blend"] = "blend"
    learned: LearnedLearner = LearnedLearner()
    neighbours: KnnLearner = KnnLearner()
    table: TableLearner = TableLearner(shrinkage=10.0)
    caution: float = Field(default=0.5, ge=0.0)

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return "blend" if self.caution <= 0.5 else "blend_cautious"

    @property
    def members(self) -> tuple[LearnerConfig, ...]:
        """The routers whose predictions are averaged."""
        return (self.learned, self.neighbours, self.table)

    def fit(self, matrix: RewardMatrix) -> "Blend":
        """Fit all members."""
        return self.join([member.fit(matrix) for member in self.members], matrix)

    def join(self, members: Sequence[Predictor], matrix: RewardMatrix) -> "Blend":
        """Blend members that are already fitted."""
        return Blend(tuple(members), price_uncertainty(matrix, self.caution / 2))


@dataclass(frozen=True, slots=True)
class Blend:
    """The fitted members."""

    members: tuple[Predictor, ...]
    price: Table

    def predict(self, queries: Queries) -> Floats:
        """Return the mean prediction, shape (P, T)."""
        mean_PT = mean_expectation([member.predict(queries) for member in self.members])
        return mean_PT + self.price.predict(queries)

    def state(self) -> State:
        """Return all members."""
        members = {name: part.state() for name, part in zip(RESTORE, self.members, strict=True)}
        return nested({}, price=self.price.state(), **members)


def mean_expectation(expected: Sequence[Floats]) -> Floats:
    """Average the predictions of members, each without its mean over the teachers of a prompt."""
    level = [expected_PT - expected_PT.mean(axis=1, keepdims=True) for expected_PT in expected]
    mean_PT: Floats = np.average(level, axis=0, weights=WEIGHTS)
    return mean_PT


def restore_blend(state: State) -> Blend:
    """Rebuild the predictor from its state."""
    members = tuple(restore(state.part(name)) for name, restore in RESTORE.items())
    return Blend(members, restore_table(state.part("price")))
