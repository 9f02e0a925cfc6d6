"""Pair policies: which two candidates become chosen and rejected (METHODS §6).

A policy proposes (chosen, rejected) in order of preference; the filters of `arbitrage.selection.pairs` then drop
ties, small gaps, equal texts and length mismatches. A policy never reads a text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from arbitrage.candidates.ranked import RankedCandidate
from arbitrage.config import Config
from arbitrage.errors import ConfigError, closest, did_you_mean
from arbitrage.records import content_id


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pair proposed by a policy."""

    chosen: RankedCandidate
    rejected: RankedCandidate

    @property
    def gap(self) -> float:
        """Calibrated points by which the chosen candidate is better; negative if the score disagrees."""
        return self.chosen.value - self.rejected.value


class Policy(Config):
    """Base of the policies."""

    @property
    def named(self) -> tuple[str, ...]:
        """The teachers named by the policy, which must be in the pool."""
        return ()

    def require(self, pool: Sequence[str]) -> None:
        """Check that the policy works with the teachers of a pool.

        Raises:
            ConfigError: it names a teacher that is not in the pool.
        """
        for name in self.named:
            if name not in pool:
                hint = did_you_mean(closest(name, pool))
                raise ConfigError(f"pairs.policy: '{name}' is not one of {', '.join(pool)}{hint}")

    def propose(self, ranked: Sequence[RankedCandidate]) -> Iterator[Proposal]:
        """Yield proposals from candidates ranked best first, in order of preference."""
        raise TypeError(f"{type(self).__name__} proposes no pairs")


class BestVsWorst(Policy):
    """The best candidate against the worst, the second best against the second worst, and so on."""

    kind: Literal["best_vs_worst"] = "best_vs_worst"

    def propose(self, ranked: Sequence[RankedCandidate]) -> Iterator[Proposal]:
        """Yield proposals from candidates ranked best first; no candidate is used twice."""
        for i in range(len(ranked) // 2):
            yield Proposal(ranked[i], ranked[-1 - i])


class BestVsRandom(Policy):
    """The best candidate against the others, in an order by priority hash: less easy negatives than the worst.

    Attributes:
        seed: another seed gives another order.
    """

    kind: Literal["best_vs_random"] = "best_vs_random"
    seed: int = 0

    def propose(self, ranked: Sequence[RankedCandidate]) -> Iterator[Proposal]:
        """Yield proposals from candidates ranked best first."""
        for other in sorted(ranked[1:], key=self._priority):
            yield Proposal(ranked[0], other)

    def _priority(self, ranked: RankedCandidate) -> str:
        candidate = ranked.candidate
        return content_id("best_vs_random", self.seed, candidate.prompt_id, candidate.candidate_id)


class MaxGap(Policy):
    """All pairs, the largest gap first, so that the largest one that passes is kept; candidates may be reused."""

    kind: Literal["max_gap"] = "max_gap"

    def propose(self, ranked: Sequence[RankedCandidate]) -> Iterator[Proposal]:
        """Yield proposals from candidates ranked best first."""
        yield from _widest_first(Proposal(a, b) for i, a in enumerate(ranked) for b in ranked[i + 1 :])


class StrongVsWeak(Policy):
    """A strong teacher's best candidate against a weaker teacher's best; no pair if the score disagrees.

    Attributes:
        teachers: names, strongest first; candidates of others are not used.
    """

    kind: Literal["strong_vs_weak"] = "strong_vs_weak"
    teachers: tuple[str, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _no_teacher_twice(self) -> Self:
        if len(set(self.teachers)) < len(self.teachers):
            raise ValueError("a teacher is listed twice")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """The teachers it names."""
        return self.teachers

    def propose(self, ranked: Sequence[RankedCandidate]) -> Iterator[Proposal]:
        """Yield proposals from candidates ranked best first, the teachers farthest apart first."""
        best = {c.candidate.teacher: c for c in reversed(ranked)}
        present = [(rank, best[t]) for rank, t in enumerate(self.teachers) if t in best]
        pairs = [(weak[0] - strong[0], strong, weak) for i, strong in enumerate(present) for weak in present[i + 1 :]]
        for _, strong, weak in sorted(pairs, key=lambda pair: (-pair[0], pair[1][0])):
            yield Proposal(strong[1], weak[1])


class NativeVsTranslated(Policy):
    """A native candidate against a translated one, which reduces translationese.

    The best native candidate is paired with each translated one, the best of these first, because harder pairs teach
    more. Translated candidates are never chosen, native ones never rejected; there is no pair if the score disagrees.
    Pairs with both sides translated are harmful (METHODS §6) and cannot occur here.

    Attributes:
        translated: names of the teachers whose candidates are translations; all others are native.
    """

    kind: Literal["native_vs_translated"] = "native_vs_translated"
    translated: tuple[str, ...] = Field(min_length=1)

    @property
    def named(self) -> tuple[str, ...]:
        """The teachers it names."""
        return self.translated

    def require(self, pool: Sequence[str]) -> None:
        """Check also that the pool has a native teacher."""
        super().require(pool)
        if all(name in self.translated for name in pool):
            raise ConfigError("pairs.policy.translated: names the whole pool; at least one teacher must be native")

    def propose(self, ranked: Sequence[RankedCandidate]) -> Iterator[Proposal]:
        """Yield proposals from candidates ranked best first."""
        native = next((c for c in ranked if c.candidate.teacher not in self.translated), None)
        if native is not None:
            for other in ranked:
                if other.candidate.teacher in self.translated:
                    yield Proposal(native, other)


class OnPolicy(Policy):
    """Pairs with exactly one side from the student itself, the largest gap first; either side may win.

    Attributes:
        student: the student's name as a teacher.
    """

    kind: Literal["on_policy"] = "on_policy"
    student: str

    @property
    def named(self) -> tuple[str, ...]:
        """The teachers it names."""
        return (self.student,)

    def propose(self, ranked: Sequence[RankedCandidate]) -> Iterator[Proposal]:
        """Yield proposals from candidates ranked best first."""
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
