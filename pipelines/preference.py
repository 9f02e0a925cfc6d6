"""Prompts to SFT examples and preference pairs, both chosen from the same candidate table."""

from typing import Literal

from arbitrage.contracts.steps import Pipeline
from arbitrage.selection.pairs import PairSelection
from pipelines.candidates import build_table, preference_pairs
from pipelines.fusing import FusibleConfig, select_examples


class PreferenceConfig(FusibleConfig):
    """Config of a preference run.

    Attributes:
        pairs: which answers are set against each other.
    """

    kind: Literal["preference"]
    pairs: PairSelection = PairSelection()

    def build(self) -> Pipeline:
        """Build the steps."""
        table = build_table(self)
        pairs = preference_pairs(self.pairs, self.selected_teachers(), table)
        if self.sft is None:
            return table.pipeline({"preference": pairs})
        selected = select_examples(self, self.sft, table)
        return selected.add_to(table.pipeline({"preference": pairs, "sft": selected.sft}))
