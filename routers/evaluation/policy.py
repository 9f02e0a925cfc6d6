"""Evaluate a policy on a matrix in which every cell is known."""

from dataclasses import dataclass

import numpy as np

from arbitrage.candidates.matrix import Floats, RewardMatrix, best_admitted
from arbitrage.candidates.queries import Rows


@dataclass(frozen=True, slots=True)
class PolicyOutcome:
    """Result of one router on each prompt.

    Attributes:
        name: of the router.
        shares_PT: probability of sampling each teacher.
        reward_P: expected reward.
        cost_P: expected cost; None if unknown.
        judge_P: expected score by the second judge; None if there is none.
        note: a remark of the router.
    """

    name: str
    shares_PT: Floats
    reward_P: Floats
    cost_P: Floats | None = None
    judge_P: Floats | None = None
    note: str = ""


def outcome_of(name: str, shares_PT: Floats, matrix: RewardMatrix, note: str = "") -> PolicyOutcome:
    """Weight every cell of the matrix by the probability that it is sampled."""

    def weigh(values_PT: Floats | None) -> Floats | None:
        return None if values_PT is None else (shares_PT * np.where(shares_PT > 0, values_PT, 0.0)).sum(axis=1)

    reward_P = weigh(matrix.rewards_PT)
    if reward_P is None:
        raise ValueError("a matrix has rewards")
    return PolicyOutcome(name, shares_PT, reward_P, weigh(matrix.cost_PT), weigh(matrix.judge_PT), note)


def follow(name: str, choice_P: Rows, matrix: RewardMatrix, note: str = "") -> PolicyOutcome:
    """Sample one teacher for each prompt."""
    return outcome_of(name, np.eye(len(matrix.teachers))[choice_P], matrix, note)


def random_outcome(matrix: RewardMatrix) -> PolicyOutcome:
    """Sample each eligible teacher with the same probability."""
    admitted_PT = matrix.admitted_PT.astype(float)
    return outcome_of("random", admitted_PT / admitted_PT.sum(axis=1, keepdims=True), matrix)


def oracle_outcome(matrix: RewardMatrix) -> PolicyOutcome:
    """Sample the teacher with the highest reward: the upper bound of every router."""
    return follow("oracle", best_admitted(matrix.rewards_PT, matrix), matrix, "knows the outcome")
