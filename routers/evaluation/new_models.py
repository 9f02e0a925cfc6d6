"""How much of a new model's gain is known from a few probe prompts: each teacher in turn is the new model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from arbitrage.candidates.matrix import Floats, RewardMatrix, best_admitted, chosen
from arbitrage.candidates.queries import Rows
from arbitrage.statistics import Estimate
from routers.evaluation.figures import ratio_estimates
from routers.learning.folds import deal_test_folds
from routers.learning.learned import LearnedLearner
from routers.learning.table import SingleLearner
from routers.new_models.new_model import add_new_model
from routers.new_models.probe_prompts import pick_probe_prompts

Told = Callable[[str], None]
SIZES: Sequence[int] = (16, 32, 64, 128, 256)
LEARNER = LearnedLearner()


@dataclass(frozen=True, slots=True)
class NewModelStudy:
    """Gains by new models: means over prompts, over models in that role, and over splits of the prompts into folds.

    Attributes:
        full_gain: mean reward that the pool gains by a new model whose rewards are known on all training prompts.
        kept: probe prompts → share of that gain.
        kept_by_deal: the same for each split: how noisy one split is.
        kept_by_means: the same if only the mean difference to the existing models is used.
        helpful: new models whose full gain is significantly above zero, largest first: only for them a share is
            meaningful.
        kept_of_helpful: probe prompts → share of their gain (sums); None without helpful models.
        gain_of_others: probe prompts → gain by one of the others, mean; below zero it is a loss.
        routing_gain: of the router that knows all rewards, above the best single teacher of the whole pool.
        routing_kept: probe prompts → share of `routing_gain` that the extended routers keep; at 0 prompts, what
            is left without the new model.
        full_by_teacher: the full gain by new model, most first.
        joined_by_teacher: probe prompts → new model → its gain from these alone.
    """

    full_gain: float
    kept: Mapping[int, float]
    kept_by_deal: Mapping[int, Sequence[float]]
    kept_by_means: Mapping[int, float]
    helpful: Sequence[str]
    kept_of_helpful: Mapping[int, Estimate | None]
    gain_of_others: Mapping[int, float]
    routing_gain: float
    routing_kept: Mapping[int, float]
    full_by_teacher: Mapping[str, Estimate | None]
    joined_by_teacher: Mapping[int, Mapping[str, float]]


def study_new_models(
    matrix: RewardMatrix,
    sizes: Sequence[int] = SIZES,
    num_folds: int = 5,
    seed: int = 0,
    num_deals: int = 1,
    told: Told = lambda _: None,
) -> NewModelStudy:
    """Train on all folds but one, let each teacher in turn join from a few prompts, and judge on that one.

    Args:
        matrix: rewards of all teachers.
        sizes: numbers of probe prompts; those larger than the training part are left out.
        num_folds: number of folds of one assignment.
        seed: seed of the first assignment.
        num_deals: number of assignments of prompts to folds, each with its own probe prompts: a new model's gain is
            small, and its share noisy.
        told: called with a line of progress.
    """
    most = len(matrix) - int(np.bincount(deal_test_folds(matrix.cluster_P, num_folds, seed)).max())
    sizes = [size for size in sizes if size <= most] or sizes[:1]
    deals = []
    for deal in range(num_deals):
        where = f"deal {deal + 1} of {num_deals}, " if num_deals > 1 else ""
        deals.append(_deal(matrix, sizes, num_folds, seed + deal, partial(_tell, told, where)))
    return _sum_up(matrix, deals, sizes, seed)


@dataclass(slots=True)
class NewModelGains:
    """Gain of each prompt over the pool without the new model, in the fold in which it is held out.

    Attributes:
        full_PT: by new model, where all its rewards are known; 0 where no other teacher is eligible.
        joined_PT: by probe prompts.
        by_means_PT: by probe prompts, by plain means alone.
        routing_P: of the whole pool's router above the best single teacher.
    """

    full_PT: Floats
    joined_PT: dict[int, Floats]
    by_means_PT: dict[int, Floats]
    routing_P: Floats


def _deal(matrix: RewardMatrix, sizes: Sequence[int], num_folds: int, seed: int, told: Told) -> NewModelGains:
    fold_P = deal_test_folds(matrix.cluster_P, num_folds, seed)
    shape = (len(matrix), len(matrix.teachers))
    joined_PT, by_means_PT = ({size: np.zeros(shape) for size in sizes} for _ in range(2))
    gains = NewModelGains(np.zeros(shape), joined_PT, by_means_PT, np.zeros(len(matrix)))
    num_folds = int(fold_P.max()) + 1
    for fold in range(num_folds):
        rows = np.flatnonzero(fold_P == fold)
        training, test = matrix.take(np.flatnonzero(fold_P != fold)), matrix.take(rows)
        full_PT = LEARNER.fit(training).predict(test.queries)
        single_PT = SingleLearner().fit(training).predict(test.queries)
        gains.routing_P[rows] = _earned(full_PT, test) - _earned(single_PT, test)
        for name in matrix.teachers:
            told(f"fold {fold + 1} of {num_folds}, new model {name}")
            _let_join(name, training, test, rows, full_PT, seed, gains)
    return gains


def _let_join(
    name: str,
    training: RewardMatrix,
    test: RewardMatrix,
    rows: Rows,
    full_PT: Floats,
    seed: int,
    gains: NewModelGains,
) -> None:
    """Record the gains of one new model; prompts for which no existing model is eligible are left out."""
    column = training.teachers.index(name)
    learn, judge = _open_without(training, column), _open_without(test, column)
    if not len(learn) or not len(judge):
        return
    training, test, rows, full_PT = training.take(learn), test.take(judge), rows[judge], full_PT[judge]
    existing = training.among([teacher for teacher in training.teachers if teacher != name])
    router = LEARNER.fit(existing)
    guess_PT = router.predict(test.queries)
    without_P = _earned(_with_column(guess_PT, column, None), test)
    gains.full_PT[rows, column] = _earned(full_PT, test) - without_P
    answered = np.flatnonzero(training.admitted_PT[:, column])
    if not len(answered):
        return
    tried = training.take(answered)
    mean_P = np.nanmean(np.where(np.delete(test.admitted_PT, column, axis=1), guess_PT, np.nan), axis=1)
    for size in gains.joined_PT:
        picked = pick_probe_prompts(tried.queries, tried.cluster_P, tried.prompt_ids, size, seed)
        probes, rewards_N = answered[picked], tried.rewards_PT[picked, column]
        extended = add_new_model(router, existing, name, probes, rewards_N)
        gains.joined_PT[size][rows, column] = _earned(extended.predictor.predict(test.queries), test) - without_P
        plain = float((rewards_N - np.nanmean(existing.rewards_PT[probes], axis=1)).mean())
        by_means_PT = _with_column(guess_PT, column, mean_P + plain)
        gains.by_means_PT[size][rows, column] = _earned(by_means_PT, test) - without_P


def _sum_up(matrix: RewardMatrix, deals: Sequence[NewModelGains], sizes: Sequence[int], seed: int) -> NewModelStudy:
    full_PT = _mean([deal.full_PT for deal in deals])
    joined_PT = {size: _mean([deal.joined_PT[size] for deal in deals]) for size in sizes}
    by_means_PT = {size: _mean([deal.by_means_PT[size] for deal in deals]) for size in sizes}
    total, routing = float(full_PT.mean()), float(_mean([deal.routing_P for deal in deals]).mean())
    gained = {size: float(gain_PT.mean()) for size, gain_PT in joined_PT.items()}
    full_T = ratio_estimates(full_PT, np.ones_like(full_PT), matrix.cluster_P, seed)
    is_helpful_T = np.array([_is_above_zero(full) for full in full_T])
    by_gain = np.argsort(-full_PT.mean(axis=0), kind="stable").tolist()
    helpful = [column for column in by_gain if is_helpful_T[column]]
    helped_P1 = full_PT[:, helpful].sum(axis=1, keepdims=True)

    def kept_of_helpful(gain_PT: Floats) -> Estimate | None:
        kept_P1 = gain_PT[:, helpful].sum(axis=1, keepdims=True)
        return ratio_estimates(kept_P1, helped_P1, matrix.cluster_P, seed)[0]

    return NewModelStudy(
        full_gain=total,
        kept=_shares(gained, total),
        kept_by_deal={
            size: [_share(float(deal.joined_PT[size].mean()), float(deal.full_PT.mean())) for deal in deals]
            for size in sizes
        },
        kept_by_means=_shares({size: float(gain_PT.mean()) for size, gain_PT in by_means_PT.items()}, total),
        helpful=[matrix.teachers[column] for column in helpful],
        kept_of_helpful={size: kept_of_helpful(gain_PT) for size, gain_PT in joined_PT.items()},
        gain_of_others={
            size: float(gain_PT[:, ~is_helpful_T].mean()) if len(helpful) < len(full_T) else 0.0
            for size, gain_PT in joined_PT.items()
        },
        routing_gain=routing,
        routing_kept=_shares({size: routing + gain - total for size, gain in {0: 0.0, **gained}.items()}, routing),
        full_by_teacher={matrix.teachers[column]: full_T[column] for column in by_gain},
        joined_by_teacher={
            size: dict(zip(matrix.teachers, gain_PT.mean(axis=0).tolist(), strict=True))
            for size, gain_PT in joined_PT.items()
        },
    )


def _open_without(matrix: RewardMatrix, column: int) -> Rows:
    """Return the prompts for which another teacher is eligible."""
    return np.flatnonzero(np.delete(matrix.admitted_PT, column, axis=1).any(axis=1))


def _is_above_zero(found: Estimate | None) -> bool:
    return found is not None and found.interval is not None and found.interval.low > 0


def _mean(deals: Sequence[Floats]) -> Floats:
    return np.asarray(np.mean(deals, axis=0))


def _shares(gains: Mapping[int, float], total: float) -> dict[int, float]:
    return {size: _share(gain, total) for size, gain in gains.items()}


def _tell(told: Told, where: str, said: str) -> None:
    told(where + said)


def _share(gain: float, total: float) -> float:
    return gain / total if total else 0.0


def _with_column(expected_PT: Floats, place: int, column_P: Floats | None) -> Floats:
    never = np.full(len(expected_PT), -np.inf)
    return np.insert(expected_PT, place, never if column_P is None else column_P, axis=1)


def _earned(expected_PT: Floats, test: RewardMatrix) -> Floats:
    return chosen(test.rewards_PT, best_admitted(expected_PT, test))
