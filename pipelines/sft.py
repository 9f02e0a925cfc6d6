"""Prompts to SFT examples: ask, score, keep the best."""

from typing import Literal

from arbitrage.contracts.steps import Pipeline
from arbitrage.selection.sft import SftSelection, select_sft
from pipelines.candidates import CandidatesConfig, build_candidates


class SftConfig(CandidatesConfig):
    """Config of an SFT run.

    Attributes:
        sft: which answers are worth imitating.
    """

    kind: Literal["sft"]
    sft: SftSelection = SftSelection()

    def build(self) -> Pipeline:
        """Build the steps."""
        table = build_candidates(self)
        return table.pipeline({"sft": select_sft(self.sft, table.prompts, table.drafts, table.final)})
