"""Evaluate routers on a reward matrix: each fold is predicted by routers trained on the others."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from arbitrage.candidates.matrix import Floats, RewardMatrix, best_admitted
from arbitrage.candidates.queries import Rows
from arbitrage.processes.pools import end_with_parent
from arbitrage.statistics import Estimate
from routers.evaluation.figures import RouterFigures, mean_differences, measure
from routers.evaluation.policy import PolicyOutcome, follow, oracle_outcome, random_outcome
from routers.features.ngrams import count_ngrams
from routers.features.surface import measure_surface
from routers.learning.auto import SINGLE, AutoLearner, LearnerChoice
from routers.learning.blend import BlendLearner
from routers.learning.clusters import ClustersLearner
from routers.learning.crossval import Fits
from routers.learning.descriptor import DescriptorLearner
from routers.learning.folds import deal_test_folds
from routers.learning.knn import KnnLearner
from routers.learning.learned import LearnedLearner
from routers.learning.learner import LearnerConfig
from routers.learning.ridge import RidgeLearner
from routers.learning.soft_label import SoftLabelLearner
from routers.learning.table import TableLearner

Told = Callable[[str], None]
AUTO = AutoLearner()

BASELINES: Sequence[LearnerConfig] = (
    TableLearner(),
    TableLearner(by="language_task"),
    KnnLearner(k=10),
    KnnLearner(k=40),
    KnnLearner(k=100),
    ClustersLearner(),
    RidgeLearner(),
)
"""Baselines that are given the language."""
BLIND: Sequence[LearnerConfig] = (
    KnnLearner(k=40, with_tags=False),
    ClustersLearner(with_tags=False),
    RidgeLearner(with_tags=False),
)
"""The same baselines without the language, as public routers are."""
OURS: Sequence[LearnerConfig] = (
    TableLearner(shrinkage=10.0),
    SoftLabelLearner(),
    DescriptorLearner(),
    LearnedLearner(use_text=False),
    LearnedLearner(),
    BlendLearner(),
)


@dataclass(frozen=True, slots=True)
class AutoComparison:
    """`auto` and the best of the language-aware baselines, which is picked with hindsight."""

    baseline: str
    difference: Estimate | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        routers: figures, `auto` first, then by mean reward.
        choices: what `auto` chose in each fold, and why.
        expected: router → predicted reward of each teacher on held-out prompts, shape (P, T).
        held_out: rewards of the best single teacher, chosen on the training folds.
    """

    matrix: RewardMatrix
    routers: Sequence[RouterFigures]
    choices: Sequence[LearnerChoice]
    comparison: AutoComparison | None
    expected: Mapping[str, Floats]
    single: PolicyOutcome


@dataclass(frozen=True, slots=True)
class FoldResult:
    """Predicted rewards of one fold's prompts."""

    fold: int
    expected: Mapping[str, Floats]
    choice: LearnerChoice


def evaluate(
    matrix: RewardMatrix,
    *,
    num_folds: int = 5,
    seed: int = 0,
    learners: Sequence[LearnerConfig] = (*BASELINES, *BLIND, *OURS),
    more_baselines: Sequence[LearnerConfig] = (),
    auto: AutoLearner = AUTO,
    jobs: int = 1,
    told: Told = lambda _: None,
) -> Evaluation:
    """Cross-validate routers; clusters stay whole.

    Args:
        matrix: outcomes.
        num_folds: number of outer folds; `auto` cross-validates within each training part.
        seed: seed of folds and bootstrap.
        learners: routers to compare beside random, best single, `auto` and the oracle.
        more_baselines: further language-aware learners that `auto` is compared with.
        auto: options of the automatic choice.
        jobs: number of processes.
        told: called with a line of progress.
    """
    fold_P = deal_test_folds(matrix.cluster_P, num_folds, seed)
    everyone = (SINGLE, *learners, *more_baselines)
    results = _run_folds(matrix, fold_P, everyone, auto, jobs, told)
    expected = {name: np.zeros(matrix.rewards_PT.shape) for name in results[0].expected}
    for result in results:
        for name, part_PT in result.expected.items():
            expected[name][fold_P == result.fold] = part_PT
    outcomes = {name: follow(name, best_admitted(e_PT, matrix), matrix) for name, e_PT in expected.items()}
    single, oracle = outcomes[SINGLE.label], oracle_outcome(matrix)
    told("resampling clusters")
    shown = [outcomes.pop("auto"), random_outcome(matrix), *outcomes.values(), oracle]
    figures = measure(shown, single, oracle, matrix, seed)
    ranked = [figures[0], *sorted(figures[1:], key=lambda f: -f.mean_reward)]
    comparison = _compare(
        shown[0], [outcomes[b.label] for b in (*BASELINES, *more_baselines) if b.label in outcomes], matrix, seed
    )
    return Evaluation(matrix, ranked, [result.choice for result in results], comparison, expected, single)


def summarise_choices(choices: Sequence[LearnerChoice]) -> list[str]:
    """Summarise what `auto` chose, one line for each: 'learned (4 of 5 folds): above the best single teacher …'."""
    counted = Counter((choice.learner.label, choice.reason) for choice in choices)
    return [f"{name} ({count} of {len(choices)} folds): {why}" for (name, why), count in counted.most_common()]


def _run_folds(
    matrix: RewardMatrix,
    fold_P: Rows,
    learners: Sequence[LearnerConfig],
    auto: AutoLearner,
    jobs: int,
    told: Told,
) -> list[FoldResult]:
    matrix.queries.derive("ngrams", count_ngrams)
    matrix.queries.derive("surface", measure_surface)
    folds = range(int(fold_P.max()) + 1)
    if jobs == 1:
        return [_run_fold(matrix, fold_P, fold, learners, auto, told) for fold in folds]
    results: list[FoldResult] = []
    with ProcessPoolExecutor(
        min(jobs, len(folds)), mp_context=get_context("spawn"), initializer=end_with_parent
    ) as pool:
        tasks = [pool.submit(_run_fold, matrix, fold_P, fold, learners, auto, None) for fold in folds]
        for task in as_completed(tasks):
            results.append(task.result())
            told(f"{len(results)} of {len(folds)} folds done")
    return sorted(results, key=lambda result: result.fold)


def _run_fold(
    matrix: RewardMatrix,
    fold_P: Rows,
    fold: int,
    learners: Sequence[LearnerConfig],
    auto: AutoLearner,
    told: Told | None,
) -> FoldResult:
    from threadpoolctl import threadpool_limits

    def tell(what: str) -> None:
        if told:
            told(f"fold {fold + 1} of {int(fold_P.max()) + 1}: {what}")

    with threadpool_limits(1):  # threads of small products wait for each other more than they work
        held, rest = np.flatnonzero(fold_P == fold), np.flatnonzero(fold_P != fold)
        queries, training = matrix.queries.take(held), matrix.take(rest)
        fits = Fits(training, tell)
        expected = {learner.label: fits.of(learner).predict(queries) for learner in learners}
        choice = auto.choose(training, lambda what: tell(f"auto, {what}"))
        expected["auto"] = fits.of(choice.learner).predict(queries)
    return FoldResult(fold, expected, choice)


def _compare(
    auto: PolicyOutcome, baselines: Sequence[PolicyOutcome], matrix: RewardMatrix, seed: int
) -> AutoComparison | None:
    if not baselines:
        return None
    strongest = max(baselines, key=lambda outcome: outcome.reward_P.mean())
    difference = mean_differences([auto.reward_P], strongest.reward_P, matrix.cluster_P, seed)[0]
    return AutoComparison(strongest.name, difference)
