"""Pair policies: which two answers are set against each other (METHODS §6).

A policy proposes (chosen, rejected) in order of preference; the guards of `arbitrage.selection.pairs` then drop what
would teach nothing or teach it wrongly. A policy never looks at a text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from arbitrage.config import Config
from arbitrage.records import content_id
from arbitrage.selection.contest import Contender


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pair as a policy would have it."""

    chosen: Contender
    rejected: Contender

    @property
    def gap(self) -> float:
        """Calibrated points by which the chosen answer is better; negative where the score disagrees."""
        return self.chosen.value - self.rejected.value


class BestVsWorst(Config):
    """The best answer against the worst, the second best against the second worst, and so on inwards."""

    kind: Literal["best_vs_worst"] = "best_vs_worst"

    def propose(self, ranked: Sequence[Contender]) -> Iterator[Proposal]:
        """Yield proposals from contenders ranked best first; no answer is used twice."""
        for i in range(len(ranked) // 2):
            yield Proposal(ranked[i], ranked[-1 - i])


class BestVsRandom(Config):
    """The best answer against the others in an order seeded by the prompt id: harder negatives than the worst."""

    kind: Literal["best_vs_random"] = "best_vs_random"
    seed: int = 0

    def propose(self, ranked: Sequence[Contender]) -> Iterator[Proposal]:
        """Yield proposals from contenders ranked best first."""
        for other in sorted(ranked[1:], key=self._lot):
            yield Proposal(ranked[0], other)

    def _lot(self, contender: Contender) -> str:
        candidate = contender.candidate
        return content_id("best_vs_random", self.seed, candidate.prompt_id, candidate.candidate_id)


class MaxGap(Config):
    """All pairs, the widest gap first: the widest that passes the guards wins, and answers may serve twice."""

    kind: Literal["max_gap"] = "max_gap"

    def propose(self, ranked: Sequence[Contender]) -> Iterator[Proposal]:
        """Yield proposals from contenders ranked best first."""
        yield from _widest_first(Proposal(a, b) for i, a in enumerate(ranked) for b in ranked[i + 1 :])


class StrongVsWeak(Config):
    """A strong teacher's best answer against a weaker teacher's best; where the score disagrees there is no pair.

    Attributes:
        teachers: names, strongest first; answers of others are not used.
    """

    kind: Literal["strong_vs_weak"] = "strong_vs_weak"
    teachers: tuple[str, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _no_teacher_twice(self) -> Self:
        if len(set(self.teachers)) < len(self.teachers):
            raise ValueError("a teacher is listed twice")
        return self

    def propose(self, ranked: Sequence[Contender]) -> Iterator[Proposal]:
        """Yield proposals from contenders ranked best first, the teachers farthest apart first."""
        best = {c.candidate.teacher: c for c in reversed(ranked)}
        present = [(rank, best[t]) for rank, t in enumerate(self.teachers) if t in best]
        pairs = [(weak[0] - strong[0], strong, weak) for i, strong in enumerate(present) for weak in present[i + 1 :]]
        for _, strong, weak in sorted(pairs, key=lambda pair: (-pair[0], pair[1][0])):
            yield Proposal(strong[1], weak[1])


class OnPolicy(Config):
    """Pairs with exactly one side from the student itself, the widest gap first; either side may win.

    Attributes:
        student: the name under which the student is registered as a teacher.
    """

    kind: Literal["on_policy"] = "on_policy"
    student: str

    def propose(self, ranked: Sequence[Contender]) -> Iterator[Proposal]:
        """Yield proposals from contenders ranked best first."""
        yield from _widest_first(
            Proposal(a, b)
            for i, a in enumerate(ranked)
            for b in ranked[i + 1 :]
            if (a.candidate.teacher == self.student) != (b.candidate.teacher == self.student)
        )


def _widest_first(proposals: Iterator[Proposal]) -> list[Proposal]:
    return sorted(
        proposals, key=lambda p: (-p.gap, p.chosen.candidate.candidate_id, p.rejected.candidate.candidate_id)
    )
