"""Evaluate routers on the log of another router, and show whether the log is sufficient."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from arbitrage.candidates.matrix import Floats
from routers.bandit_log.off_policy import OffPolicyValue, greedy, judge_policy
from routers.bandit_log.outcome_log import OutcomeLog, guess, require_draws
from routers.learning.folds import deal_folds
from routers.learning.learned import LearnedLearner
from routers.learning.learner import Predictor

FROM_LOG: Final = "learned from the log"
NUM_FOLDS: Final = 5


@dataclass(frozen=True, slots=True)
class LoggedValue:
    """Estimated reward of one router on the prompts of a log."""

    router: str
    value: OffPolicyValue


def judge_logged(log: OutcomeLog, routers: Mapping[str, Predictor], seed: int = 0) -> list[LoggedValue]:
    """Evaluate each teacher alone, a router trained on the log, and given routers; the highest estimate first.

    The reward model of the doubly robust estimate, and the router trained on the log, are fitted to the other folds:
    no reward is used to evaluate what was trained on it.

    Args:
        log: outcomes.
        routers: name → predictor of the log's teachers, trained on other data.
        seed: seed of folds and bootstrap.

    Raises:
        UserError: the log comes from a router that hardly draws (`require_draws`).
    """
    require_draws(log)
    model_PT = cross_fit(log, seed)
    admitted_PT = log.admitted_PT
    policies = {FROM_LOG: greedy(model_PT, admitted_PT)}
    policies |= {name: greedy(predictor.predict(log.queries), admitted_PT) for name, predictor in routers.items()}
    policies |= dict(_singles(log))
    found = [LoggedValue(name, judge_policy(log, p, model_PT, seed=seed)) for name, p in policies.items()]
    return sorted(found, key=lambda one: -one.value.doubly_robust.value if one.value.doubly_robust else 0.0)


def cross_fit(log: OutcomeLog, seed: int = 0) -> Floats:
    """Return predictions by a router trained on the other folds, shape (P, T)."""
    cluster_P = log.cluster_P
    num_folds = min(NUM_FOLDS, len(np.unique(cluster_P)))
    expected_PT = np.zeros((len(log), len(log.teachers)))
    if num_folds < 2:
        return expected_PT
    fold_P = deal_folds(cluster_P, num_folds, seed)
    for fold in range(num_folds):
        rest, held = np.flatnonzero(fold_P != fold), np.flatnonzero(fold_P == fold)
        learned = LearnedLearner(folds=2, seed=seed).fit(guess(log.take(rest)))
        expected_PT[held] = learned.predict(log.queries.take(held))
    return expected_PT


def _singles(log: OutcomeLog) -> Iterator[tuple[str, Floats]]:
    """Yield each teacher as a policy, if it was sampled in every language of the log."""
    everywhere = np.flatnonzero(np.logical_and.reduce(log.admitted_PT))
    for place, name in enumerate(log.teachers):
        if place in everywhere:
            yield f"always {name}", np.tile(np.eye(len(log.teachers))[place], (len(log), 1))
