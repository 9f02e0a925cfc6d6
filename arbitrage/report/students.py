"""Students compared: exact accuracy of each strategy's students, pooled over seeds, and how far they beat the rest.

Intervals draw clusters of questions and, for each strategy by itself, seeds: what another sample of questions and
another training would have given. Of S seeds S − 1 are drawn, as of clusters, so that few seeds do not look too sure
(Rao and Wu, 1988; see `arbitrage.statistics`). Three seeds still say little about the spread between trainings.
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
"""What the names of strategies that ask one teacher begin with."""


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """The questions: their languages, and numbers shared by those that translate each other."""

    language_P: tuple[str, ...]
    cluster_P: Ints


@dataclass(frozen=True, slots=True)
class StudentResults:
    """All students that had the same lesson, one for each seed.

    Attributes:
        strategy: whose data they learned from.
        budgets: at which this is what the strategy could afford.
        rows, generations: what they learned from, and the answers that it took to get it.
        right: part of their rows that were right; None where nobody knows.
        right_PS: 1 where the student of a seed answers a question right, 0 where wrong or not at all.
    """

    strategy: str
    budgets: tuple[str, ...]
    rows: int
    generations: float
    right: float | None
    right_PS: Floats


@dataclass(frozen=True, slots=True)
class StudentPlace:
    """What the students of one lesson reach: over everything, or in a language.

    Attributes:
        accuracy: mean over seeds of the part of the questions answered right.
        difference: to the students of the best single teacher, on the same questions; None for these themselves.
    """

    accuracy: Estimate
    difference: Estimate | None


@dataclass(frozen=True, slots=True)
class StudentRow:
    """One line of the table. `by_seed` holds the accuracy of each student, in the order of the seeds."""

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
        best_single: the teacher whose students do best, on these very questions: this flatters the baseline.
        start: accuracy before any lesson; None where it was not measured.
    """

    num_questions: int
    num_clusters: int
    languages: tuple[str, ...]
    seeds: tuple[int, ...]
    best_single: str
    start: float | None
    rows: tuple[StudentRow, ...]

    def at(self, budget: str) -> list[StudentRow]:
        """Return the lines of a budget, best first."""
        return sorted((r for r in self.rows if budget in r.budgets), key=lambda r: -r.overall.accuracy.value)

    def to_json(self) -> str:
        """Return all figures as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def compare_students(
    exam: EvaluationSet, students: Sequence[StudentResults], seeds: Sequence[int], start_P: Floats | None = None
) -> StudentFigures:
    """Compare students that took the same exam.

    Args:
        exam: the questions.
        students: one entry for each lesson; at least one of a single teacher, at every budget.
        seeds: names of the columns of `right_PS`.
        start_P: 1 where the student answered right before its lesson.
    """
    means = [float(one.right_PS.mean()) for one in students]
    singles = [x for x, one in enumerate(students) if one.strategy.startswith(SINGLE)]
    best = max(singles, key=lambda x: means[x])
    everywhere = _places(exam, students, best, np.ones(len(exam.language_P), dtype=bool), "")
    tags = tuple(sorted(set(exam.language_P)))
    within = {
        tag: _places(exam, students, best, np.array([each == tag for each in exam.language_P]), tag) for tag in tags
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
        num_questions=len(exam.language_P),
        num_clusters=len(np.unique(exam.cluster_P)),
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
    exam: EvaluationSet, students: Sequence[StudentResults], best: int, inside_P: Bools, salt: str
) -> list[StudentPlace]:
    """Put numbers to all students on some of the questions."""
    num_seeds = students[0].right_PS.shape[1]
    right_PX = np.hstack([one.right_PS[inside_P] for one in students])
    seed = int(content_id("students", salt)[:12], 16)
    drawn_RX = resample_ratios(right_PX, np.ones_like(right_PX), exam.cluster_P[inside_P], seed=seed)
    drawn_RLS = drawn_RX.reshape(len(drawn_RX), len(students), num_seeds)
    drawn_RL = _over_seeds(drawn_RLS, np.random.default_rng(seed + 1))
    values_L = right_PX.mean(axis=0).reshape(len(students), num_seeds).mean(axis=1)
    num_clusters = len(np.unique(exam.cluster_P[inside_P]))
    found = []
    for x, value in enumerate(values_L):
        gain = _estimate(value - values_L[best], drawn_RL[:, x] - drawn_RL[:, best], num_clusters, (-1.0, 1.0))
        found.append(
            StudentPlace(_estimate(value, drawn_RL[:, x], num_clusters, (0.0, 1.0)), None if x == best else gain)
        )
    return found


def _over_seeds(drawn_RLS: Floats, random: np.random.Generator) -> Floats:
    """Return the mean over S − 1 of S seeds, drawn anew for every resample and lesson."""
    num_seeds = drawn_RLS.shape[2]
    if num_seeds == 1:
        return drawn_RLS[:, :, 0]
    chosen_RLD = random.integers(0, num_seeds, size=(*drawn_RLS.shape[:2], num_seeds - 1))
    mean_RL: Floats = np.take_along_axis(drawn_RLS, chosen_RLD, axis=2).mean(axis=2)
    return mean_RL


def _estimate(value: float, draws_R: Floats, num_clusters: int, bounds: tuple[float, float]) -> Estimate:
    return estimate(value, draws_R, num_clusters, bounds) or Estimate(float(value), None)
