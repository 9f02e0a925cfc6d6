"""Select SFT examples with fusion: the fused response, or the best candidate it was made from."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from arbitrage.candidates.ranked import PromptCandidates, RankedCandidate, rank_candidates
from arbitrage.candidates.table import CandidateShard
from arbitrage.contracts.steps import PureStep, Step
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.records import Reject, SftExample
from arbitrage.selection.sft import SFT, SftSelection, example_of, reject_of
from arbitrage.tables import to_table

FUSION: Literal["fusion"] = "fusion"
"""Strategy of fused rows; the others have that of the selection."""


class FusedSelection(PureStep):
    """How SFT examples are selected with fusion.

    Attributes:
        sft: selection without fusion.
        only_if_better: use a fused response only if it scores higher than the best candidate.
    """

    step_kind: ClassVar[str] = "select_fused"

    sft: SftSelection
    only_if_better: bool

    async def run(self, inputs: Inputs) -> Output:
        """Select within each prompt. Fused answers that fail a filter, or that have no score, are not taken."""
        fused = rank_candidates(CandidateShard(inputs, candidates_role="fused", final_role="fused_final"))
        examples: list[SftExample] = []
        rejects: list[Reject] = []
        for ranked, made in zip(rank_candidates(CandidateShard(inputs)), fused, strict=True):
            example = self._choose(ranked, made)
            if example is None:
                rejects.append(reject_of(ranked))
            else:
                examples.append(example)
        return Output(to_table(examples, SftExample), to_table(rejects, Reject))

    def _choose(self, ranked: PromptCandidates, made: PromptCandidates) -> SftExample | None:
        best, new = _first(ranked), _first(made)
        if new is not None and self._passes(new) and not (self.only_if_better and not _beats(new, best)):
            return example_of(ranked.prompt, new, FUSION)
        if best is not None and self._passes(best):
            return example_of(ranked.prompt, best, self.sft.strategy)
        return None

    def _passes(self, candidate: RankedCandidate) -> bool:
        floor = self.sft.min_score
        return floor is None or candidate.value >= floor


@dataclass(frozen=True, slots=True)
class Scored:
    """Candidates, and the step of their final scores."""

    candidates: tuple[Step, ...]
    final: Step


def select_fused(config: FusedSelection, prompts: Step, answers: Scored, fused: Scored) -> Step:
    """Select SFT examples.

    Args:
        config: what to keep.
        prompts: step of Prompt rows; each becomes one example or one Reject.
        answers: the teachers' candidates.
        fused: the fused responses.
    """
    inputs = {
        "prompts": (prompts,),
        "candidates": answers.candidates,
        "final": (answers.final,),
        "fused": fused.candidates,
        "fused_final": (fused.final,),
    }
    return Step(SFT, config, SftExample, inputs)


def _first(ranked: PromptCandidates) -> RankedCandidate | None:
    return ranked.candidates[0] if ranked.candidates else None


def _beats(new: RankedCandidate, best: RankedCandidate | None) -> bool:
    return best is None or new.value > best.value
