"""Posterior of each teacher's mean reward by (language, task), given logged rewards.

The means are nested: a teacher's overall mean is the prior of its mean in a language, and that is the prior of its
mean in a language and task. Each prior has the weight of `weight` rewards, so a cell without data has the mean of its
language. All distributions are normal, and the posterior is exact (Gelman et al., Bayesian Data Analysis, 3rd ed.,
§5.4): for its parent, a cell counts as one draw of variance noise²/weight + the variance of the cell's mean. No
reward counts twice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

Cell = tuple[str, ...]
"""(teacher,), (teacher, language) or (teacher, language, task)."""


@dataclass(frozen=True, slots=True)
class Belief:
    """Posterior mean and variance of a teacher's mean reward."""

    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class LoggedOutcome:
    """One reward."""

    language: str
    task: str
    teacher: str
    reward: float

    @property
    def cell(self) -> Cell:
        """Return (teacher, language, task)."""
        return (self.teacher, self.language, self.task)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sufficient statistics of a mean, without a prior: the precision, and precision × mean."""

    precision: float
    weighted: float

    def plus(self, other: "Statistics") -> "Statistics":
        """Return the statistics of both together."""
        return Statistics(self.precision + other.precision, self.weighted + other.weighted)

    def minus(self, other: "Statistics") -> "Statistics":
        """Return the statistics without a part of them."""
        return Statistics(self.precision - other.precision, self.weighted - other.weighted)

    def for_parent(self, spread: float) -> "Statistics":
        """Return these statistics as a draw for the parent's mean; `spread`: the variance around that mean."""
        shrunken = 1.0 + spread * self.precision
        return Statistics(self.precision / shrunken, self.weighted / shrunken)


NOTHING: Final = Statistics(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Posterior:
    """Statistics of all cells, and the prior.

    Attributes:
        noise: standard deviation of single rewards around their mean.
        weight: weight of a prior, in rewards.
        decay: weight of the newest outcome in the running mean of a cell; None for plain means.
        prior: teacher → expected mean before any data.
        statistics: cell → statistics of all rewards in it; those of child cells count as draws.
        rewards: cell of three parts → rewards, the oldest first; kept only with a decay.
    """

    noise: float
    weight: float
    decay: float | None
    prior: Mapping[str, float]
    default: float
    statistics: Mapping[Cell, Statistics] = field(default_factory=dict)
    rewards: Mapping[Cell, tuple[float, ...]] = field(default_factory=dict)

    @property
    def spread(self) -> float:
        """Variance of a cell's mean around its parent's mean."""
        return self.noise**2 / self.weight

    def mean_of(self, teacher: str, language: str, task: str) -> Belief:
        """Return the posterior of a teacher's mean in a language and task.

        Levels are combined from the top down; each uses the statistics of all its cells except the next one on the
        path.
        """
        cell = (teacher, language, task)
        statistics = [self.statistics.get(cell[:depth], NOTHING) for depth in (1, 2, 3)]
        overall = self._narrowed(
            Belief(self.prior.get(teacher, self.default), 0.0),
            statistics[0].minus(statistics[1].for_parent(self.spread)),
        )
        found = self._narrowed(overall, statistics[1].minus(statistics[2].for_parent(self.spread)))
        believed = self._narrowed(found, statistics[2])
        return believed if self.decay is None else Belief(self._running_mean(found.mean, cell), believed.variance)

    def _narrowed(self, parent: Belief, statistics: Statistics) -> Belief:
        """Return the posterior of a child, given its parent and the child's statistics."""
        precision = 1.0 / (parent.variance + self.spread)
        total = precision + statistics.precision
        return Belief((precision * parent.mean + statistics.weighted) / total, 1.0 / total)

    def _running_mean(self, start: float, cell: Cell) -> float:
        mean, decay = start, self.decay or 0.0
        for reward in self.rewards.get(cell, ()):
            mean += decay * (reward - mean)
        return mean


def update(blank: Posterior, outcomes: Iterable[LoggedOutcome]) -> Posterior:
    """Return the posterior after logged rewards, the oldest first."""
    rewards: dict[Cell, list[float]] = {}
    for outcome in outcomes:
        rewards.setdefault(outcome.cell, []).append(outcome.reward)
    leaves = {
        cell: Statistics(len(some) / blank.noise**2, sum(some) / blank.noise**2) for cell, some in rewards.items()
    }
    languages = _parents(leaves, blank.spread)
    statistics = leaves | languages | _parents(languages, blank.spread)
    kept = {} if blank.decay is None else {cell: tuple(some) for cell, some in rewards.items()}
    return Posterior(blank.noise, blank.weight, blank.decay, blank.prior, blank.default, statistics, kept)


def _parents(children: Mapping[Cell, Statistics], spread: float) -> dict[Cell, Statistics]:
    """Return the statistics of cells for the cells above them."""
    found: dict[Cell, Statistics] = {}
    for cell, statistics in children.items():
        found[cell[:-1]] = found.get(cell[:-1], NOTHING).plus(statistics.for_parent(spread))
    return found
