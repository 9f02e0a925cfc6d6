"""A teacher is the vector of its results in clusters of prompts, after UniRoute [2502.08773].

The prediction is the product of that vector with the prompt's soft assignment to clusters.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import RewardMatrix, centred
from arbitrage.candidates.queries import Queries
from routers.features.dense import DenseSpace, fit_space, restore_space
from routers.learning.clusters import find_clusters
from routers.learning.learner import Floats, LearnerConfig, State, nested


class ErrorVectorsLearner(LearnerConfig):
    """k-means, each teacher's shrunken mean in each cluster, soft assignment.

    Attributes:
        num_clusters: k.
        softness: width of the assignment, in mean squared distances to the nearest centre; 0.1 is nearly hard.
        shrinkage: prompts at which a cluster's own mean weighs as much as the mean overall.
        with_tags: whether prompts of other languages are far apart.
        seed: of k-means and the decomposition of the texts.
    """

    kind: Literal["error_vectors"] = "error_vectors"
    num_clusters: int = Field(default=40, ge=1)
    softness: float = Field(default=0.3, gt=0.0)
    shrinkage: float = Field(default=10.0, ge=0.0)
    with_tags: bool = True
    seed: int = 0

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return "error_vectors" if self.with_tags else "error_vectors_blind"

    def fit(self, matrix: RewardMatrix) -> "ErrorVectors":
        """Find the clusters and average in each, over those who were asked."""
        residual_PT, means_T = centred(matrix.rewards_PT)
        space = fit_space(matrix.queries, with_tags=self.with_tags, seed=self.seed)
        vectors_PK = space.read(matrix.queries)
        found = find_clusters(vectors_PK, self.num_clusters, self.seed)
        num = len(found.cluster_centers_)
        sums_CT, asked_CT = np.zeros((num, len(means_T))), np.zeros((num, len(means_T)))
        np.add.at(sums_CT, found.labels_, residual_PT)
        np.add.at(asked_CT, found.labels_, matrix.admitted_PT)
        vectors_CT = means_T + sums_CT / np.maximum(asked_CT + self.shrinkage, 1e-9)
        width = self.softness * float(found.inertia_) / len(matrix)
        return ErrorVectors(space, found.cluster_centers_, vectors_CT, max(width, 1e-9))


@dataclass(frozen=True, slots=True)
class ErrorVectors:
    """Centres, the teachers' vectors, and the width of the assignment (a squared distance)."""

    space: DenseSpace
    centres_CK: Floats
    vectors_CT: Floats
    width: float

    def predict(self, queries: Queries) -> Floats:
        """Return the products, shape (P, T)."""
        found: Floats = self.assign(queries) @ self.vectors_CT
        return found

    def assign(self, queries: Queries) -> Floats:
        """Return how much each prompt belongs to each cluster, shape (P, C), rows summing to 1."""
        distance_PC = (self.centres_CK**2).sum(axis=1) - 2.0 * self.space.read(queries) @ self.centres_CK.T
        weight_PC = np.exp((distance_PC.min(axis=1, keepdims=True) - distance_PC) / self.width)
        shares_PC: Floats = weight_PC / weight_PC.sum(axis=1, keepdims=True)
        return shares_PC

    def state(self) -> State:
        """Return space, centres and vectors."""
        own = State({"centres_CK": self.centres_CK, "vectors_CT": self.vectors_CT}, {"width": self.width})
        return nested({}, space=State(self.space.arrays(), self.space.values()), table=own)


def restore_error_vectors(state: State) -> ErrorVectors:
    """Make the predictor of its state."""
    space, own = state.part("space"), state.part("table")
    found = restore_space(space.arrays, space.values)
    return ErrorVectors(found, own.arrays["centres_CK"], own.arrays["vectors_CT"], own.values["width"])
