"""Best-of selection for supervised fine-tuning, and its control that keeps everything (METHODS §2)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from arbitrage.candidates.ranked import NothingUsable, PromptCandidates, RankedCandidate, rank_candidates
from arbitrage.contracts.steps import Step, StepConfig, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.records import Prompt, Reject, SftExample
from arbitrage.tables import to_table

SftReject = NothingUsable | Literal["below_min_score"]
"""Why a prompt has no SFT example."""


class SftSelection(StepConfig):
    """Which answers become SFT examples.

    Attributes:
        mode: `best` keeps the best-scored answer of each prompt; `all` every usable one (the `mix_all` control).
        min_score: lowest score kept, in calibrated points (standard deviations); none by default.
        strategy: label of the rows.
    """

    step_kind: ClassVar[str] = "select_sft"

    mode: Literal["best", "all"] = "best"
    min_score: float | None = None
    strategy: str = "reward"

    def build(self) -> "SftSelector":
        """Build the worker."""
        return SftSelector(self)


SFT = StepFacts(verb="select", label="sft")


def select_sft(config: SftSelection, prompts: Step, drafts: Sequence[Step], scores: Step) -> Step:
    """Choose SFT examples from the candidate table.

    Args:
        config: what to keep.
        prompts: step of Prompt rows; each becomes one example (`all`: one or more) or one Reject.
        drafts: steps of Candidate rows, one for each teacher.
        scores: step of Score rows, at most one for each candidate: the ensemble.
    """
    inputs = {"prompts": (prompts,), "drafts": tuple(drafts), "scores": (scores,)}
    return Step(SFT, config, SftExample, inputs)


class SftSelector:
    """Worker of `select_sft`."""

    def __init__(self, config: SftSelection) -> None:
        self.config = config

    def items(self, inputs: Inputs) -> list[Item]:
        """Owe one example or Reject for each prompt."""
        return [Item(p.prompt_id, p.language) for p in inputs.records("prompts", Prompt)]

    async def run(self, inputs: Inputs) -> Output:
        """Select within each prompt."""
        examples: list[SftExample] = []
        rejects: list[Reject] = []
        for ranked in rank_candidates(inputs):
            kept = self._keep(ranked)
            examples.extend(example_of(ranked.prompt, candidate, self.config.strategy) for candidate in kept)
            if not kept:
                rejects.append(reject_of(ranked))
        return Output(to_table(examples, SftExample), to_table(rejects, Reject))

    async def close(self) -> None:
        """Hold nothing."""

    def _keep(self, ranked: PromptCandidates) -> tuple[RankedCandidate, ...]:
        floor = self.config.min_score
        passing = tuple(c for c in ranked.candidates if floor is None or c.value >= floor)
        return passing[:1] if self.config.mode == "best" else passing


def example_of(prompt: Prompt, candidate: RankedCandidate, strategy: str) -> SftExample:
    """Return an answer as an example to imitate."""
    return SftExample(
        prompt_id=prompt.prompt_id,
        language=prompt.language,
        messages=prompt.messages + candidate.reply,
        candidate_id=candidate.candidate.candidate_id,
        teacher=candidate.candidate.teacher,
        score=candidate.value,
        strategy=strategy,
    )


def reject_of(ranked: PromptCandidates) -> Reject:
    """Say why a prompt has no example."""
    reason: SftReject = "below_min_score" if ranked.candidates else ranked.why_nothing()
    return Reject(item_id=ranked.prompt.prompt_id, reason=reason, detail=ranked.census())
