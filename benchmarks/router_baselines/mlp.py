"""A small neural network on dense features, as public routers often are."""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import RewardMatrix, centred
from arbitrage.candidates.queries import Queries
from routers.features.dense import DenseSpace, fit_space, restore_space
from routers.learning.learner import Floats, LearnerConfig, State, nested


class MlpLearner(LearnerConfig):
    """One hidden layer, one output for each teacher.

    Attributes:
        width: of the hidden layer.
        penalty: weight decay.
        num_epochs: passes over the training prompts.
        with_tags: whether language and task are features.
        seed: of weights, batches, and the decomposition of the texts.
    """

    kind: Literal["mlp"] = "mlp"
    width: int = Field(default=64, ge=1)
    penalty: float = Field(default=0.01, ge=0.0)
    num_epochs: int = Field(default=30, ge=1)
    with_tags: bool = True
    seed: int = 0

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return "mlp" if self.with_tags else "mlp_blind"

    def fit(self, matrix: RewardMatrix) -> "Mlp":
        """Train by Adam on squared errors; a teacher that was not asked counts as average there."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        residual_PT, means_T = centred(matrix.rewards_PT)
        scale = float(residual_PT.std()) or 1.0
        space = fit_space(matrix.queries, with_tags=self.with_tags, seed=self.seed)
        net = MLPRegressor(
            hidden_layer_sizes=(self.width,), alpha=self.penalty, max_iter=self.num_epochs, random_state=self.seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is the stopping rule
            net.fit(space.read(matrix.queries), residual_PT / scale)
        (hidden_FH, out_HT), (hidden_H, out_T) = net.coefs_, net.intercepts_
        return Mlp(space, np.ascontiguousarray(hidden_FH), hidden_H, scale * out_HT, means_T + scale * out_T)


@dataclass(frozen=True, slots=True)
class Mlp:
    """Weights of both layers."""

    space: DenseSpace
    hidden_FH: Floats
    hidden_H: Floats
    out_HT: Floats
    out_T: Floats

    def predict(self, queries: Queries) -> Floats:
        """Return the outputs, shape (P, T)."""
        hidden_PH = np.maximum(self.space.read(queries) @ self.hidden_FH + self.hidden_H, 0.0)
        found: Floats = hidden_PH @ self.out_HT + self.out_T
        return found

    def state(self) -> State:
        """Return space and weights."""
        arrays = {"hidden_FH": self.hidden_FH, "hidden_H": self.hidden_H, "out_HT": self.out_HT, "out_T": self.out_T}
        return nested({}, space=State(self.space.arrays(), self.space.values()), net=State(arrays))


def restore_mlp(state: State) -> Mlp:
    """Make the predictor of its state."""
    space, net = state.part("space"), state.part("net").arrays
    found = restore_space(space.arrays, space.values)
    return Mlp(found, net["hidden_FH"], net["hidden_H"], net["out_HT"], net["out_T"])
