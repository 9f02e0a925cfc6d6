"""Cross-validated predictions: each fold is predicted by fits on the others."""

from collections.abc import Callable, Sequence

import numpy as np

from arbitrage.candidates.matrix import RewardMatrix
from arbitrage.candidates.queries import Rows
from routers.learning.blend import BlendLearner
from routers.learning.learner import Floats, LearnerConfig, Predictor

Told = Callable[[str], None]
"""Called with a description of what is being fitted."""


def silent(_: str) -> None:
    """Report nothing."""


class Fits:
    """Predictors fitted on one matrix; a member shared by several routers is fitted once."""

    def __init__(self, matrix: RewardMatrix, told: Told = silent) -> None:
        self._matrix = matrix
        self._told = told
        self._known: dict[str, Predictor] = {}

    def of(self, learner: LearnerConfig) -> Predictor:
        """Return the learner's predictor."""
        key = learner.model_dump_json()
        if key not in self._known:
            self._told(learner.label)
            self._known[key] = self._fit(learner)
        return self._known[key]

    def _fit(self, learner: LearnerConfig) -> Predictor:
        if isinstance(learner, BlendLearner):
            return learner.join([self.of(member) for member in learner.members], self._matrix)
        return learner.fit(self._matrix)


def predict_held_out(
    learners: Sequence[LearnerConfig], matrix: RewardMatrix, fold_P: Rows, told: Told = silent
) -> list[Floats]:
    """Return the predictions of each learner, shape (P, T) each, fitted for every fold on all others."""
    shape = matrix.rewards_PT.shape
    found = [np.zeros(shape) for _ in learners]
    num_folds = int(fold_P.max()) + 1
    for fold in range(num_folds):
        held, rest = np.flatnonzero(fold_P == fold), np.flatnonzero(fold_P != fold)
        queries = matrix.queries.take(held)
        fits = Fits(matrix.take(rest), lambda what, fold=fold: told(f"fold {fold + 1} of {num_folds}: {what}"))  # type: ignore[misc]
        for learner, expected_PT in zip(learners, found, strict=True):
            expected_PT[held] = fits.of(learner).predict(queries)
    return found
