"""Arbitrage strategies [2408.14960] as queries over one candidate table: nothing is generated to compare them.

Every strategy is judged on the same recorded answers, and says how many generations it pays for each prompt, so that
like is compared with like (METHODS §1, §2). Sample 0 of a teacher is its greedy answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from arbitrage.candidates.arrays import Bools, CandidateArrays, Floats
from arbitrage.report.ranking import Ranked, Yield, best_of, rank

Budget = Literal["one", "matched", "teachers", "all"]
"""Answers paid for each prompt: one; m of one teacher or of m teachers; one of each teacher; every one recorded."""

NOT_ROUTED = frozenset({"all", "uniform", "single"})
"""Routers that are strategies of their own here, computed without their routes."""


@dataclass(frozen=True, slots=True)
class StrategyOutcome:
    """What one strategy yields.

    Attributes:
        name: as in METHODS §2, such as `single:aya-8b`.
        budget: which strategies it may be compared with.
        got: yield for each prompt.
        note: what a reader must know to read the number right.
        uses_hindsight: chosen by looking at the metric itself; no pipeline can do this.
    """

    name: str
    budget: Budget
    got: Yield
    note: str
    uses_hindsight: bool = False


@dataclass(frozen=True, slots=True)
class StrategyComparison:
    """All strategies on one table, and the two they are compared with."""

    outcomes: tuple[StrategyOutcome, ...]
    best_single: str  # the teacher
    matched_size: int | None  # m of the budget `matched`; None where too few samples or teachers

    def outcome(self, name: str, budget: Budget) -> StrategyOutcome | None:
        """Return a strategy by name and budget, or None."""
        return next((o for o in self.outcomes if (o.name, o.budget) == (name, budget)), None)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What m generations for each prompt buy."""

    num_drawn: int
    generations: float
    value: float


def compare_strategies(cube: CandidateArrays) -> StrategyComparison:
    """Compute every strategy that the table allows. The table needs at least one prompt and one teacher."""
    singles = [_single(cube, t) for t in range(len(cube.teachers))]
    best = _best(cube, [single.got for single in singles])
    size = _matched_size(cube)
    outcomes = [*singles, *_one_answer(cube, singles, best)]
    if cube.has_reward:
        if size is not None and size < len(cube.teachers):  # else the budget `teachers` says the same
            outcomes += _matched(cube, best, size)
        outcomes += _every_teacher(cube, best)
    if cube.num_samples > 1:
        outcomes += _everything(cube)
    return StrategyComparison(tuple(outcomes), cube.teachers[best], size)


def mean_of(cube: CandidateArrays, got: Yield) -> float:
    """Return the mean metric: over all prompts for an accuracy, over the answered ones for a score; else −inf."""
    answered = float(got.answered_P.sum())
    weight = float(cube.num_prompts) if cube.metric.kind == "accuracy" else answered
    return float(got.metric_P.sum()) / weight if weight and answered else float("-inf")


def budget_curves(cube: CandidateArrays, best_single: str) -> dict[str, tuple[CurvePoint, ...]]:
    """Return what m = 1, 2, … generations buy: from the best single teacher, and from m different teachers."""
    if not cube.has_reward:
        return {}
    best = cube.teachers.index(best_single)
    return {
        f"{best_single}, best of m samples": tuple(_curve(cube, _rank_samples(cube, best), cube.num_samples)),
        "best of m teachers, one sample each": tuple(_curve(cube, _rank_teachers(cube), len(cube.teachers))),
    }


# --- budget: one answer ------------------------------------------------------------------------------------


def _single(cube: CandidateArrays, teacher: int) -> StrategyOutcome:
    got_PT = np.zeros(cube.asked_PT.shape, dtype=bool)
    got_PT[:, teacher] = True
    return StrategyOutcome(
        f"single:{cube.teachers[teacher]}", "one", _first_answers(cube, got_PT), "always this teacher"
    )


