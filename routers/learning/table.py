"""A table of mean rewards by language, or by language and task ("fixed routing" of [2408.14960]).

Also the best single teacher, the reference of every comparison.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import RewardMatrix, centred, teacher_means
from arbitrage.candidates.queries import Queries
from routers.features.tags import UNSEEN, TagVocabulary, vocabulary_of
from routers.learning.learner import Fixed, Floats, LearnerConfig, State


class TableLearner(LearnerConfig):
    """Predict each teacher's mean reward in the prompt's language; for unseen languages, its overall mean.

    Attributes:
        by: what a row of the table is.
        shrinkage: number of prompts at which a row's own mean has the same weight as the overall mean (0: plain
            means).
    """

    kind: Literal["language_table"] = "language_table"
    by: Literal["language", "language_task", "family"] = "language"
    shrinkage: float = Field(default=0.0, ge=0.0)

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        shrunken = "_shrunken" if self.shrinkage else ""
        return f"per_{self.by}{shrunken}"

    def fit(self, matrix: RewardMatrix) -> "Table":
        """Average the rewards of each teacher in each row, over the prompts that it was sampled on."""
        residual_PT, means_T = centred(matrix.rewards_PT)
        vocabulary = vocabulary_of(matrix.queries, self.by)
        codes_P = vocabulary.codes(matrix.queries)
        shape = len(vocabulary.values), len(matrix.teachers)
        sums_RT, asked_RT = np.zeros(shape), np.zeros(shape)
        np.add.at(sums_RT, codes_P, residual_PT)
        np.add.at(asked_RT, codes_P, matrix.admitted_PT)
        return Table(vocabulary, means_T, sums_RT / np.maximum(asked_RT + self.shrinkage, 1e-9))


@dataclass(frozen=True, slots=True)
class Table:
    """Means of all teachers, and the deviation of each row from them."""

    vocabulary: TagVocabulary
    means_T: Floats
    departures_RT: Floats

    def predict(self, queries: Queries) -> Floats:
        """Look the rows up."""
        rows_RT = np.vstack([self.means_T + self.departures_RT, self.means_T])
        codes_P = self.vocabulary.codes(queries)
        found: Floats = rows_RT[np.where(codes_P == UNSEEN, len(self.departures_RT), codes_P)]
        return found

    def state(self) -> State:
        """Return the table."""
        arrays = {"means_T": self.means_T, "departures_RT": self.departures_RT}
        return State(arrays, {"level": self.vocabulary.level, "rows": list(self.vocabulary.values)})


def restore_table(state: State) -> Table:
    """Rebuild the predictor from its state."""
    vocabulary = TagVocabulary(state.values["level"], tuple(state.values["rows"]))
    return Table(vocabulary, state.arrays["means_T"], state.arrays["departures_RT"])


class SingleLearner(LearnerConfig):
    """Predict each teacher's mean reward."""

    kind: Literal["best_single"] = "best_single"

    def fit(self, matrix: RewardMatrix) -> Fixed:
        """Average the rewards of each teacher."""
        return Fixed(teacher_means(matrix.rewards_PT))
