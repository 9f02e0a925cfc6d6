"""Best-of selection for supervised fine-tuning, and its control that keeps everything (METHODS §2)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from arbitrage.candidates.ranked import NothingUsable, PromptCandidates, RankedCandidate, rank_candidates
from arbitrage.candidates.table import CandidateShard
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.records import Prompt, Reject, SftExample
from arbitrage.tables import to_table

SftReject = NothingUsable | Literal["below_min_score"]
"""Why a prompt has no SFT example."""


class SftSelection(PureStep):
    """How SFT examples are selected.

    Attributes:
        mode: `best` keeps the best candidate of each prompt; `all` every usable one (the `mix_all` control).
        min_score: minimum score, in calibrated points (standard deviations); none by default.
        strategy: label of the rows.
    """

    step_kind: ClassVar[str] = "select_sft"

    mode: Literal["best", "all"] = "best"
    min_score: float | None = None
    strategy: str = "reward"

    async def run(self, inputs: Inputs) -> Output:
        """Select within each prompt."""
        examples: list[SftExample] = []
        rejects: list[Reject] = []
        for ranked in rank_candidates(CandidateShard(inputs)):
            kept = self._keep(ranked)
            examples.extend(example_of(ranked.prompt, candidate, self.strategy) for candidate in kept)
            if not kept:
                rejects.append(reject_of(ranked))
        return Output(to_table(examples, SftExample), to_table(rejects, Reject))

    def _keep(self, ranked: PromptCandidates) -> tuple[RankedCandidate, ...]:
        floor = self.min_score
        passing = tuple(c for c in ranked.candidates if floor is None or c.value >= floor)
        return passing[:1] if self.mode == "best" else passing


SFT = StepFacts(verb="select", label="sft")


def select_sft(config: SftSelection, prompts: Step, candidates: Sequence[Step], final: Step) -> Step:
    """Select SFT examples from the candidate table.

    Args:
        config: what to keep.
        prompts: step of Prompt rows; each becomes one example (`all`: one or more) or one Reject.
        candidates: steps of Candidate rows, one for each teacher.
        final: step of Score rows, at most one for each candidate: the ensemble.
    """
    inputs = {"prompts": (prompts,), "candidates": tuple(candidates), "final": (final,)}
    return Step(SFT, config, SftExample, inputs)


def example_of(prompt: Prompt, candidate: RankedCandidate, strategy: str) -> SftExample:
    """Return a candidate as an SFT example."""
    return SftExample(
        prompt_id=prompt.prompt_id,
        language=prompt.language,
        messages=prompt.messages + candidate.reply,
        reasoning=candidate.candidate.reasoning,
        tools=prompt.tools,
        candidate_id=candidate.candidate.candidate_id,
        teacher=candidate.candidate.teacher,
        score=candidate.value,
        strategy=strategy,
    )


def reject_of(ranked: PromptCandidates) -> Reject:
    """Return the Reject of a prompt without an example."""
    reason: SftReject = "below_min_score" if ranked.candidates else ranked.why_nothing()
    return Reject(item_id=ranked.prompt.prompt_id, reason=reason, detail=ranked.census())
