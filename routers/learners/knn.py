"""The mean outcome of the nearest training prompts: a strong, honest baseline."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from arbitrage.outcomes.matrix import OutcomeMatrix, centred
from arbitrage.outcomes.queries import Queries
from routers.features.dense import DenseSpace, fit_space, restore_space
from routers.learners.learner import Floats, LearnerConfig, State, nested

CELLS: Final = 8_000_000
"""Similarities held at a time: 32 MB."""


class KnnLearner(LearnerConfig):
    """Average the `k` nearest.

    Attributes:
        k: neighbours.
        with_tags: whether language and task count as near; without, the router is blind to them, as public ones are.
        seed: of the decomposition of the texts.
    """

    kind: Literal["knn"] = "knn"
    k: int = Field(default=100, ge=1)
    with_tags: bool = True
    seed: int = 0

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return f"knn_{self.k}" if self.with_tags else f"knn_{self.k}_blind"

    def fit(self, matrix: OutcomeMatrix) -> "Knn":
        """Remember all training prompts."""
        residual_PT, means_T = centred(matrix.rewards_PT)
        space = fit_space(matrix.queries, with_tags=self.with_tags, seed=self.seed)
        memory_PK = space.read(matrix.queries).astype(np.float32)
        return Knn(space, memory_PK, (residual_PT + means_T).astype(np.float32), min(self.k, len(matrix)))


@dataclass(frozen=True, slots=True)
class Knn:
    """Vectors and outcomes of the training prompts."""

    space: DenseSpace
    memory_MK: NDArray[np.float32]
    outcomes_MT: NDArray[np.float32]
    k: int

    def predict(self, queries: Queries) -> Floats:
        """Average the outcomes of the nearest, shape (P, T)."""
        found = [self.outcomes_MT[rows].mean(axis=1) for rows in self._nearest(queries)]
        return np.concatenate(found).astype(np.float64) if found else np.zeros((0, self.outcomes_MT.shape[1]))

    def _nearest(self, queries: Queries) -> Iterator[NDArray[np.int64]]:
        vectors_PK = self.space.read(queries).astype(np.float32)
        step = max(1, CELLS // len(self.memory_MK))
        for start in range(0, len(vectors_PK), step):
            near_PM = vectors_PK[start : start + step] @ self.memory_MK.T
            yield np.argpartition(-near_PM, self.k - 1, axis=1)[:, : self.k]

    def state(self) -> State:
        """Return space and memory."""
        arrays = {"memory_MK": self.memory_MK, "outcomes_MT": self.outcomes_MT}
        own = State(arrays, {"k": self.k})
        return nested({}, space=State(self.space.arrays(), self.space.values()), memory=own)


def restore_knn(state: State) -> Knn:
    """Make the predictor of its state."""
    space, memory = state.part("space"), state.part("memory")
    found = restore_space(space.arrays, space.values)
    return Knn(found, memory.arrays["memory_MK"], memory.arrays["outcomes_MT"], memory.values["k"])
