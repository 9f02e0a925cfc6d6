"""Matrix factorisation after RouteLLM [2406.18665]: a vector for each teacher, times a projection of the prompt.

RouteLLM fits it to preferences between two models by gradient steps; outcomes of many teachers allow ridge
regressions in turn.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import RewardMatrix, centred
from arbitrage.candidates.queries import Queries
from routers.features.dense import DenseSpace, fit_space, restore_space
from routers.learning.bilinear import fit_bilinear
from routers.learning.learner import Floats, LearnerConfig, State, nested

TURNS: Final = 10


class FactorisationLearner(LearnerConfig):
    """Reward = teacher's mean + ⟨teacher's vector, A·features⟩.

    Attributes:
        rank: length of the vectors.
        penalty: λ of both regressions.
        with_tags: whether language and task are features.
        seed: of the first vectors and the decomposition of the texts.
    """

    kind: Literal["factorisation"] = "factorisation"
    rank: int = Field(default=8, ge=1)
    penalty: float = Field(default=3.0, gt=0.0)
    with_tags: bool = True
    seed: int = 0

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return "factorisation" if self.with_tags else "factorisation_blind"

    def fit(self, matrix: RewardMatrix) -> "Factorisation":
        """Fit projection and vectors in turn; a teacher that was not asked counts as average there."""
        residual_PT, means_T = centred(matrix.rewards_PT)
        space = fit_space(matrix.queries, with_tags=self.with_tags, seed=self.seed)
        features_PF = space.read(matrix.queries)
        drawn_TR = np.random.default_rng(self.seed).standard_normal((len(means_T), self.rank))
        vectors_TR = drawn_TR / np.sqrt(self.rank)
        for _ in range(TURNS):
            projection_FR = fit_bilinear(features_PF, vectors_TR, residual_PT, self.penalty)
            # the two penalties pull on the product only; unit vectors keep their balance
            hidden_PR = features_PF @ projection_FR
            squares = hidden_PR.T @ hidden_PR + 1e-6 * np.eye(self.rank)
            vectors_TR = np.linalg.solve(squares, hidden_PR.T @ residual_PT).T
            vectors_TR /= np.maximum(np.linalg.norm(vectors_TR, axis=0), 1e-9)
        projection_FR = fit_bilinear(features_PF, vectors_TR, residual_PT, self.penalty)
        return Factorisation(space, means_T, projection_FR, vectors_TR)


@dataclass(frozen=True, slots=True)
class Factorisation:
    """Projection and teachers' vectors."""

    space: DenseSpace
    means_T: Floats
    projection_FR: Floats
    vectors_TR: Floats

    def predict(self, queries: Queries) -> Floats:
        """Return means and products, shape (P, T)."""
        found: Floats = self.means_T + self.space.read(queries) @ self.projection_FR @ self.vectors_TR.T
        return found

    def state(self) -> State:
        """Return space and factors."""
        arrays = {"means_T": self.means_T, "projection_FR": self.projection_FR, "vectors_TR": self.vectors_TR}
        return nested({}, space=State(self.space.arrays(), self.space.values()), factors=State(arrays))


def restore_factorisation(state: State) -> Factorisation:
    """Make the predictor of its state."""
    space, own = state.part("space"), state.part("factors").arrays
    found = restore_space(space.arrays, space.values)
    return Factorisation(found, own["means_T"], own["projection_FR"], own["vectors_TR"])
