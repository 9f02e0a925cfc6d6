"""Choose among routers by cross-validation, and leave the best single teacher only for a gain that is likely real.

Held against the best single teacher: the better of `learned` and `blend`, and then the best of the others. Each must
be above by more than chance (a one-sided bound of the paired difference, resampled by cluster). Where nothing is, yet
`blend` is above on average, it is followed with more caution, so that the best single teacher is left only for a
large and steady advantage: choosing all or nothing on weak evidence loses more than either. Where not even that, the
best single teacher it is. With a second judge the gain must hold under it as well; with several rewards, under each
of them when it is held out (METHODS §3 and §5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from arbitrage.outcomes.matrix import OutcomeMatrix, best_admitted, chosen
from arbitrage.outcomes.queries import Rows
from arbitrage.statistics import lower_bound
from routers.learners.agreement import hold_out_rewards
from routers.learners.blend import BlendLearner
from routers.learners.clusters import ClustersLearner
from routers.learners.consensus import ConsensusLearner
from routers.learners.crossval import Told, predict_held_out, silent
from routers.learners.folds import deal_folds
from routers.learners.knn import KnnLearner
from routers.learners.learned import LearnedLearner
from routers.learners.learner import Floats, LearnerConfig, Predictor
from routers.learners.ridge import RidgeLearner
from routers.learners.single import SingleLearner
from routers.learners.table import TableLearner

SINGLE = SingleLearner()
CAUTIOUS = BlendLearner(caution=1.5)
OURS: tuple[LearnerConfig, ...] = (LearnedLearner(), BlendLearner())
OTHERS: tuple[LearnerConfig, ...] = (TableLearner(shrinkage=10.0), RidgeLearner(), KnnLearner(), ClustersLearner())


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and why.

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
        folds: of the cross-validation.
        confidence: one-sided, that a router is above the one held so far.
        agreement: one-sided, that it gains under the second judge too, or under each of several rewards when that is
            held out: less is asked of each, for all must agree.
        heeds_judge: whether the matrix's second judge has a say.
        seed: of the folds.
    """

    kind: Literal["auto"] = "auto"
    folds: int = Field(default=4, ge=2)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    agreement: float = Field(default=0.8, gt=0.5, lt=1.0)
    heeds_judge: bool = True
    seed: int = 0

    def fit(self, matrix: OutcomeMatrix) -> Predictor:
        """Choose, and fit the choice on all prompts."""
        return self.choose(matrix).learner.fit(matrix)

    def choose(self, matrix: OutcomeMatrix, told: Told = silent) -> Choice:
        """Compare the routers on held-out folds of the matrix."""
        fold_P = deal_folds(matrix.cluster_P, self.folds, self.seed)
        if not fold_P.any():
            return Choice(SINGLE, "all prompts are of one group: none could be held out", {})
        if matrix.rewards_by_name:
            return self._choose_by_agreement(matrix, fold_P, told)
        learners = (SINGLE, *OURS, *OTHERS)
        expected = predict_held_out(learners, matrix, fold_P, told)
        trials = [_Trial(learner, *_values(matrix, e_PT)) for learner, e_PT in zip(learners, expected, strict=True)]
        learner, reason = self._climb(trials, matrix.cluster_P)
        gains = {t.learner.label: float((t.reward_P - trials[0].reward_P).mean()) for t in trials}
        return Choice(learner, reason, gains)

    def _climb(self, trials: "Sequence[_Trial]", cluster_P: Rows) -> tuple[LearnerConfig, str]:
        single, ours = trials[0], max(trials[1:3], key=lambda trial: trial.reward_P.mean())
        others = max(trials[3:], key=lambda trial: trial.reward_P.mean())
        held = single
        for rung in (ours, others):
            if self._is_above(rung, held, single, cluster_P, self.confidence):
                held = rung
        if held is not single:
            return (
                held.learner,
                f"above the best single teacher by more than chance ({self.confidence:.0%}, one-sided)",
            )
        if self._is_above(trials[2], single, single, cluster_P, 0.5):
            return CAUTIOUS, "nothing is surely above the best single teacher: left only for large advantages"
        return SINGLE, "nothing is above the best single teacher"

    def _is_above(self, rung: "_Trial", held: "_Trial", single: "_Trial", cluster_P: Rows, confidence: float) -> bool:
        if lower_bound(rung.reward_P - held.reward_P, cluster_P, confidence) <= 0:
            return False
        if not self.heeds_judge or rung.judge_P is None or single.judge_P is None:
            return True
        judged_P = rung.judge_P - single.judge_P
        has = np.flatnonzero(np.isfinite(judged_P))
        return not len(has) or lower_bound(judged_P[has], cluster_P[has], self.agreement) > 0

    def _choose_by_agreement(self, matrix: OutcomeMatrix, fold_P: Rows, told: Told) -> Choice:
        """Hold each reward out in turn: what is chosen by the others must gain under it."""
        consensus = ConsensusLearner()
        gains_RP = hold_out_rewards(consensus.each, matrix, fold_P, told)
        bounds = {name: lower_bound(gain_P, matrix.cluster_P, self.agreement) for name, gain_P in gains_RP.items()}
        against = [name for name, bound in bounds.items() if bound <= 0]
        gains = {f"consensus, judged by {name}": float(gain_P.mean()) for name, gain_P in gains_RP.items()}
        if against:
            return Choice(SINGLE, f"no sure gain under {', '.join(against)} when held out", gains)
        return Choice(consensus, "gains under each reward when it is held out", gains)


@dataclass(frozen=True, slots=True)
class _Trial:
    learner: LearnerConfig
    reward_P: Floats
    judge_P: Floats | None


def _values(matrix: OutcomeMatrix, expected_PT: Floats) -> tuple[Floats, Floats | None]:
    choice_P = best_admitted(expected_PT, matrix)
    judge_P = None if matrix.judge_PT is None else chosen(matrix.judge_PT, choice_P)
    return chosen(matrix.rewards_PT, choice_P), judge_P
