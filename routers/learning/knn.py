"""The mean reward of the nearest training prompts: a strong baseline."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from arbitrage.candidates.matrix import RewardMatrix, centred
from arbitrage.candidates.queries import Queries, Rows
from routers.features.dense import TAG_LENGTH, DenseSpace, fit_space, restore_space
from routers.features.tags import UNSEEN
from routers.learning.learner import Floats, LearnerConfig, State, nested

CELLS: Final = 1_000_000
"""Number of similarities in memory at a time: 4 MB, and three times as much for intermediate results."""
TIED: Final = 1e-5
"""Rounding error of similarities: neighbours whose similarities differ by less are ties."""
UNASKED: Final = 0.1
"""Weight, in neighbours, of a teacher's mean reward, where neighbours lack a reward of it."""
NEAREST_FOREIGN: Final = 1.0 + TAG_LENGTH["task"] ** 2 + 1e-5
"""No prompt in another language is more similar: with `k` nearer ones in its own, the others are not searched."""

Singles = NDArray[np.float32]


class KnnLearner(LearnerConfig):
    """Average the `k` nearest.

    Attributes:
        k: number of neighbours.
        with_tags: whether language and task are part of the similarity; without them the router does not see the
            language, as public ones.
        seed: seed of the decomposition of the texts.
    """

    kind: Literal["knn"] = "knn"
    k: int = Field(default=100, ge=1)
    with_tags: bool = True
    seed: int = 0

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return f"knn_{self.k}" if self.with_tags else f"knn_{self.k}_blind"

    def fit(self, matrix: RewardMatrix) -> "Knn":
        """Store all training prompts."""
        residual_PT, means_T = centred(matrix.rewards_PT)
        space = fit_space(matrix.queries, with_tags=self.with_tags, seed=self.seed)
        memory_PK = space.read(matrix.queries).astype(np.float32)
        outcomes_PT = np.where(matrix.admitted_PT, residual_PT + means_T, np.nan).astype(np.float32)
        return Knn(space, memory_PK, outcomes_PT, means_T, min(self.k, len(matrix)))


@dataclass(frozen=True, slots=True)
class Knn:
    """Vectors and rewards of the training prompts: NaN where a teacher was not sampled; its mean is in `means_T`."""

    space: DenseSpace
    memory_MK: Singles
    outcomes_MT: Singles
    means_T: Floats
    k: int

    def predict(self, queries: Queries) -> Floats:
        """Average the rewards of the nearest, shape (P, T)."""
        vectors_PK = self.space.read(queries).astype(np.float32)
        found_PT = np.zeros((len(queries), self.outcomes_MT.shape[1]))
        is_left_P = np.ones(len(queries), bool)
        for rows, memory in self._by_language(queries):
            self._average(vectors_PK, rows, memory, found_PT, is_left_P)
        self._average(vectors_PK, np.flatnonzero(is_left_P), np.arange(len(self.memory_MK)), found_PT, is_left_P)
        return found_PT

    def _by_language(self, queries: Queries) -> Iterator[tuple[Rows, Rows]]:
        """Yield prompts and neighbours of one language, where it has enough of them."""
        place = self.space.place_of("language")
        if place is None:
            return
        vocabulary, columns = place
        is_own_ML = self.memory_MK[:, columns] > 0
        codes_P = vocabulary.codes(queries)
        for code in np.unique(codes_P[codes_P != UNSEEN]):
            memory = np.flatnonzero(is_own_ML[:, code])
            if len(memory) >= self.k:
                yield np.flatnonzero(codes_P == code), memory

    def _average(
        self, vectors_PK: Singles, rows: Rows, memory: Rows, found_PT: Floats, is_left_P: NDArray[np.bool_]
    ) -> None:
        """Average the nearest in a part of the training set, for prompts that have no nearer neighbour outside it."""
        is_all = len(memory) == len(self.memory_MK)
        part_NK = self.memory_MK if is_all else self.memory_MK[memory]
        step = max(1, CELLS // len(memory))
        for start in range(0, len(rows), step):
            batch = rows[start : start + step]
            near_BN = vectors_PK[batch] @ part_NK.T
            farthest_B = np.partition(near_BN, len(memory) - self.k, axis=1)[:, len(memory) - self.k]
            sure = np.full(len(batch), True) if is_all else farthest_B > NEAREST_FOREIGN
            if not sure.all():
                near_BN, farthest_B = near_BN[sure], farthest_B[sure]
            found_PT[batch[sure]] = self._weigh(_shares(near_BN, farthest_B, self.k), memory)
            is_left_P[batch[sure]] = False

    def _weigh(self, weight_BN: Floats, memory: Rows) -> Floats:
        """Average outcomes; `weight_BN` sums to k for each prompt."""
        outcomes_NT = self.outcomes_MT[memory].astype(np.float64)
        asked_NT = np.isfinite(outcomes_NT)
        if asked_NT.all():
            average_BT: Floats = weight_BN @ outcomes_NT / self.k
            return average_BT
        above_BT = weight_BN @ np.where(asked_NT, outcomes_NT - self.means_T, 0.0)
        num_BT = weight_BN @ asked_NT
        shrunken_BT: Floats = self.means_T + above_BT / (num_BT + UNASKED * (self.k - num_BT))
        return shrunken_BT

    def state(self) -> State:
        """Return space and memory."""
        own = State(
            {"memory_MK": self.memory_MK, "outcomes_MT": self.outcomes_MT, "means_T": self.means_T}, {"k": self.k}
        )
        return nested({}, space=State(self.space.arrays(), self.space.values()), memory=own)


def _shares(near_BN: Singles, farthest_B: Singles, k: int) -> Floats:
    """Return the weight of each neighbour: 1 among the nearest, a share where several tie for the last places."""
    is_nearer_BN = near_BN > farthest_B[:, None] + TIED
    is_tied_BN = (near_BN >= farthest_B[:, None] - TIED) & ~is_nearer_BN
    left_B = (k - is_nearer_BN.sum(axis=1)) / is_tied_BN.sum(axis=1)
    shares_BN: Floats = is_nearer_BN + is_tied_BN * left_B[:, None]
    return shares_BN


def restore_knn(state: State) -> Knn:
    """Rebuild the predictor from its state."""
    space, memory = state.part("space"), state.part("memory")
    arrays = memory.arrays
    found = restore_space(space.arrays, space.values)
    return Knn(found, arrays["memory_MK"], arrays["outcomes_MT"], arrays["means_T"], memory.values["k"])
