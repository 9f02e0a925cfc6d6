"""How much of a new teacher's worth is had from a few of its answers: each teacher in turn is the newcomer."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from arbitrage.outcomes.matrix import Floats, OutcomeMatrix, best_admitted, chosen
from arbitrage.outcomes.queries import Rows
from routers.calibration import pick_calibration
from routers.learners.folds import deal_test_folds
from routers.learners.learned import LearnedLearner
from routers.learners.single import SingleLearner
from routers.newcomer import admit

Told = Callable[[str], None]
SIZES: Sequence[int] = (16, 32, 64, 128, 256)
LEARNER = LearnedLearner()


@dataclass(frozen=True, slots=True)
class NewcomerStudy:
    """What newcomers bring, mean over all who took the part, and over deals of the prompts to folds.

    Attributes:
        full_gain: mean reward that the pool gains by a newcomer whose outcomes are known on all training prompts.
        kept: calibration prompts → share of that gain.
        kept_by_deal: the same, deal by deal: how far one of them can be trusted.
        kept_by_means: where the newcomer's plain mean difference to the incumbents is believed.
        routing_gain: of the router that knows all outcomes, above the best single teacher of the whole pool.
        routing_kept: calibration prompts → share of `routing_gain` that the extended routers keep; at 0 prompts, what
            is left without the newcomer.
        full_by_teacher: the gain by newcomer.
        joined_by_teacher: calibration prompts → newcomer → its gain from these alone.
    """

    full_gain: float
    kept: Mapping[int, float]
    kept_by_deal: Mapping[int, Sequence[float]]
    kept_by_means: Mapping[int, float]
    routing_gain: float
    routing_kept: Mapping[int, float]
    full_by_teacher: Mapping[str, float]
    joined_by_teacher: Mapping[int, Mapping[str, float]]


def study_newcomers(
    matrix: OutcomeMatrix,
    sizes: Sequence[int] = SIZES,
    num_folds: int = 5,
    seed: int = 0,
    num_deals: int = 1,
    told: Told = lambda _: None,
) -> NewcomerStudy:
    """Train on all folds but one, let each teacher in turn join from a few prompts, and judge on that one.

    Args:
        matrix: outcomes of all teachers.
        sizes: numbers of calibration prompts; those that the training part does not have are left out.
        num_folds: of a deal.
        seed: of the first deal.
        num_deals: how often prompts are dealt to folds, and calibration prompts picked anew: a newcomer's gain is
            small, and its share noisy.
        told: hears how far it is.
    """
    most = len(matrix) - int(np.bincount(deal_test_folds(matrix.cluster_P, num_folds, seed)).max())
    sizes = [size for size in sizes if size <= most] or sizes[:1]
    deals = []
    for deal in range(num_deals):
        where = f"deal {deal + 1} of {num_deals}, " if num_deals > 1 else ""
        deals.append(_deal(matrix, sizes, num_folds, seed + deal, partial(_tell, told, where)))
    total, routing = (statistics.fmean(getattr(d, name) for d in deals) for name in ("total", "routing"))
    joined = {size: _by_teacher([d.joined[size] for d in deals]) for size in sizes}
    gained = {size: statistics.fmean(deal.gained(size) for deal in deals) for size in sizes}
    by_means = {size: statistics.fmean(deal.by_means[size] for deal in deals) for size in sizes}
    return NewcomerStudy(
        full_gain=total,
        kept=_shares(gained, total),
        kept_by_deal={size: [_share(deal.gained(size), deal.total) for deal in deals] for size in sizes},
        kept_by_means=_shares(by_means, total),
        routing_gain=routing,
        routing_kept=_shares({size: routing + gain - total for size, gain in {0: 0.0, **gained}.items()}, routing),
        full_by_teacher=_by_teacher([d.full for d in deals]),
        joined_by_teacher=joined,
    )


@dataclass(slots=True)
class Gains:
    """What is gained above the pool without the newcomer, mean over folds.

    Attributes:
        full: by newcomer, where all its outcomes are known.
        joined: by calibration prompts and newcomer.
        by_means: by calibration prompts, mean over newcomers.
        routing: above the best single teacher.
    """

    full: dict[str, float]
    joined: dict[int, dict[str, float]]
    by_means: dict[int, float]
    routing: float = 0.0

    @property
    def total(self) -> float:
        """The full gain, mean over newcomers."""
        return statistics.fmean(self.full.values())

    def gained(self, size: int) -> float:
        """What is gained from so many calibration prompts, mean over newcomers."""
        return statistics.fmean(self.joined[size].values())


def _deal(matrix: OutcomeMatrix, sizes: Sequence[int], num_folds: int, seed: int, told: Told) -> Gains:
    fold_P = deal_test_folds(matrix.cluster_P, num_folds, seed)
    nobody = dict.fromkeys(matrix.teachers, 0.0)
    sums = Gains(dict(nobody), {size: dict(nobody) for size in sizes}, dict.fromkeys(sizes, 0.0))
    num_folds = int(fold_P.max()) + 1
    for fold in range(num_folds):
        training, test = (matrix.take(np.flatnonzero(rows)) for rows in (fold_P != fold, fold_P == fold))
        full_PT = LEARNER.fit(training).predict(test.queries)
        sums.routing += _worth(full_PT, test) - _worth(SingleLearner().fit(training).predict(test.queries), test)
        for name in matrix.teachers:
            told(f"fold {fold + 1} of {num_folds}, newcomer {name}")
            _let_join(name, training, test, full_PT, seed, sums)
    num = num_folds * len(matrix.teachers)
    return Gains(
        {name: gain / num_folds for name, gain in sums.full.items()},
        {size: {name: gain / num_folds for name, gain in gains.items()} for size, gains in sums.joined.items()},
        {size: gain / num for size, gain in sums.by_means.items()},
        sums.routing / num_folds,
    )


def _let_join(
    name: str, training: OutcomeMatrix, test: OutcomeMatrix, full_PT: Floats, seed: int, sums: Gains
) -> None:
    """Add up what one newcomer brings; prompts that no incumbent may answer say nothing of it."""
    column = training.teachers.index(name)
    learn, judge = _open_without(training, column), _open_without(test, column)
    if not len(learn) or not len(judge):
        return
    training, test, full_PT = training.take(learn), test.take(judge), full_PT[judge]
    incumbents = training.among([teacher for teacher in training.teachers if teacher != name])
    router = LEARNER.fit(incumbents)
    guess_PT = router.predict(test.queries)
    without = _worth(_with_column(guess_PT, column, None), test)
    sums.full[name] += _worth(full_PT, test) - without
    answered = np.flatnonzero(training.admitted_PT[:, column])
    if not len(answered):
        return
    tried = training.take(answered)
    mean_P = np.nanmean(np.where(np.delete(test.admitted_PT, column, axis=1), guess_PT, np.nan), axis=1)
    for size in sums.joined:
        picked = pick_calibration(tried.queries, tried.cluster_P, tried.prompt_ids, size, seed)
        rows, rewards_N = answered[picked], tried.rewards_PT[picked, column]
        extended = admit(router, incumbents, name, rows, rewards_N)
        sums.joined[size][name] += _worth(extended.predictor.predict(test.queries), test) - without
        plain = float((rewards_N - np.nanmean(incumbents.rewards_PT[rows], axis=1)).mean())
        sums.by_means[size] += _worth(_with_column(guess_PT, column, mean_P + plain), test) - without


def _open_without(matrix: OutcomeMatrix, column: int) -> Rows:
    """Return the prompts that somebody else than one teacher may answer."""
    return np.flatnonzero(np.delete(matrix.admitted_PT, column, axis=1).any(axis=1))


def _by_teacher(deals: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(deal[name] for deal in deals) for name in deals[0]}


def _shares(gains: Mapping[int, float], total: float) -> dict[int, float]:
    return {size: _share(gain, total) for size, gain in gains.items()}


def _tell(told: Told, where: str, said: str) -> None:
    told(where + said)


def _share(gain: float, total: float) -> float:
    return gain / total if total else 0.0


def _with_column(expected_PT: Floats, place: int, column_P: Floats | None) -> Floats:
    never = np.full(len(expected_PT), -np.inf)
    return np.insert(expected_PT, place, never if column_P is None else column_P, axis=1)


def _worth(expected_PT: Floats, test: OutcomeMatrix) -> float:
    return float(chosen(test.rewards_PT, best_admitted(expected_PT, test)).mean())
