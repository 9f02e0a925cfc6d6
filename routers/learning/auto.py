"""Choose among routers by cross-validation.

The fallback is the one that is best on average of: the best single teacher, a language table that is much shrunken
towards it, and a `blend` that leaves the best single teacher only for large and reliable advantages. Choosing all or
nothing on weak evidence would lose more than any of them. The better of `learned` and `blend` replaces the fallback
if its gain over the best single teacher is significant (a one-sided bound of the paired difference, resampled by
cluster), and the best of the others if its gain over that one is significant. With a second judge the gain must hold
under it as well; with several rewards, under each of them when it is held out (METHODS §3 and §5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import RewardMatrix, best_admitted, chosen
from arbitrage.candidates.queries import Rows
from arbitrage.statistics import lower_bound
from routers.learning.agreement import hold_out_rewards
from routers.learning.blend import BlendLearner
from routers.learning.clusters import ClustersLearner
from routers.learning.consensus import ConsensusLearner
from routers.learning.crossval import Told, predict_held_out, silent
from routers.learning.folds import deal_folds
from routers.learning.knn import KnnLearner
from routers.learning.learned import LearnedLearner
from routers.learning.learner import Floats, LearnerConfig, Predictor
from routers.learning.ridge import RidgeLearner
from routers.learning.table import SingleLearner, TableLearner

SINGLE, TABLE, CAUTIOUS = SingleLearner(), TableLearner(shrinkage=40.0), BlendLearner(caution=1.5)
FALLBACKS: tuple[LearnerConfig, ...] = (SINGLE, TABLE, CAUTIOUS)
"""In order of preference: ties go to the earlier entry."""
OURS: tuple[LearnerConfig, ...] = (LearnedLearner(), BlendLearner())
OTHERS: tuple[LearnerConfig, ...] = (TABLE, RidgeLearner(), KnnLearner(), ClustersLearner())
FALLEN_BACK: Mapping[str, str] = {
    SINGLE.label: "nothing is above the best single teacher by more than chance",
    TABLE.label: "a table by language is above the best single teacher, and no router is significantly better",
    CAUTIOUS.label: "only large advantages over the best single teacher count, and no router is significantly better",
}


@dataclass(frozen=True, slots=True)
class LearnerChoice:
    """What was chosen, and the reason.

    Attributes:
        learner: the router to fit.
        reason: a sentence.
        gains: mean held-out reward above the best single teacher, by router.
    """

    learner: LearnerConfig
    reason: str
    gains: Mapping[str, float]


class AutoLearner(LearnerConfig):
    """Choose, then fit what was chosen.

    Attributes:
        folds: number of cross-validation folds.
        confidence: one-sided confidence that a router is better than the best single teacher, or than the one chosen
            so far.
        agreement: one-sided confidence that it also gains under the second judge, or under each of several rewards
            when that is held out; lower, because all must agree.
        use_judge: whether the gain must hold under the matrix's second judge, too.
        seed: seed of the folds.
    """

    kind: Literal["auto"] = "auto"
    folds: int = Field(default=4, ge=2)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    agreement: float = Field(default=0.8, gt=0.5, lt=1.0)
    use_judge: bool = True
    seed: int = 0

    def fit(self, matrix: RewardMatrix) -> Predictor:
        """Choose, and fit the choice on all prompts."""
        return self.choose(matrix).learner.fit(matrix)

    def choose(self, matrix: RewardMatrix, told: Told = silent) -> LearnerChoice:
        """Compare the routers on held-out folds of the matrix."""
        fold_P = deal_folds(matrix.cluster_P, self.folds, self.seed)
        if not fold_P.any():
            return LearnerChoice(SINGLE, "all prompts are of one group: none could be held out", {})
        if matrix.rewards_by_name:
            return self._choose_by_agreement(matrix, fold_P, told)
        learners = (*FALLBACKS, *OURS, *(learner for learner in OTHERS if learner not in FALLBACKS))
        expected = predict_held_out(learners, matrix, fold_P, told)
        trials = {
            learner.label: _Trial(learner, *_values(matrix, e_PT))
            for learner, e_PT in zip(learners, expected, strict=True)
        }
        learner, reason = self._climb(trials, matrix.cluster_P)
        single = trials[SINGLE.label]
        gains = {name: float((trial.reward_P - single.reward_P).mean()) for name, trial in trials.items()}
        return LearnerChoice(learner, reason, gains)

    def _climb(self, trials: "Mapping[str, _Trial]", cluster_P: Rows) -> tuple[LearnerConfig, str]:
        def best(learners: Sequence[LearnerConfig]) -> _Trial:
            return max((trials[learner.label] for learner in learners), key=lambda trial: trial.mean)

        def is_agreed(learner: LearnerConfig) -> bool:
            return learner is SINGLE or self._is_agreed(trials[learner.label], single, cluster_P)

        def is_surely_above(rung: _Trial, lower: _Trial) -> bool:
            return lower_bound(rung.reward_P - lower.reward_P, cluster_P, self.confidence) > 0

        single = trials[SINGLE.label]
        fallback = held = best([learner for learner in FALLBACKS if is_agreed(learner)])
        ours, others = best(OURS), best(OTHERS)
        if ours.mean > held.mean and is_surely_above(ours, single) and is_agreed(ours.learner):
            held = ours
        if is_surely_above(others, held) and is_agreed(others.learner):
            held = others
        if held is fallback:
            return held.learner, FALLEN_BACK[held.learner.label]
        return (
            held.learner,
            f"above the best single teacher by more than chance ({self.confidence:.0%}, one-sided)",
        )

    def _is_agreed(self, rung: "_Trial", single: "_Trial", cluster_P: Rows) -> bool:
        """Tell whether it gains under the second judge, too; true without one."""
        if not self.use_judge or rung.judge_P is None or single.judge_P is None:
            return True
        judged_P = rung.judge_P - single.judge_P
        has = np.flatnonzero(np.isfinite(judged_P))
        return not len(has) or lower_bound(judged_P[has], cluster_P[has], self.agreement) > 0

    def _choose_by_agreement(self, matrix: RewardMatrix, fold_P: Rows, told: Told) -> LearnerChoice:
        """Hold out each reward in turn: the choice by the others must gain under it."""
        consensus = ConsensusLearner()
        gains_RP = hold_out_rewards(consensus.each, matrix, fold_P, told)
        bounds = {name: lower_bound(gain_P, matrix.cluster_P, self.agreement) for name, gain_P in gains_RP.items()}
        against = [name for name, bound in bounds.items() if bound <= 0]
        gains = {f"consensus, judged by {name}": float(gain_P.mean()) for name, gain_P in gains_RP.items()}
        if against:
            return LearnerChoice(SINGLE, f"no sure gain under {', '.join(against)} when held out", gains)
        return LearnerChoice(consensus, "gains under each reward when it is held out", gains)


@dataclass(frozen=True, slots=True)
class _Trial:
    learner: LearnerConfig
    reward_P: Floats
    judge_P: Floats | None

    @property
    def mean(self) -> float:
        """Mean held-out reward."""
        return float(self.reward_P.mean())


def _values(matrix: RewardMatrix, expected_PT: Floats) -> tuple[Floats, Floats | None]:
    choice_P = best_admitted(expected_PT, matrix)
    judge_P = None if matrix.judge_PT is None else chosen(matrix.judge_PT, choice_P)
    return chosen(matrix.rewards_PT, choice_P), judge_P
