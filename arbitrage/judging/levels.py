"""Levels of reviewers, so that a candidate's score does not depend on which of its reviews are readable.

An additive model over all candidates that two or more members have scored: score = candidate + level + noise. The
candidates' effects are free, so that a reviewer of better candidates does not get a higher level.
Levels are in points and 0 on average over the reviewers: a candidate with all its reviews keeps their plain mean.

    all languages' level = shrink(reviewer, 0)        language's level = shrink(language, all languages' level)

with the same weight as in `arbitrage.rewards.shrinkage`: n / (n + k) for n scores beside another reviewer's. An
adjudicator's level is estimated from the candidates with too few reviews, not from the contested ones, where it is
meant to differ.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import ClassVar, Literal

import numpy as np

from arbitrage.contracts.steps import PureCorpusStep
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.judging.reviewed import Reviewed, reviewed, settlement
from arbitrage.languages import UNKNOWN
from arbitrage.records import Candidate, ReviewerLevel
from arbitrage.statistics import Floats
from arbitrage.tables import to_table

SHRINKAGE = 20.0
"""k: number of shared scores at which a level is shrunk by half."""

DIGITS = 4
"""Decimals of a level: levels that cancel each other give exactly 0, so that equal reviews give equal scores."""

Member = tuple[Literal["reviewer", "adjudicator"], str]


class LevelsStep(PureCorpusStep):
    """Estimates the levels of a committee's members."""

    step_kind: ClassVar[str] = "reviewer_levels"

    max_spread: float | None

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Return rows sorted by member and language; those of 'und' are of all languages, for unseen ones."""
        groups: defaultdict[str, defaultdict[tuple[Member, ...], Together]] = defaultdict(
            lambda: defaultdict(Together)
        )
        for shard in shards:
            settled = {reply.prompt_id: reply for reply in shard.records("settled", Candidate)}
            for each in reviewed(shard):
                scores = self._scores(each, settled)
                if len(scores) > 1:
                    members = tuple(sorted(scores))
                    groups[each.item.prompt.language][members].add([scores[member] for member in members])
        return Output(to_table(levels_of(groups), ReviewerLevel))

    def _scores(self, each: Reviewed, settled: Mapping[str, Candidate]) -> dict[Member, float]:
        found: dict[Member, float] = {("reviewer", r.reviewer): r.score for r in each.reviews if r.score is not None}
        final = settlement(each, settled) if self.max_spread is not None and each.is_short else None
        if final is not None and final.score is not None:
            found["adjudicator", final.reviewer] = final.score
        return found


@dataclass(slots=True)
class Together:
    """Candidates of one language scored by the same members: their number, and the sum of each member's scores."""

    num: int = 0
    sums: list[float] = field(default_factory=list)

    def add(self, scores: Sequence[float]) -> None:
        """Add one candidate's scores, in the order of the members."""
        self.num += 1
        self.sums = [a + b for a, b in zip(self.sums or [0.0] * len(scores), scores, strict=True)]


Groups = Mapping[tuple[Member, ...], Together]


def levels_of(groups: Mapping[str, Groups]) -> list[ReviewerLevel]:
    """Return the level of each member, over all languages and in each of them.

    Args:
        groups: language → members → their scores of the same candidates.
    """
    members = sorted({member for found in groups.values() for together in found for member in together})
    everything = _sums(groups.values(), members)
    overall = _fitted(everything, members, np.zeros(len(members)))
    rows = _rows(UNKNOWN, everything, members, overall)
    for language in sorted(set(groups) - {UNKNOWN}):
        own = _sums([groups[language]], members)
        rows += _rows(language, own, members, _fitted(own, members, overall))
    return sorted(rows, key=lambda row: (row.role, row.reviewer, row.language))


@dataclass(frozen=True, slots=True)
class _Sums:
    """The normal equations of the additive model, without the candidates' effects, over M members."""

    num_M: Floats
    matrix_MM: Floats
    right_M: Floats


def _sums(found: Iterable[Groups], members: Sequence[Member]) -> _Sums:
    place = {member: i for i, member in enumerate(members)}
    num_M, right_M = np.zeros(len(members)), np.zeros(len(members))
    matrix_MM = np.zeros((len(members), len(members)))
    for group in found:
        for who, together in sorted(group.items()):
            at = [place[member] for member in who]
            sums = np.array(together.sums)
            num_M[at] += together.num
            right_M[at] += sums - sums.mean()
            matrix_MM[np.ix_(at, at)] += together.num * (np.eye(len(at)) - 1.0 / len(at))
    return _Sums(num_M, matrix_MM, right_M)


def _fitted(sums: _Sums, members: Sequence[Member], above_M: Floats) -> Floats:
    """Return levels shrunk towards those above, 0 on average over the reviewers."""
    leaning = sums.matrix_MM + SHRINKAGE * np.eye(len(members))
    found_M: Floats = above_M + np.linalg.solve(leaning, sums.right_M - sums.matrix_MM @ above_M)
    is_reviewer = [role == "reviewer" for role, _ in members]
    return found_M - found_M[is_reviewer].mean() if any(is_reviewer) else found_M


def _rows(language: str, sums: _Sums, members: Sequence[Member], level_M: Floats) -> list[ReviewerLevel]:
    return [
        ReviewerLevel(
            role=role, reviewer=name, language=language, num_scores=int(num), level=round(float(level), DIGITS)
        )
        for (role, name), num, level in zip(members, sums.num_M, level_M, strict=True)
    ]


class LevelTable:
    """The levels of a run, by member and language."""

    def __init__(self, rows: Iterable[ReviewerLevel] = ()) -> None:
        self._levels: dict[tuple[Member, str], float] = {
            ((row.role, row.reviewer), row.language): row.level for row in rows
        }

    def mean(self, members: Sequence[Member], language: str) -> float:
        """Return the mean level of members, in points; 0 for members without an estimate."""
        return round(fmean(self._level(member, language) for member in members), DIGITS - 1)

    def _level(self, member: Member, language: str) -> float:
        found = self._levels.get((member, language))
        return found if found is not None else self._levels.get((member, UNKNOWN), 0.0)
