"""Arbitrage strategies [2408.14960] as queries over one candidate table: nothing is generated to compare them.

Every strategy is evaluated on the same recorded candidates, with its number of generations per prompt, so that
strategies are compared at equal cost (METHODS §1, §2). Sample 0 of a teacher is its greedy one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from arbitrage.candidates.arrays import Bools, CandidateArrays, Floats
from arbitrage.report.ranking import Ranked, Yield, best_of, rank

Budget = Literal["one", "matched", "teachers", "all"]
"""Candidates sampled per prompt: one; m of one teacher or of m teachers; one of each teacher; all recorded ones."""

NOT_ROUTED = frozenset({"all", "uniform", "single"})
"""Routers that are strategies here and are computed without their routes."""


@dataclass(frozen=True, slots=True)
class StrategyOutcome:
    """Result of one strategy.

    Attributes:
        name: as in METHODS §2, such as `single:aya-8b`.
        budget: which strategies it can be compared with.
        got: yield for each prompt.
        note: explanation of the figure.
        uses_hindsight: chosen by the metric itself, which no pipeline can do.
    """

    name: str
    budget: Budget
    got: Yield
    note: str
    uses_hindsight: bool = False


@dataclass(frozen=True, slots=True)
class StrategyComparison:
    """All strategies on one table, and the references that they are compared with."""

    outcomes: tuple[StrategyOutcome, ...]
    best_single: str  # the teacher
    matched_size: int | None  # m of the budget `matched`; None where too few samples or teachers

    def outcome(self, name: str, budget: Budget) -> StrategyOutcome | None:
        """Return a strategy by name and budget, or None."""
        return next((o for o in self.outcomes if (o.name, o.budget) == (name, budget)), None)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Result of m generations per prompt."""

    num_drawn: int
    generations: float
    value: float


def compare_strategies(arrays: CandidateArrays) -> StrategyComparison:
    """Compute every strategy that the table allows. The table needs at least one prompt and one teacher."""
    singles = [_single(arrays, t) for t in range(len(arrays.teachers))]
    best = _best(arrays, [single.got for single in singles])
    size = _matched_size(arrays)
    outcomes = [*singles, *_one_answer(arrays, singles, best)]
    if arrays.has_reward:
        if size is not None and size < len(arrays.teachers):  # otherwise the budget `teachers` shows the same
            outcomes += _matched(arrays, best, size)
        outcomes += _every_teacher(arrays, best)
    if arrays.num_samples > 1:
        outcomes += _everything(arrays)
    return StrategyComparison(tuple(outcomes), arrays.teachers[best], size)


def mean_of(arrays: CandidateArrays, got: Yield) -> float:
    """Return the mean metric: over all prompts for an accuracy, over those with a response for a score; else −inf."""
    answered = float(got.answered_P.sum())
    weight = float(arrays.num_prompts) if arrays.metric.kind == "accuracy" else answered
    return float(got.metric_P.sum()) / weight if weight and answered else float("-inf")


def budget_curves(arrays: CandidateArrays, best_single: str) -> dict[str, tuple[CurvePoint, ...]]:
    """Return the result of m = 1, 2, … generations: from the best single teacher, and from m different teachers."""
    if not arrays.has_reward:
        return {}
    best = arrays.teachers.index(best_single)
    return {
        f"{best_single}, best of m samples": tuple(_curve(arrays, _rank_samples(arrays, best), arrays.num_samples)),
        "best of m teachers, one sample each": tuple(_curve(arrays, _rank_teachers(arrays), len(arrays.teachers))),
    }


# --- budget: one answer ------------------------------------------------------------------------------------


def _single(arrays: CandidateArrays, teacher: int) -> StrategyOutcome:
    got_PT = np.zeros(arrays.asked_PT.shape, dtype=bool)
    got_PT[:, teacher] = True
    return StrategyOutcome(
        f"single:{arrays.teachers[teacher]}", "one", _first_answers(arrays, got_PT), "always this teacher"
    )


