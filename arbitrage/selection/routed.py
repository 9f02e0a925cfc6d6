"""The data set that a strategy would have made, from a table in which every teacher was sampled.

Nothing is generated to compare strategies: each is a query over the same candidates (METHODS §1, §2).
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from arbitrage.candidates.ranked import PromptCandidates, RankedCandidate, rank_candidates
from arbitrage.candidates.table import CandidateShard, value_by
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.records import Reject, SftExample
from arbitrage.selection.sft import example_of, reject_of
from arbitrage.tables import to_table

Keep = Literal["best", "all", "right"]
"""Which candidates of the chosen teachers are kept: the best-scored, every one, or one that a check calls right."""


class RoutedSelection(PureStep):
    """How a strategy selects rows.

    Attributes:
        strategy: label of the rows.
        keep: `right` keeps the best by score among those with the highest value of `judge`: an oracle, which no
            pipeline can be.
        samples: number of candidates of each teacher that count, the greedy one first.
        judge: plain name of the check that the oracle uses.
    """

    step_kind: ClassVar[str] = "select_routed"

    strategy: str
    keep: Keep = "best"
    samples: int = Field(default=1, ge=1)
    judge: str = "exact"

    async def run(self, inputs: Inputs) -> Output:
        """Select within each prompt."""
        shard = CandidateShard(inputs)
        examples: list[SftExample] = []
        rejects: list[Reject] = []
        for ranked in rank_candidates(shard):
            kept = self._keep(ranked, shard.teachers_by_prompt.get(ranked.prompt.prompt_id, ()))
            examples += [example_of(ranked.prompt, one, self.strategy) for one in kept]
            if not kept:
                rejects.append(reject_of(PromptCandidates(ranked.prompt, (), ranked.unusable, ranked.failed)))
        return Output(to_table(examples, SftExample), to_table(rejects, Reject))

    def _keep(self, ranked: PromptCandidates, teachers: Sequence[str]) -> Sequence[RankedCandidate]:
        found = [
            one
            for one in ranked.candidates
            if one.candidate.teacher in teachers and one.candidate.sample_index < self.samples
        ]
        if self.keep == "right":  # the sort is stable: among ties the best by score stays first
            found.sort(key=lambda one: -(value_by(self.judge, one.scores) or 0.0))
        return found if self.keep == "all" else found[:1]


def select_routed(
    config: RoutedSelection,
    prompts: Step,
    routes: Sequence[Step],
    candidates: Sequence[Step],
    final: Step,
    scores: Sequence[Step],
) -> Step:
    """Select the rows that a strategy would have sampled and kept.

    Args:
        config: the strategy.
        prompts: step of Prompt rows.
        routes: steps of Route rows, each prompt in at most one: the strategy's routes.
        candidates: steps of Candidate rows, one for each teacher; those not chosen are left out.
        final: step of Score rows: the ensemble.
        scores: steps of Score rows that hold the oracle's check; read only where `keep` is `right`.
    """
    inputs = {"prompts": (prompts,), "routes": tuple(routes), "candidates": tuple(candidates), "final": (final,)}
    if config.keep == "right":
        inputs["scores"] = tuple(scores)
    return Step(StepFacts(verb="select", label=config.strategy), config, SftExample, inputs)
