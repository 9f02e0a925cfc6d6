"""Predict the share of each teacher in a softmax of rewards, after Zooter ("Routing to the expert" [2311.08692]).

The target is softmax(R/τ), the loss the Kullback-Leibler divergence. Labels are noisy one by one, so each is blended
with the mean of its group, s* = β·s + (1−β)·mean; groups are (language, task), small ones lean on all prompts. In
the source's ablation (mean rank, lower is better): hard labels 2.31, samples only 2.34, groups only 2.06, β 0.3 1.97.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import Bools, RewardMatrix, centred
from arbitrage.candidates.queries import Queries
from routers.features.dense import DenseSpace, fit_space, restore_space
from routers.features.tags import vocabulary_of
from routers.learning.learner import Floats, LearnerConfig, State, nested

MAX_STEPS: Final = 200


class SoftLabelLearner(LearnerConfig):
    """A linear softmax over dense features.

    Attributes:
        temperature: τ, in standard deviations of rewards within a prompt, so that no scale of rewards matters. Well
        below 1, the labels prefer teachers that are sometimes far ahead to teachers that are good on average.
        own_share: β, the weight of a prompt's own label; the rest is the weight of its group's.
        group_shrinkage: number of prompts at which a group's own mean has the same weight as that of all prompts.
        penalty: λ of the L2 penalty, in prompts.
        with_tags: whether language and task are features and make groups; without, all prompts are one group.
        seed: seed of the decomposition of the texts.
    """

    kind: Literal["soft_label"] = "soft_label"
    temperature: float = Field(default=2.0, gt=0.0)
    own_share: float = Field(default=0.3, ge=0.0, le=1.0)
    group_shrinkage: float = Field(default=20.0, ge=0.0)
    penalty: float = Field(default=1.0, gt=0.0)
    with_tags: bool = True
    seed: int = 0

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return "soft_label" if self.with_tags else "soft_label_blind"

    def fit(self, matrix: RewardMatrix) -> "SoftLabel":
        """Smooth the labels, then fit."""
        tau = self.temperature * reward_scale(matrix.rewards_PT)
        level = "language_task" if self.with_tags else None
        target_PT = smooth_labels(matrix, tau, self.own_share, self.group_shrinkage, level)
        space = fit_space(matrix.queries, with_tags=self.with_tags, seed=self.seed)
        features_PF = with_intercept(space.read(matrix.queries))
        weights_FT = _descend(features_PF, target_PT, matrix.admitted_PT, self.penalty)
        return SoftLabel(space, weights_FT, tau)


@dataclass(frozen=True, slots=True)
class SoftLabel:
    """Coefficients of the logits, the last row the intercepts."""

    space: DenseSpace
    weights_FT: Floats
    tau: float

    def predict(self, queries: Queries) -> Floats:
        """Return log-probabilities × τ, which is on the scale of rewards; shape (P, T)."""
        return self.tau * log_softmax(with_intercept(self.space.read(queries)) @ self.weights_FT)

    def state(self) -> State:
        """Return space and coefficients."""
        own = State({"weights_FT": self.weights_FT}, {"tau": self.tau})
        return nested({}, space=State(self.space.arrays(), self.space.values()), logits=own)


def restore_soft_label(state: State) -> SoftLabel:
    """Rebuild the predictor from its state."""
    space, own = state.part("space"), state.part("logits")
    return SoftLabel(restore_space(space.arrays, space.values), own.arrays["weights_FT"], own.values["tau"])


def reward_scale(rewards_PT: Floats) -> float:
    """Return the standard deviation of rewards about the prompt's mean; 1 if there is none."""
    residual_PT, means_T = centred(rewards_PT)
    asked_PT = np.isfinite(rewards_PT)
    return float(np.std((residual_PT + means_T)[asked_PT])) or 1.0


def smooth_labels(
    matrix: RewardMatrix, tau: float, own_share: float, group_shrinkage: float, level: str | None
) -> Floats:
    """Return the labels s*, shape (P, T), rows summing to 1; an ineligible teacher has 0.

    Args:
        matrix: rewards; NaN where a teacher is not eligible.
        tau: τ, in units of reward.
        own_share: β.
        group_shrinkage: prompts at which a group weighs as much as all prompts.
        level: of tags that make groups (see `features.tags`); None for one group.
    """
    admitted_PT = matrix.admitted_PT
    own_PT = np.exp(log_softmax(np.where(admitted_PT, matrix.rewards_PT / tau, -np.inf)))
    overall_T = own_PT.mean(axis=0)
    codes_P = np.zeros(len(matrix), np.int64)
    if level is not None:
        codes_P = vocabulary_of(matrix.queries, level).codes(matrix.queries)
    sums_GT = np.zeros((int(codes_P.max()) + 1, own_PT.shape[1]))
    np.add.at(sums_GT, codes_P, own_PT)
    num_G = np.bincount(codes_P, minlength=len(sums_GT))
    group_GT = (sums_GT + group_shrinkage * overall_T) / (num_G + group_shrinkage)[:, None]
    mixed_PT = np.where(admitted_PT, own_share * own_PT + (1.0 - own_share) * group_GT[codes_P], 0.0)
    smoothed: Floats = mixed_PT / mixed_PT.sum(axis=1, keepdims=True)
    return smoothed


def log_softmax(logits_PT: Floats) -> Floats:
    """Return log-probabilities; −inf stays −inf."""
    shifted = logits_PT - logits_PT.max(axis=1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def with_intercept(features_PF: Floats) -> Floats:
    """Add a last column of ones."""
    return np.hstack([features_PF, np.ones((len(features_PF), 1))])


def _descend(features_PF: Floats, target_PT: Floats, admitted_PT: Bools, penalty: float) -> Floats:
    """Minimise Σ cross-entropy + λ/2·‖W‖², the intercepts free, by L-BFGS (Liu and Nocedal 1989); shape (F, T)."""
    from scipy.optimize import minimize

    shape = (features_PF.shape[1], target_PT.shape[1])
    penalty_F1 = np.full((shape[0], 1), penalty)
    penalty_F1[-1] = 1e-6

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights_FT = flat.reshape(shape)
        logs_PT = log_softmax(np.where(admitted_PT, features_PF @ weights_FT, -np.inf))
        cross = -(target_PT * np.where(admitted_PT, logs_PT, 0.0)).sum()
        shrunken_FT = penalty_F1 * weights_FT
        gradient_FT = features_PF.T @ (np.exp(logs_PT) - target_PT) + shrunken_FT
        value = cross + 0.5 * (weights_FT * shrunken_FT).sum()
        return float(value) / len(features_PF), gradient_FT.ravel() / len(features_PF)

    found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": MAX_STEPS})
    return np.asarray(found.x, np.float64).reshape(shape)
