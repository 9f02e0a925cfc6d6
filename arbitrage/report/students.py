"""Students compared: exact accuracy of each strategy's students, pooled over seeds, and paired differences.

Intervals resample clusters of questions and, separately for each strategy, seeds: the variation with another sample
of questions and another training. S − 1 of S seeds are drawn, as for clusters, so that intervals of few seeds are not
too narrow (Rao and Wu, 1988; see `arbitrage.statistics`). Three seeds still show little of the variance between
trainings.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from arbitrage.records import content_id
from arbitrage.statistics import Estimate, Floats, Ints, estimate, resample_ratios

Bools = NDArray[np.bool_]

SINGLE = "single-"
"""Prefix of the strategies that sample one teacher."""


@dataclass(frozen=True, slots=True)
class EvalSet:
    """The eval prompts: their languages, and cluster codes shared by translations of each other."""

    language_P: tuple[str, ...]
    cluster_P: Ints


@dataclass(frozen=True, slots=True)
class StudentResults:
    """All students of one training set, one for each seed.

    Attributes:
        strategy: strategy of their training set.
        budgets: budgets at which the strategy has this training set.
        rows, generations: size of the training set, and the completions that were sampled for it.
        right: share of its rows that are correct; None if unknown.
        right_PS: 1 if the student of a seed gives the correct response to an eval prompt, else 0.
    """

    strategy: str
    budgets: tuple[str, ...]
    rows: int
    generations: float
    right: float | None
    right_PS: Floats


@dataclass(frozen=True, slots=True)
class StudentPlace:
    """Eval results of the students of one training set: over all prompts, or in one language.

    Attributes:
        accuracy: mean over seeds of the share of eval prompts with a correct response.
        difference: to the students of the best single teacher, on the same prompts; None for these themselves.
    """

    accuracy: Estimate
    difference: Estimate | None


@dataclass(frozen=True, slots=True)
class StudentRow:
    """One row of the table. `by_seed` holds the accuracy of each student, in the order of the seeds."""

    strategy: str
    budgets: tuple[str, ...]
    rows: int
    generations: float
    right: float | None
    by_seed: tuple[float, ...]
    overall: StudentPlace
    languages: Mapping[str, StudentPlace]


@dataclass(frozen=True, slots=True)
class StudentFigures:
    """The table.

    Attributes:
        best_single: the teacher whose students are best on this same eval set, which overestimates the baseline.
        start: accuracy before any training; None if it was not measured.
    """

    num_questions: int
    num_clusters: int
    languages: tuple[str, ...]
    seeds: tuple[int, ...]
    best_single: str
    start: float | None
    rows: tuple[StudentRow, ...]

    def at(self, budget: str) -> list[StudentRow]:
        """Return the rows of a budget, best first."""
        return sorted((r for r in self.rows if budget in r.budgets), key=lambda r: -r.overall.accuracy.value)

    def to_json(self) -> str:
        """Return all figures as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def compare_students(
    eval_set: EvalSet, students: Sequence[StudentResults], seeds: Sequence[int], start_P: Floats | None = None
) -> StudentFigures:
    """Compare students on one eval set.

    Args:
        eval_set: the eval prompts.
        students: one entry for each training set; at least one of a single teacher, at every budget.
        seeds: names of the columns of `right_PS`.
        start_P: 1 if the base model gives the correct response.
    """
    means = [float(one.right_PS.mean()) for one in students]
    singles = [x for x, one in enumerate(students) if one.strategy.startswith(SINGLE)]
    best = max(singles, key=lambda x: means[x])
    everywhere = _places(eval_set, students, best, np.ones(len(eval_set.language_P), dtype=bool), "")
    tags = tuple(sorted(set(eval_set.language_P)))
    within = {
        tag: _places(eval_set, students, best, np.array([each == tag for each in eval_set.language_P]), tag)
        for tag in tags
    }
    rows = [
        StudentRow(
            strategy=one.strategy,
            budgets=one.budgets,
            rows=one.rows,
            generations=one.generations,
            right=one.right,
            by_seed=tuple(float(v) for v in one.right_PS.mean(axis=0)),
            overall=everywhere[x],
            languages={tag: within[tag][x] for tag in tags},
        )
        for x, one in enumerate(students)
    ]
    return StudentFigures(
        num_questions=len(eval_set.language_P),
        num_clusters=len(np.unique(eval_set.cluster_P)),
        languages=tags,
        seeds=tuple(seeds),
        best_single=students[best].strategy,
        start=None if start_P is None else float(start_P.mean()),
        rows=tuple(rows),
    )


def figures_from(text: bytes) -> StudentFigures:
    """Read the figures that `to_json` wrote."""
    return TypeAdapter(StudentFigures).validate_json(text)


def _places(
    eval_set: EvalSet, students: Sequence[StudentResults], best: int, inside_P: Bools, salt: str
) -> list[StudentPlace]:
    """Estimate all students on some of the prompts."""
    num_seeds = students[0].right_PS.shape[1]
    right_PX = np.hstack([one.right_PS[inside_P] for one in students])
    seed = int(content_id("students", salt)[:12], 16)
    drawn_RX = resample_ratios(right_PX, np.ones_like(right_PX), eval_set.cluster_P[inside_P], seed=seed)
    drawn_RLS = drawn_RX.reshape(len(drawn_RX), len(students), num_seeds)
    drawn_RL = _over_seeds(drawn_RLS, np.random.default_rng(seed + 1))
    values_L = right_PX.mean(axis=0).reshape(len(students), num_seeds).mean(axis=1)
    num_clusters = len(np.unique(eval_set.cluster_P[inside_P]))
    found = []
    for x, value in enumerate(values_L):
        gain = _estimate(value - values_L[best], drawn_RL[:, x] - drawn_RL[:, best], num_clusters, (-1.0, 1.0))
        found.append(
            StudentPlace(_estimate(value, drawn_RL[:, x], num_clusters, (0.0, 1.0)), None if x == best else gain)
        )
    return found


def _over_seeds(drawn_RLS: Floats, random: np.random.Generator) -> Floats:
    """Return the mean over S − 1 of S seeds, drawn again for every resample and training set."""
    num_seeds = drawn_RLS.shape[2]
    if num_seeds == 1:
        return drawn_RLS[:, :, 0]
    chosen_RLD = random.integers(0, num_seeds, size=(*drawn_RLS.shape[:2], num_seeds - 1))
    mean_RL: Floats = np.take_along_axis(drawn_RLS, chosen_RLD, axis=2).mean(axis=2)
    return mean_RL


def _estimate(value: float, draws_R: Floats, num_clusters: int, bounds: tuple[float, float]) -> Estimate:
    return estimate(value, draws_R, num_clusters, bounds) or Estimate(float(value), None)
