"""Prompts to SFT examples and preference pairs, both chosen from the same candidate table."""

from typing import Literal

from arbitrage.contracts.steps import Pipeline
from arbitrage.selection.pairs import PairSelection
from arbitrage.selection.sft import SftSelection, select_sft
from pipelines.candidates import CandidatesConfig, build_candidates
from pipelines.pairs import preference_pairs


class PreferenceConfig(CandidatesConfig):
    """Config of a preference run.

    Attributes:
        sft: which answers are worth imitating; null writes no SFT data.
        pairs: which answers are set against each other.
    """

    kind: Literal["preference"]
    sft: SftSelection | None = SftSelection()
    pairs: PairSelection = PairSelection()

    def build(self) -> Pipeline:
        """Build the steps."""
        table = build_candidates(self)
        datasets = {"preference": preference_pairs(self.pairs, self.selected_teachers(), table)}
        if self.sft is not None:
            datasets["sft"] = select_sft(self.sft, table.prompts, table.drafts, table.final)
        return table.pipeline(datasets)
