"""What is believed of each teacher in a (language, task) after a log of outcomes: a mean and how unsure it is.

Beliefs are nested: a teacher's mean overall is the prior of its mean in a language, that the prior of its mean in a
language and task. Each prior is worth `weight` outcomes, so a cell nobody has tried is as good as its language.

All is normal, and the posterior exact (Gelman et al., Bayesian Data Analysis, 3rd ed., §5.4): whatever is known of a
cell is for its parent one draw, of variance noise²/weight + the variance of what is known; no outcome counts twice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

Cell = tuple[str, ...]
"""(teacher,), (teacher, language) or (teacher, language, task)."""


@dataclass(frozen=True, slots=True)
class Belief:
    """Mean reward of a teacher, and the variance of what is believed of it."""

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
        """Return where it belongs."""
        return (self.teacher, self.language, self.task)


@dataclass(frozen=True, slots=True)
class Told:
    """What outcomes say of a mean, without any prior: a precision, and that times the mean they speak for."""

    precision: float
    weighted: float

    def and_also(self, other: "Told") -> "Told":
        """Return what both say."""
        return Told(self.precision + other.precision, self.weighted + other.weighted)

    def but_for(self, other: "Told") -> "Told":
        """Return what is left without a part of it."""
        return Told(self.precision - other.precision, self.weighted - other.weighted)

    def of_parent(self, spread: float) -> "Told":
        """Return what this says of the parent, about which means lie with variance `spread`."""
        shrunken = 1.0 + spread * self.precision
        return Told(self.precision / shrunken, self.weighted / shrunken)


NOTHING: Final = Told(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Posterior:
    """What outcomes tell of cells, and what is believed without any.

    Attributes:
        noise: standard deviation of single rewards about their mean.
        weight: outcomes that a prior is worth.
        decay: weight of the newest outcome in the running mean of a cell; None for plain means.
        prior: teacher → mean expected before any outcome.
        told: cell → what all outcomes in it tell, those of its children as draws.
        rewards: cell of three parts → rewards, the oldest first; kept only with a decay.
    """

    noise: float
    weight: float
    decay: float | None
    prior: Mapping[str, float]
    default: float
    told: Mapping[Cell, Told] = field(default_factory=dict)
    rewards: Mapping[Cell, tuple[float, ...]] = field(default_factory=dict)

    @property
    def spread(self) -> float:
        """Variance of a cell's mean about its parent's."""
        return self.noise**2 / self.weight

    def believe(self, teacher: str, language: str, task: str) -> Belief:
        """Return what is believed of a teacher in a language and task.

        From the top down, each level hears what all cells but the next one on the way tell.
        """
        cell = (teacher, language, task)
        told = [self.told.get(cell[:depth], NOTHING) for depth in (1, 2, 3)]
        overall = self._narrowed(
            Belief(self.prior.get(teacher, self.default), 0.0), told[0].but_for(told[1].of_parent(self.spread))
        )
        found = self._narrowed(overall, told[1].but_for(told[2].of_parent(self.spread)))
        believed = self._narrowed(found, told[2])
        return believed if self.decay is None else Belief(self._running_mean(found.mean, cell), believed.variance)

    def _narrowed(self, parent: Belief, told: Told) -> Belief:
        """Return what is believed of a child, given its parent and what is told of it."""
        precision = 1.0 / (parent.variance + self.spread)
        total = precision + told.precision
        return Belief((precision * parent.mean + told.weighted) / total, 1.0 / total)

    def _running_mean(self, start: float, cell: Cell) -> float:
        mean, decay = start, self.decay or 0.0
        for reward in self.rewards.get(cell, ()):
            mean += decay * (reward - mean)
        return mean


def update(blank: Posterior, outcomes: Iterable[LoggedOutcome]) -> Posterior:
    """Return beliefs after outcomes, the oldest first."""
    rewards: dict[Cell, list[float]] = {}
    for outcome in outcomes:
        rewards.setdefault(outcome.cell, []).append(outcome.reward)
    leaves = {cell: Told(len(some) / blank.noise**2, sum(some) / blank.noise**2) for cell, some in rewards.items()}
    languages = _parents(leaves, blank.spread)
    told = leaves | languages | _parents(languages, blank.spread)
    kept = {} if blank.decay is None else {cell: tuple(some) for cell, some in rewards.items()}
    return Posterior(blank.noise, blank.weight, blank.decay, blank.prior, blank.default, told, kept)


def _parents(children: Mapping[Cell, Told], spread: float) -> dict[Cell, Told]:
    """Return what cells tell of the cells above them."""
    found: dict[Cell, Told] = {}
    for cell, told in children.items():
        found[cell[:-1]] = found.get(cell[:-1], NOTHING).and_also(told.of_parent(spread))
    return found
