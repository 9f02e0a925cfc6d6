"""The candidates of one prompt, ranked by final score: what every selector chooses from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from arbitrage.candidates.table import FILTERED, CandidateShard, JoinedCandidate
from arbitrage.records import Candidate, Message, Prompt, Score, nfc

NothingUsable = Literal["no_candidate", "all_filtered", "all_unscored", "all_empty"]
"""Why a prompt has no candidate to select: there is none, all fail a filter, none has a score, all are blank."""


@dataclass(frozen=True)
class RankedCandidate:
    """A candidate and its scores: `value` is the final one, by `reward`."""

    candidate: Candidate
    value: float
    reward: str
    scores: tuple[Score, ...] = ()  # of single rewards and checks

    @cached_property
    def text(self) -> str:
        """The answer as answers are compared: NFC, without surrounding white space, its calls of tools included."""
        return nfc(self.candidate.shown).strip()

    @property
    def reply(self) -> tuple[Message, ...]:
        """The answer as the teacher wrote it, as chat turns."""
        return self.candidate.reply


@dataclass(frozen=True, slots=True)
class PromptCandidates:
    """A prompt, its usable candidates (best first; equal scores by candidate id), and why the others are not usable.

    Attributes:
        failed: the first check that each filtered candidate failed, by name.
    """

    prompt: Prompt
    candidates: tuple[RankedCandidate, ...]
    unusable: Counter[NothingUsable]
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def size(self) -> int:
        """Number of candidates, usable or not."""
        return len(self.candidates) + self.unusable.total()

    def why_nothing(self) -> NothingUsable:
        """Return why no candidate is usable: the reason closest to success, which is the one to fix."""
        for reason in ("all_empty", "all_filtered", "all_unscored"):
            if self.unusable[reason]:
                return reason
        return "no_candidate"

    def census(self) -> str:
        """Count the candidates by what became of them, such as '2 usable, 1 all_filtered (language-confusion 1)'."""
        parts = [f"{len(self.candidates)} usable", *(f"{n} {why}" for why, n in sorted(self.unusable.items()))]
        failed = ", ".join(f"{check} {n}" for check, n in sorted(self.failed.items()))
        return ", ".join(parts).replace("all_filtered", f"all_filtered ({failed})" if failed else "all_filtered")


def rank_candidates(shard: CandidateShard) -> list[PromptCandidates]:
    """Rank the candidates of each prompt, in order of prompt id. Raises like `CandidateShard.joined`."""
    return [_ranked(prompt, rows) for prompt, rows in shard.by_prompt()]


def _ranked(prompt: Prompt, rows: Sequence[JoinedCandidate]) -> PromptCandidates:
    candidates: list[RankedCandidate] = []
    unusable: Counter[NothingUsable] = Counter()
    failed: Counter[str] = Counter()
    for row in rows:
        candidate, final = row.candidate, row.final
        if candidate.error is not None or final is None or final.value is None:
            error = (final.error or "") if final else ""
            is_filtered = error.startswith(FILTERED)
            unusable["all_filtered" if is_filtered else "all_unscored"] += 1
            failed.update([error.removeprefix(FILTERED)] if is_filtered else [])
        elif not candidate.shown.strip():
            unusable["all_empty"] += 1
        else:
            candidates.append(RankedCandidate(candidate, final.value, final.reward, row.scores))
    candidates.sort(key=lambda c: (-c.value, c.candidate.candidate_id))
    return PromptCandidates(prompt, tuple(candidates), unusable, failed)
