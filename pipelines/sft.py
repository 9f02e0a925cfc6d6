"""Prompts to SFT examples: ask, score, keep the best."""

from typing import Literal

from arbitrage.contracts.steps import Pipeline
from arbitrage.selection.sft import SftSelection
from pipelines.candidates import build_table
from pipelines.fusing import FusibleConfig, select_examples


class SftConfig(FusibleConfig):
    """Config of an SFT run.

    Attributes:
        sft: which answers are worth imitating.
    """

    kind: Literal["sft"]
    sft: SftSelection = SftSelection()

    def build(self) -> Pipeline:
        """Build the steps."""
        table = build_table(self)
        selected = select_examples(self, self.sft, table)
        return selected.add_to(table.pipeline({"sft": selected.sft}))
