"""Off-policy evaluation: estimate the reward of a router from the log of another one.

Inverse propensity scoring (Horvitz and Thompson 1952), its self-normalised form (Swaminathan and Joachims 2015), and
the doubly robust estimator (Dudík, Langford and Li 2011 [1103.4601]), with intervals clustered by prompt.
"""

from dataclasses import dataclass

import numpy as np

from arbitrage.candidates.matrix import Bools, Floats
from arbitrage.errors import DataError, UserError
from arbitrage.statistics import Estimate, estimate, ratios, resample_ratios
from routers.bandit_log.outcome_log import OutcomeLog
from routers.learning.learner import Predictor


@dataclass(frozen=True, slots=True)
class OffPolicyValue:
    """Mean reward of a policy, estimated three ways.

    Attributes:
        inverse_propensity: unbiased, with the highest variance.
        self_normalised: bias of order 1/P, lower variance; None if the policy never chooses what the log did.
        doubly_robust: bias of order 1/P for any reward model; a better model gives a narrower interval.
        effective_size: effective number of rewards behind the estimate, (Σw)²/Σw² of the weights.
        max_weight: the largest weight; far above P/100, a single reward dominates.
        support: share of the policy's choices that the log could have made too: teachers sampled in the language, and
            where a choice was certain (propensity 1), only that teacher. For other choices the estimate is the reward
            model's guess.
    """

    inverse_propensity: Estimate | None
    self_normalised: Estimate | None
    doubly_robust: Estimate | None
    effective_size: float
    max_weight: float
    support: float


def judge_predictor(
    log: OutcomeLog,
    predictor: Predictor,
    reward_model: Predictor | None = None,
    *,
    admitted_PT: Bools | None = None,
    seed: int = 0,
) -> OffPolicyValue:
    """Estimate the reward of the policy that samples the teacher with the highest prediction.

    Args:
        log: rewards; neither the predictor nor the reward model was trained on them.
        predictor: its teachers are those of the log.
        reward_model: any predictor of the same teachers; default: all teachers are expected to be equal.
        admitted_PT: which teachers are eligible; default: all.
        seed: seed of the bootstrap.
    """
    expected_PT = predictor.predict(log.queries)
    model_PT = None if reward_model is None else reward_model.predict(log.queries)
    return judge_policy(log, greedy(expected_PT, admitted_PT), model_PT, seed=seed)


def judge_policy(
    log: OutcomeLog, policy_PT: Floats, model_PT: Floats | None = None, *, seed: int = 0
) -> OffPolicyValue:
    """Estimate the reward of a policy.

    Args:
        log: logged rewards.
        policy_PT: probability with which the policy samples each teacher; rows sum to 1.
        model_PT: expected rewards, of which only differences within a row need be right; the level is fitted.
        seed: seed of the bootstrap.

    Raises:
        UserError: the policy is not one of the log's prompts and teachers.
        DataError: the log holds no outcome.
    """
    if not len(log):
        raise DataError("the log holds no reward, so no router can be evaluated on it")
    shape = (len(log), len(log.teachers))
    if policy_PT.shape != shape or not np.allclose(policy_PT.sum(axis=1), 1.0):
        wanted = f"{shape[0]} rows of {shape[1]} probabilities that sum to 1"
        raise UserError(f"policy: an array of shape {policy_PT.shape}; wanted {wanted}")
    rows = np.arange(len(log))
    weight_P = policy_PT[rows, log.chosen_P] / log.propensity_P
    model_PT = np.zeros(shape) if model_PT is None else model_PT
    surprise_P = log.reward_P - model_PT[rows, log.chosen_P]
    # predictors say how teachers differ, not how easy prompts are; one number fitted to P outcomes biases by 1/P
    level = float(surprise_P.mean())
    robust_P = level + (policy_PT * model_PT).sum(axis=1) + weight_P * (surprise_P - level)
    ones_P = np.ones(len(log))
    numerator_P3 = np.stack([weight_P * log.reward_P, weight_P * log.reward_P, robust_P], axis=1)
    denominator_P3 = np.stack([ones_P, weight_P, ones_P], axis=1)
    values_3 = ratios(numerator_P3, denominator_P3)
    draws_R3 = resample_ratios(numerator_P3, denominator_P3, log.cluster_P, seed=seed)
    num_clusters = len(np.unique(log.cluster_P))
    plain, normalised, robust = (
        estimate(float(v), draws_R3[:, place], num_clusters) for place, v in enumerate(values_3)
    )
    squares = float((weight_P**2).sum())
    size = float(weight_P.sum()) ** 2 / squares if squares else 0.0
    might_PT = log.admitted_PT & log.is_drawn_P[:, None]
    might_PT[rows, log.chosen_P] = True
    support = float((policy_PT * might_PT).sum(axis=1).mean())
    return OffPolicyValue(plain, normalised, robust, size, float(weight_P.max()), support)


def greedy(expected_PT: Floats, admitted_PT: Bools | None = None) -> Floats:
    """Return the policy that always samples the teacher with the highest prediction, shape (P, T)."""
    open_PT = expected_PT if admitted_PT is None else np.where(admitted_PT, expected_PT, -np.inf)
    policy_PT = np.zeros(expected_PT.shape)
    policy_PT[np.arange(len(policy_PT)), open_PT.argmax(axis=1)] = 1.0
    return policy_PT