def _one_answer(arrays: CandidateArrays, singles: list[StrategyOutcome], best: int) -> Iterator[StrategyOutcome]:
    yield StrategyOutcome(
        "best single",
        "one",
        singles[best].got,
        f"{arrays.teachers[best]}, picked on these same prompts: overestimates the baseline, not the strategies",
    )
    yield _best_per_language(arrays, singles)
    note = "expected value of sampling one eligible teacher at random"
    yield StrategyOutcome("uniform", "one", _first_answers(arrays, arrays.asked_PT), note)
    for kind in sorted(set(arrays.routes) - NOT_ROUTED):
        yield _routed(arrays, kind)
    if arrays.metric.kind == "accuracy":
        key_PT = arrays.metric_PTS[:, :, 0]
        got = best_of(rank(key_PT, key_PT, arrays.asked_PT), len(arrays.teachers))
        note = "always the best teacher for the prompt: the upper bound of every router that samples one"
        yield StrategyOutcome("oracle router", "one", Yield(got.metric_P, got.answered_P, 1.0), note, True)


def _best_per_language(arrays: CandidateArrays, singles: list[StrategyOutcome]) -> StrategyOutcome:
    chosen_PT = np.zeros(arrays.asked_PT.shape, dtype=bool)
    for code in range(len(arrays.languages)):
        inside_P = arrays.language_P == code
        if inside_P.any():
            some = arrays.only(inside_P)
            chosen_PT[inside_P, _best(some, [_some(single.got, inside_P) for single in singles])] = True
    note = "the best teacher of each language, picked on these same prompts"
    return StrategyOutcome("best per language", "one", _first_answers(arrays, chosen_PT), note, True)


def _best(arrays: CandidateArrays, yields: Sequence[Yield]) -> int:
    """Return the best of several; by scores, one with less than half as many responses as another is left out.

    A mean score may be high because only easy prompts have responses; absent responses lower an accuracy anyway.
    """
    coverage = [float(got.answered_P.sum()) for got in yields]
    least = 0.0 if arrays.metric.kind == "accuracy" else max(coverage) / 2
    values = [
        mean_of(arrays, got) if covered >= least else float("-inf")
        for got, covered in zip(yields, coverage, strict=True)
    ]
    return int(np.argmax(values))


def _routed(arrays: CandidateArrays, kind: str) -> StrategyOutcome:
    route_PT = arrays.routes[kind]
    width = int(route_PT.sum(axis=1).max(initial=0))
    if width <= 1 or not arrays.has_reward:
        return StrategyOutcome(
            kind, "one", _first_answers(arrays, route_PT), f"the teacher named by the router '{kind}'"
        )
    ranked = rank(arrays.reward_PTS[:, :, 0], arrays.metric_PTS[:, :, 0], route_PT)
    note = f"the best-scored of the up to {width} teachers named by the router '{kind}'"
    return StrategyOutcome(kind, "teachers", best_of(ranked, width), note)


def _first_answers(arrays: CandidateArrays, chosen_PT: Bools) -> Yield:
    """Return the mean over the greedy candidates of the chosen teachers, each with equal probability."""
    share_PT = chosen_PT / np.maximum(chosen_PT.sum(axis=1, keepdims=True), 1)
    judged_PT = arrays.answered_PTS[:, :, 0] & np.isfinite(arrays.metric_PTS[:, :, 0])
    metric_PT = np.where(judged_PT, np.nan_to_num(arrays.metric_PTS[:, :, 0]), 0.0)
    return Yield((share_PT * metric_PT).sum(axis=1), (share_PT * judged_PT).sum(axis=1), 1.0)


# --- larger budgets ----------------------------------------------------------------------------------------


def _matched_size(arrays: CandidateArrays) -> int | None:
    size = min(arrays.num_samples, int(np.median(arrays.asked_PT.sum(axis=1))) if arrays.num_prompts else 0)
    return size if size >= 2 else None


