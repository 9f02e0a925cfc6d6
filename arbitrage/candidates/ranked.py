"""The candidates of one prompt, ranked by final score: what every selector chooses from."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from arbitrage.contracts.workers import Inputs
from arbitrage.errors import DataError
from arbitrage.records import Candidate, Message, Prompt, Score, nfc

NothingUsable = Literal["no_candidate", "all_filtered", "all_unscored", "all_empty"]
"""Why a prompt has no candidate to select: there is none, all fail a filter, none has a score, all are blank."""

FILTERED = "filter"
"""Beginning of a final score's `error`, before the ':', if the candidate failed a filter."""


@dataclass(frozen=True)
class RankedCandidate:
    """A candidate and its final score."""

    candidate: Candidate
    value: float
    reward: str

    @cached_property
    def text(self) -> str:
        """The text as texts are compared: NFC, without surrounding white space."""
        return nfc(self.candidate.text).strip()

    @property
    def reply(self) -> tuple[Message, ...]:
        """The text as the teacher wrote it, as chat turns."""
        return (Message(role="assistant", content=self.candidate.text),)


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


def rank_candidates(inputs: Inputs) -> list[PromptCandidates]:
    """Join prompts, drafts and scores by id, in order of prompt id.

    Candidates of other prompts, and scores of other candidates, are ignored.

    Raises:
        DataError: two scores for one candidate, or a score that names another prompt than its candidate does.
    """
    scores = _scores_by_candidate(inputs.records("scores", Score))
    drafts: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in inputs.records("drafts", Candidate):
        drafts[candidate.prompt_id].append(candidate)
    prompts = sorted(inputs.records("prompts", Prompt), key=lambda p: p.prompt_id)
    return [_ranked(prompt, drafts[prompt.prompt_id], scores) for prompt in prompts]


def _scores_by_candidate(scores: Sequence[Score]) -> dict[str, Score]:
    found: dict[str, Score] = {}
    for score in scores:
        if score.candidate_id in found:
            rewards = f"{found[score.candidate_id].reward} and {score.reward}"
            raise DataError(f"candidate {score.candidate_id} is scored by {rewards}: select from one ensemble")
        found[score.candidate_id] = score
    return found


def _ranked(prompt: Prompt, drafts: Sequence[Candidate], scores: dict[str, Score]) -> PromptCandidates:
    candidates: list[RankedCandidate] = []
    unusable: Counter[NothingUsable] = Counter()
    failed: Counter[str] = Counter()
    for candidate in drafts:
        score = scores.get(candidate.candidate_id)
        if score is not None and score.prompt_id != prompt.prompt_id:
            raise DataError(
                f"candidate {candidate.candidate_id} answers prompt {prompt.prompt_id}, "
                f"its score by {score.reward} names prompt {score.prompt_id}"
            )
        if candidate.error is not None or score is None or score.value is None:
            what, _, check = (score.error or "" if score else "").partition(":")
            unusable["all_filtered" if what == FILTERED else "all_unscored"] += 1
            failed.update([check] if what == FILTERED and check else [])
        elif not candidate.text.strip():
            unusable["all_empty"] += 1
        else:
            candidates.append(RankedCandidate(candidate, score.value, score.reward))
    candidates.sort(key=lambda c: (-c.value, c.candidate.candidate_id))
    return PromptCandidates(prompt, tuple(candidates), unusable, failed)