def _one_answer(cube: CandidateArrays, singles: list[StrategyOutcome], best: int) -> Iterator[StrategyOutcome]:
    yield StrategyOutcome(
        "best single",
        "one",
        singles[best].got,
        f"{cube.teachers[best]}, picked on these same prompts: flatters the baseline, not the strategies",
    )
    yield _best_per_language(cube, singles)
    note = "expected value of asking one eligible teacher at random"
    yield StrategyOutcome("uniform", "one", _first_answers(cube, cube.asked_PT), note)
    for kind in sorted(set(cube.routes) - NOT_ROUTED):
        yield _routed(cube, kind)
    if cube.metric.kind == "accuracy":
        key_PT = cube.metric_PTS[:, :, 0]
        got = best_of(rank(key_PT, key_PT, cube.asked_PT), len(cube.teachers))
        note = "always the best teacher for the prompt: the ceiling of every router that asks one"
        yield StrategyOutcome("oracle router", "one", Yield(got.metric_P, got.answered_P, 1.0), note, True)


def _best_per_language(cube: CandidateArrays, singles: list[StrategyOutcome]) -> StrategyOutcome:
    chosen_PT = np.zeros(cube.asked_PT.shape, dtype=bool)
    for code in range(len(cube.languages)):
        inside_P = cube.language_P == code
        if inside_P.any():
            some = cube.only(inside_P)
            chosen_PT[inside_P, _best(some, [_some(single.got, inside_P) for single in singles])] = True
    note = "the best teacher of each language, picked on these same prompts"
    return StrategyOutcome("best per language", "one", _first_answers(cube, chosen_PT), note, True)


def _best(cube: CandidateArrays, yields: Sequence[Yield]) -> int:
    """Return the best of several; one that answers less than half as often as another is no match for it.

    Absent answers lower an accuracy by themselves; a mean score may be high because only easy prompts are answered.
    """
    coverage = [float(got.answered_P.sum()) for got in yields]
    values = [
        mean_of(cube, got) if 2 * covered >= max(coverage) else float("-inf")
        for got, covered in zip(yields, coverage, strict=True)
    ]
    return int(np.argmax(values))


def _routed(cube: CandidateArrays, kind: str) -> StrategyOutcome:
    route_PT = cube.routes[kind]
    width = int(route_PT.sum(axis=1).max(initial=0))
    if width <= 1 or not cube.has_reward:
        return StrategyOutcome(
            kind, "one", _first_answers(cube, route_PT), f"the teacher named by the router '{kind}'"
        )
    ranked = rank(cube.reward_PTS[:, :, 0], cube.metric_PTS[:, :, 0], route_PT)
    note = f"the best-scored of the up to {width} teachers named by the router '{kind}'"
    return StrategyOutcome(kind, "teachers", best_of(ranked, width), note)


def _first_answers(cube: CandidateArrays, chosen_PT: Bools) -> Yield:
    """Return the mean over the greedy answers of the chosen teachers, each equally likely to be asked."""
    share_PT = chosen_PT / np.maximum(chosen_PT.sum(axis=1, keepdims=True), 1)
    judged_PT = cube.answered_PTS[:, :, 0] & np.isfinite(cube.metric_PTS[:, :, 0])
    metric_PT = np.where(judged_PT, np.nan_to_num(cube.metric_PTS[:, :, 0]), 0.0)
    return Yield((share_PT * metric_PT).sum(axis=1), (share_PT * judged_PT).sum(axis=1), 1.0)


# --- larger budgets ----------------------------------------------------------------------------------------


def _matched_size(cube: CandidateArrays) -> int | None:
    size = min(cube.num_samples, int(np.median(cube.asked_PT.sum(axis=1))) if cube.num_prompts else 0)
    return size if size >= 2 else None


