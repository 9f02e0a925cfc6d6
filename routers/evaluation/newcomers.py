"""How much of a new teacher's worth is had from a few of its answers: each teacher in turn is the newcomer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arbitrage.outcomes.matrix import Floats, OutcomeMatrix, best_admitted, chosen
from routers.calibration import pick_calibration
from routers.learners.folds import deal_folds
from routers.learners.learned import LearnedLearner
from routers.learners.single import SingleLearner
from routers.newcomer import admit

Told = Callable[[str], None]
SIZES: Sequence[int] = (16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class NewcomerStudy:
    """What newcomers bring, mean over all who took the part.

    Attributes:
        full_gain: mean reward that the pool gains by a newcomer whose outcomes are known on all training prompts.
        kept: calibration prompts → share of that gain.
        kept_by_means: the same where the newcomer's plain mean difference to the incumbents is believed.
        routing_gain: of the router that knows all outcomes, above the best single teacher of the whole pool.
        routing_kept: calibration prompts → share of `routing_gain` that the extended routers keep; at 0 prompts, what
            is left without the newcomer.
        full_by_teacher: the gain by newcomer.
    """

    full_gain: float
    kept: Mapping[int, float]
    kept_by_means: Mapping[int, float]
    routing_gain: float
    routing_kept: Mapping[int, float]
    full_by_teacher: Mapping[str, float]


def study_newcomers(
    matrix: OutcomeMatrix, sizes: Sequence[int] = SIZES, seed: int = 0, told: Told = lambda _: None
) -> NewcomerStudy:
    """Train on four fifths, let each teacher in turn join from a few prompts, and judge on the last fifth."""
    fold_P = deal_folds(matrix.cluster_P, 5, seed)
    training = matrix.take(np.flatnonzero(fold_P != 0))
    test = matrix.take(np.flatnonzero(fold_P == 0))
    learner = LearnedLearner()
    full_PT = learner.fit(training).predict(test.queries)
    full: dict[str, float] = {}
    joined: dict[int, float] = dict.fromkeys(sizes, 0.0)
    by_means: dict[int, float] = dict.fromkeys(sizes, 0.0)
    for name in matrix.teachers:
        told(f"newcomer {name}")
        others = [teacher for teacher in matrix.teachers if teacher != name]
        incumbents, column = training.among(others), training.teachers.index(name)
        router = learner.fit(incumbents)
        without = _worth(_with_column(router.predict(test.queries), column, None), test)
        full[name] = _worth(full_PT, test) - without
        for size in sizes:
            rows = pick_calibration(training.queries, training.cluster_P, training.prompt_ids, size)
            rewards_N = training.rewards_PT[rows, column]
            extended = admit(router, incumbents, name, rows, rewards_N)
            joined[size] += _worth(extended.predictor.predict(test.queries), test) - without
            plain = float((rewards_N - np.nanmean(incumbents.rewards_PT[rows], axis=1)).mean())
            guess_PT = router.predict(test.queries)
            level_P = guess_PT.mean(axis=1) + plain
            by_means[size] += _worth(_with_column(guess_PT, column, level_P), test) - without
    total, num = sum(full.values()), len(full)
    single_PT = SingleLearner().fit(training).predict(test.queries)
    routing = _worth(full_PT, test) - _worth(single_PT, test)
    kept = {size: routing + (gain - total) / num for size, gain in {0: 0.0, **joined}.items()}
    return NewcomerStudy(
        total / num, _shares(joined, total), _shares(by_means, total), routing, _shares(kept, routing), full
    )


def _shares(gains: Mapping[int, float], total: float) -> dict[int, float]:
    return {size: gain / total if total else 0.0 for size, gain in gains.items()}


def _with_column(expected_PT: Floats, place: int, column_P: Floats | None) -> Floats:
    never = np.full(len(expected_PT), -np.inf)
    return np.insert(expected_PT, place, never if column_P is None else column_P, axis=1)


def _worth(expected_PT: Floats, test: OutcomeMatrix) -> float:
    return float(chosen(test.rewards_PT, best_admitted(expected_PT, test)).mean())
