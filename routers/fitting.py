"""Fit a router to outcomes, and note down how it came about."""

from collections import Counter
from typing import Any

from arbitrage.outcomes.matrix import OutcomeMatrix, teacher_means
from routers.learners import AnyLearner
from routers.learners.artifact import Artifact
from routers.learners.auto import AutoLearner
from routers.learners.learned import Learned
from routers.learners.learner import LearnerConfig
from routers.learners.reproducible import one_thread


def fit_router(learner: AnyLearner, matrix: OutcomeMatrix, num_dropped: int = 0) -> Artifact:
    """Fit on all prompts; equal matrices give equal routers.

    `about` says on what: prompts, languages, teachers' mean advantage over their fellows, and what was chosen.
    """
    with one_thread():
        chosen: LearnerConfig = learner
        about: dict[str, Any] = {"learner": learner.model_dump(mode="json")}
        if isinstance(learner, AutoLearner):
            choice = learner.choose(matrix)
            chosen = choice.learner
            gains = {name: round(gain, 6) for name, gain in sorted(choice.gains.items())}
            about |= {"chosen": chosen.label, "reason": choice.reason, "gains": gains}
        predictor = chosen.fit(matrix)
        means_T = teacher_means(matrix.rewards_PT)
    if isinstance(predictor, Learned):
        about["strengths"] = dict(sorted(predictor.prior.strengths.items())) | {"text_penalty": predictor.penalty}
    about |= {
        "num_prompts": len(matrix),
        "num_dropped": num_dropped,
        "num_clusters": len(set(matrix.cluster_P.tolist())),
        "languages": dict(sorted(Counter(matrix.queries.languages.tolist()).items())),
        "advantages": {t: round(float(mean), 6) for t, mean in zip(matrix.teachers, means_T, strict=True)},
        "rewards": sorted(matrix.rewards_by_name),
    }
    return Artifact(str(getattr(chosen, "kind", "")), matrix.teachers, predictor, about)