def _matched(cube: CandidateArrays, best: int, size: int) -> Iterator[StrategyOutcome]:
    teacher = cube.teachers[best]
    yield StrategyOutcome(
        "best single",
        "matched",
        best_of(_rank_samples(cube, best), size),
        f"{teacher}: the best-scored of {size} samples, expected over which {size} of {cube.num_samples}",
    )
    note = f"the best-scored of {size} teachers, one sample each, expected over which {size}"
    yield StrategyOutcome("reward", "matched", best_of(_rank_teachers(cube), size), note)


def _every_teacher(cube: CandidateArrays, best: int) -> Iterator[StrategyOutcome]:
    num_teachers = len(cube.teachers)
    if cube.num_samples >= num_teachers > 1:
        note = f"{cube.teachers[best]}: the best-scored of {num_teachers} samples"
        yield StrategyOutcome("best single", "teachers", best_of(_rank_samples(cube, best), num_teachers), note)
    yield StrategyOutcome(
        "reward",
        "teachers",
        best_of(_rank_teachers(cube), num_teachers),
        "the best-scored answer of all eligible teachers, one sample each",
    )
    if cube.num_samples == 1:
        yield _mix_all(cube, "teachers")


def _everything(cube: CandidateArrays) -> Iterator[StrategyOutcome]:
    key_PK, metric_PK, asked_PK = _flat(cube, cube.reward_PTS)
    if cube.has_reward:
        note = "the best-scored of all recorded answers"
        yield StrategyOutcome("reward", "all", best_of(rank(key_PK, metric_PK, asked_PK), key_PK.shape[1]), note)
    yield _mix_all(cube, "all")
    if cube.metric.kind == "accuracy":
        ranked = rank(metric_PK, metric_PK, asked_PK)
        note = "the best of all recorded answers by the metric itself: the ceiling of every selection"
        yield StrategyOutcome("oracle", "all", best_of(ranked, key_PK.shape[1]), note, True)


def _mix_all(cube: CandidateArrays, budget: Budget) -> StrategyOutcome:
    judged_PTS = cube.answered_PTS & np.isfinite(cube.metric_PTS)
    num_P = judged_PTS.sum(axis=(1, 2))
    total_P = np.where(judged_PTS, np.nan_to_num(cube.metric_PTS), 0.0).sum(axis=(1, 2))
    asked = float(cube.asked_PT.sum(axis=1).mean()) * cube.num_samples if cube.num_prompts else 0.0
    got = Yield(total_P / np.maximum(num_P, 1), (num_P > 0).astype(np.float64), asked)
    return StrategyOutcome("mix_all", budget, got, "every recorded answer kept, good and bad")


def _rank_samples(cube: CandidateArrays, teacher: int) -> Ranked:
    asked_PS = np.repeat(cube.asked_PT[:, teacher, None], cube.num_samples, axis=1)
    return rank(cube.reward_PTS[:, teacher], cube.metric_PTS[:, teacher], asked_PS)


def _rank_teachers(cube: CandidateArrays) -> Ranked:
    return rank(cube.reward_PTS[:, :, 0], cube.metric_PTS[:, :, 0], cube.asked_PT)


def _flat(cube: CandidateArrays, key_PTS: Floats) -> tuple[Floats, Floats, Bools]:
    asked_PTS = np.broadcast_to(cube.asked_PT[:, :, None], key_PTS.shape)
    shape = (cube.num_prompts, -1)
    return key_PTS.reshape(shape), cube.metric_PTS.reshape(shape), asked_PTS.reshape(shape)


def _curve(cube: CandidateArrays, ranked: Ranked, most: int) -> Iterator[CurvePoint]:
    for num_drawn in range(1, most + 1):
        got = best_of(ranked, num_drawn)
        value = mean_of(cube, got)
        if np.isfinite(value):
            yield CurvePoint(num_drawn, got.generations, value)


def _some(got: Yield, keep_P: Bools) -> Yield:
    return Yield(got.metric_P[keep_P], got.answered_P[keep_P], got.generations)
