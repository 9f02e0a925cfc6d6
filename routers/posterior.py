"""What is believed of each teacher in a (language, task) after a log of outcomes: a mean and how unsure it is.

Beliefs are nested: a teacher's mean overall is the prior of its mean in a language, that the prior of its mean in a
language and task. Each prior is worth `weight` outcomes, so a cell nobody has tried is as good as its language.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Cell = tuple[str, ...]
"""(teacher,), (teacher, language) or (teacher, language, task)."""


@dataclass(frozen=True, slots=True)
class Belief:
    """Mean reward of a teacher, and the variance of what is believed of it."""

    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class Outcome:
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
class Posterior:
    """Sums of outcomes by cell, and what is believed without any.

    Attributes:
        noise: standard deviation of single rewards about their mean.
        weight: outcomes that a prior is worth.
        decay: weight of the newest outcome in the running mean of a cell; None for plain means.
        prior: teacher → mean expected before any outcome.
        counts: cell → outcomes.
        sums: cell → sum of rewards.
        rewards: cell of three parts → rewards, the oldest first; kept only with a decay.
    """

    noise: float
    weight: float
    decay: float | None
    prior: Mapping[str, float]
    default: float
    counts: Mapping[Cell, int] = field(default_factory=dict)
    sums: Mapping[Cell, float] = field(default_factory=dict)
    rewards: Mapping[Cell, tuple[float, ...]] = field(default_factory=dict)

    def believe(self, teacher: str, language: str, task: str) -> Belief:
        """Return what is believed of a teacher in a language and task.

        The variance of a cell is that of its own mean, plus its parent's as far as the cell leans on it.
        """
        cell = (teacher, language, task)
        found = Belief(self.prior.get(teacher, self.default), 0.0)
        for depth in (1, 2, 3):
            found = self._narrowed(found, cell[:depth])
        return found

    def _narrowed(self, parent: Belief, cell: Cell) -> Belief:
        total = self.weight + self.counts.get(cell, 0)
        lean = self.weight / total
        variance = self.noise**2 / total + lean**2 * parent.variance
        mean = (self.weight * parent.mean + self.sums.get(cell, 0.0)) / total
        if self.decay is not None and len(cell) == 3:
            mean = parent.mean
            for reward in self.rewards.get(cell, ()):
                mean += self.decay * (reward - mean)
        return Belief(mean, variance)


def update(blank: Posterior, outcomes: Iterable[Outcome]) -> Posterior:
    """Return beliefs after outcomes, the oldest first."""
    counts: dict[Cell, int] = {}
    sums: dict[Cell, float] = {}
    rewards: dict[Cell, list[float]] = {}
    for outcome in outcomes:
        for depth in (1, 2, 3):
            cell = outcome.cell[:depth]
            counts[cell] = counts.get(cell, 0) + 1
            sums[cell] = sums.get(cell, 0.0) + outcome.reward
        if blank.decay is not None:
            rewards.setdefault(outcome.cell, []).append(outcome.reward)
    frozen = {cell: tuple(values) for cell, values in rewards.items()}
    return Posterior(blank.noise, blank.weight, blank.decay, blank.prior, blank.default, counts, sums, frozen)
