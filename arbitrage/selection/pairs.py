"""Preference pairs from the candidate table. A policy proposes pairs; filters then drop some of them.

Dropped are ties, small gaps, texts that are equal after NFC and stripping, and, if wanted, pairs of unequal length.
A candidate that fails a check has no score, so it has no gap to a better one: it is never used, not even as rejected.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from arbitrage.candidates.ranked import NothingUsable, PromptCandidates, rank_candidates
from arbitrage.candidates.table import CandidateShard
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.records import PreferencePair, Prompt, Reject
from arbitrage.selection import PairPolicy
from arbitrage.selection.mix import MixConfig, mixed
from arbitrage.selection.policies import BestVsWorst, Proposal
from arbitrage.tables import to_table

GuardReject = Literal["identical_text", "tie", "below_gap", "length_mismatch"]
PairReject = NothingUsable | GuardReject | Literal["one_candidate", "no_opponent"]
"""Why a prompt has no pair. `one_candidate`: one usable candidate; `no_opponent`: the policy proposes no pair; the
others: why the policy's first pair was dropped."""


class PairSelection(PureStep):
    """How preference pairs are selected.

    Attributes:
        policy: which two candidates of a prompt become chosen and rejected.
        min_gap: smallest difference of the final scores, in standard deviations; ties are always dropped.
        max_length_ratio: largest ratio of the longer text to the shorter, in characters; null: no limit.
        max_pairs: largest number of pairs of a prompt.
        mix: number of pairs by language, and the share about safety; null keeps all.
        iteration: online round that is written into each pair; 0 before the first.
    """

    step_kind: ClassVar[str] = "select_pairs"

    policy: PairPolicy = BestVsWorst()
    min_gap: float = Field(default=0.5, ge=0)
    max_length_ratio: float | None = Field(default=None, ge=1)
    max_pairs: int = Field(default=1, ge=1)
    mix: MixConfig | None = None
    iteration: int = Field(default=0, ge=0)

    async def run(self, inputs: Inputs) -> Output:
        """Select within each prompt."""
        pairs: list[PreferencePair] = []
        rejects: list[Reject] = []
        for ranked in rank_candidates(CandidateShard(inputs)):
            proposals = list(self.policy.propose(ranked.candidates))
            kept = self._keep(proposals)
            pairs.extend(self._pair(ranked.prompt, proposal) for proposal in kept)
            if not kept:
                rejects.append(self._reject(ranked, proposals))
        return Output(to_table(pairs, PreferencePair), to_table(rejects, Reject))

    def _keep(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        distinct: dict[tuple[str, str], Proposal] = {}  # two samples may be equal: one pair, not two
        for proposal in proposals:
            if len(distinct) < self.max_pairs and self._drop_reason(proposal) is None:
                distinct.setdefault((proposal.chosen.text, proposal.rejected.text), proposal)
        return list(distinct.values())

    def _drop_reason(self, proposal: Proposal) -> GuardReject | None:
        if proposal.chosen.text == proposal.rejected.text:
            return "identical_text"
        if proposal.gap == 0:
            return "tie"
        if proposal.gap < self.min_gap:
            return "below_gap"
        lengths = sorted((len(proposal.chosen.text), len(proposal.rejected.text)))
        limit = self.max_length_ratio
        return "length_mismatch" if limit is not None and lengths[1] > limit * lengths[0] else None

    def _pair(self, prompt: Prompt, proposal: Proposal) -> PreferencePair:
        chosen, rejected = proposal.chosen, proposal.rejected
        return PreferencePair(
            prompt_id=prompt.prompt_id,
            language=prompt.language,
            prompt=prompt.messages,
            chosen=chosen.reply,
            rejected=rejected.reply,
            chosen_reasoning=chosen.candidate.reasoning,
            rejected_reasoning=rejected.candidate.reasoning,
            tools=prompt.tools,
            chosen_id=chosen.candidate.candidate_id,
            rejected_id=rejected.candidate.candidate_id,
            chosen_teacher=chosen.candidate.teacher,
            rejected_teacher=rejected.candidate.teacher,
            chosen_score=chosen.value,
            rejected_score=rejected.value,
            score_gap=proposal.gap,
            reward=chosen.reward,
            policy=self.policy.kind,
            iteration=self.iteration,
        )

    def _reject(self, ranked: PromptCandidates, proposals: Sequence[Proposal]) -> Reject:
        reason: PairReject
        if not ranked.candidates:
            reason = ranked.why_nothing()
        elif len(ranked.candidates) == 1:
            reason = "one_candidate"
        else:
            reason = (self._drop_reason(proposals[0]) if proposals else None) or "no_opponent"
        return Reject(item_id=ranked.prompt.prompt_id, reason=reason, detail=ranked.census())


PREFERENCE = StepFacts(verb="select", label="preference")


def select_pairs(config: PairSelection, prompts: Step, candidates: Sequence[Step], final: Step) -> Step:
    """Choose preference pairs from the candidate table.

    Args:
        config: policy and filters.
        prompts: step of Prompt rows; each becomes one to `max_pairs` pairs or one Reject.
        candidates: steps of Candidate rows, one for each teacher.
        final: step of Score rows, at most one for each candidate: the ensemble.
    """
    inputs = {"prompts": (prompts,), "candidates": tuple(candidates), "final": (final,)}
    if config.mix is None:
        return Step(PREFERENCE, config, PreferencePair, inputs)
    pairing = config.model_copy(update={"mix": None})
    pairs = Step(StepFacts(verb="pair", label=PREFERENCE.label), pairing, PreferencePair, inputs)
    return mixed(config.mix, prompts, pairs, PREFERENCE)