def _matched(arrays: CandidateArrays, best: int, size: int) -> Iterator[StrategyOutcome]:
    teacher = arrays.teachers[best]
    yield StrategyOutcome(
        "best single",
        "matched",
        best_of(_rank_samples(arrays, best), size),
        f"{teacher}: the best-scored of {size} samples, expected over which {size} of {arrays.num_samples}",
    )
    note = f"the best-scored of {size} teachers, one sample each, expected over which {size}"
    yield StrategyOutcome("reward", "matched", best_of(_rank_teachers(arrays), size), note)


def _every_teacher(arrays: CandidateArrays, best: int) -> Iterator[StrategyOutcome]:
    num_teachers = len(arrays.teachers)
    if arrays.num_samples >= num_teachers > 1:
        note = f"{arrays.teachers[best]}: the best-scored of {num_teachers} samples"
        yield StrategyOutcome("best single", "teachers", best_of(_rank_samples(arrays, best), num_teachers), note)
    yield StrategyOutcome(
        "reward",
        "teachers",
        best_of(_rank_teachers(arrays), num_teachers),
        "the best-scored answer of all eligible teachers, one sample each",
    )
    if arrays.num_samples == 1:
        yield _mix_all(arrays, "teachers")


def _everything(arrays: CandidateArrays) -> Iterator[StrategyOutcome]:
    key_PK, metric_PK, asked_PK = _flat(arrays, arrays.reward_PTS)
    if arrays.has_reward:
        note = "the best-scored of all recorded answers"
        yield StrategyOutcome("reward", "all", best_of(rank(key_PK, metric_PK, asked_PK), key_PK.shape[1]), note)
    yield _mix_all(arrays, "all")
    if arrays.metric.kind == "accuracy":
        ranked = rank(metric_PK, metric_PK, asked_PK)
        note = "the best of all recorded answers by the metric itself: the upper bound of every selection"
        yield StrategyOutcome("oracle", "all", best_of(ranked, key_PK.shape[1]), note, True)


def _mix_all(arrays: CandidateArrays, budget: Budget) -> StrategyOutcome:
    judged_PTS = arrays.answered_PTS & np.isfinite(arrays.metric_PTS)
    num_P = judged_PTS.sum(axis=(1, 2))
    total_P = np.where(judged_PTS, np.nan_to_num(arrays.metric_PTS), 0.0).sum(axis=(1, 2))
    generations = float(arrays.asked_PT.sum(axis=1).mean()) * arrays.num_samples if arrays.num_prompts else 0.0
    got = Yield(total_P / np.maximum(num_P, 1), (num_P > 0).astype(np.float64), generations)
    return StrategyOutcome("mix_all", budget, got, "every recorded answer kept, good and bad")


def _rank_samples(arrays: CandidateArrays, teacher: int) -> Ranked:
    asked_PS = np.repeat(arrays.asked_PT[:, teacher, None], arrays.num_samples, axis=1)
    return rank(arrays.reward_PTS[:, teacher], arrays.metric_PTS[:, teacher], asked_PS)


def _rank_teachers(arrays: CandidateArrays) -> Ranked:
    return rank(arrays.reward_PTS[:, :, 0], arrays.metric_PTS[:, :, 0], arrays.asked_PT)


def _flat(arrays: CandidateArrays, key_PTS: Floats) -> tuple[Floats, Floats, Bools]:
    asked_PTS = np.broadcast_to(arrays.asked_PT[:, :, None], key_PTS.shape)
    shape = (arrays.num_prompts, -1)
    return key_PTS.reshape(shape), arrays.metric_PTS.reshape(shape), asked_PTS.reshape(shape)


def _curve(arrays: CandidateArrays, ranked: Ranked, most: int) -> Iterator[CurvePoint]:
    for num_drawn in range(1, most + 1):
        got = best_of(ranked, num_drawn)
        value = mean_of(arrays, got)
        if np.isfinite(value):
            yield CurvePoint(num_drawn, got.generations, value)


def _some(got: Yield, keep_P: Bools) -> Yield:
    return Yield(got.metric_P[keep_P], got.answered_P[keep_P], got.generations)
