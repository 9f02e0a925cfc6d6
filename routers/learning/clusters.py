"""Mean rewards by cluster of prompts: the strongest of the public routers in our replication."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import RewardMatrix, centred
from arbitrage.candidates.queries import Queries
from routers.features.dense import DenseSpace, fit_space, restore_space
from routers.learning.learner import Floats, LearnerConfig, State, nested

if TYPE_CHECKING:
    from sklearn.cluster import KMeans


class ClustersLearner(LearnerConfig):
    """k-means on prompts, then each teacher's shrunken mean in each cluster.

    Attributes:
        num_clusters: k.
        with_tags: whether language and task are part of the distance.
        shrinkage: number of prompts at which a cluster's own mean has the same weight as the overall mean.
        seed: seed of the decomposition and of k-means.
    """

    kind: Literal["clusters"] = "clusters"
    num_clusters: int = Field(default=40, ge=1)
    with_tags: bool = True
    shrinkage: float = Field(default=10.0, ge=0.0)
    seed: int = 0

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return "clusters" if self.with_tags else "clusters_blind"

    def fit(self, matrix: RewardMatrix) -> "Clusters":
        """Find the clusters, and average the rewards in each over the teachers that were sampled."""
        residual_PT, means_T = centred(matrix.rewards_PT)
        space = fit_space(matrix.queries, with_tags=self.with_tags, seed=self.seed)
        vectors_PK = space.read(matrix.queries)
        found = find_clusters(vectors_PK, self.num_clusters, self.seed)
        num = len(found.cluster_centers_)
        sums_CT, asked_CT = np.zeros((num, len(means_T))), np.zeros((num, len(means_T)))
        np.add.at(sums_CT, found.labels_, residual_PT)
        np.add.at(asked_CT, found.labels_, matrix.admitted_PT)
        expected_CT = means_T + sums_CT / np.maximum(asked_CT + self.shrinkage, 1e-9)
        return Clusters(space, found.cluster_centers_, expected_CT)


@dataclass(frozen=True, slots=True)
class Clusters:
    """Cluster centres, and the predictions of each."""

    space: DenseSpace
    centres_CK: Floats
    expected_CT: Floats

    def predict(self, queries: Queries) -> Floats:
        """Return the predictions of the nearest centre, shape (P, T)."""
        return self.expected_CT[nearest_centres(self.space.read(queries), self.centres_CK)]

    def state(self) -> State:
        """Return space, centres and expectations."""
        own = State({"centres_CK": self.centres_CK, "expected_CT": self.expected_CT})
        return nested({}, space=State(self.space.arrays(), self.space.values()), table=own)


def find_clusters(vectors_PK: Floats, num_clusters: int, seed: int) -> "KMeans":
    """Find clusters by k-means, at most one for each distinct vector (up to rounding)."""
    from sklearn.cluster import KMeans

    num = min(num_clusters, len(np.unique(vectors_PK.round(6), axis=0)))
    return KMeans(num, n_init=2, random_state=seed).fit(vectors_PK)


def nearest_centres(vectors_PK: Floats, centres_CK: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return the index of the nearest centre of each vector, shape (P,)."""
    distance_PC = (centres_CK**2).sum(axis=1) - 2.0 * vectors_PK @ centres_CK.T
    return np.asarray(distance_PC.argmin(axis=1), np.int64)


def restore_clusters(state: State) -> Clusters:
    """Rebuild the predictor from its state."""
    space, table = state.part("space"), state.part("table")
    found = restore_space(space.arrays, space.values)
    return Clusters(found, table.arrays["centres_CK"], table.arrays["expected_CT"])
