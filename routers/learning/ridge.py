"""One ridge regression for each teacher: "expected reward prediction" [2603.20217], then argmax.

Plug-in regression followed by argmax is rate-optimal [2502.03261].
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import Floats, RewardMatrix, centred
from arbitrage.candidates.queries import Queries
from routers.learning.learner import LearnerConfig, State, nested
from routers.learning.table import Table, TableLearner, restore_table
from routers.learning.text import TextRidge, fit_text, restore_text


class RidgeLearner(LearnerConfig):
    """n-grams, and the language as columns of its own.

    Attributes:
        penalty: λ, in prompts.
        with_tags: whether the language is a feature.
    """

    kind: Literal["ridge"] = "ridge"
    penalty: float = Field(default=5.0, gt=0.0)
    with_tags: bool = True

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return "ridge" if self.with_tags else "ridge_blind"

    def fit(self, matrix: RewardMatrix) -> "Ridge":
        """Fit the language columns first, then the n-grams on the residual."""
        table = TableLearner(by="language", shrinkage=self.penalty if self.with_tags else 1e12).fit(matrix)
        residual_PT, means_T = centred(matrix.rewards_PT)
        left_PT = residual_PT + means_T - table.predict(matrix.queries)
        left_PT[~matrix.admitted_PT] = np.nan
        return Ridge(table, fit_text(matrix.queries, left_PT, self.penalty))


@dataclass(frozen=True, slots=True)
class Ridge:
    """Columns of the languages and of the n-grams."""

    table: Table
    text: TextRidge

    def predict(self, queries: Queries) -> Floats:
        """Return the expected reward of each teacher, shape (P, T)."""
        return self.table.predict(queries) + self.text.predict(queries)

    def state(self) -> State:
        """Return both parts."""
        return nested({}, table=self.table.state(), text=self.text.state())


def restore_ridge(state: State) -> Ridge:
    """Rebuild the predictor from its state."""
    return Ridge(restore_table(state.part("table")), restore_text(state.part("text")))
