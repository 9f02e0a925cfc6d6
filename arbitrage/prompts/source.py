"""The base of all source configs: reading options, and the parts to read."""

from collections.abc import Iterator
from typing import ClassVar, Final

from arbitrage.contracts.steps import StepConfig, StepFacts
from arbitrage.inputs.rows import InputFile
from arbitrage.prompts.options import ReadOptions
from arbitrage.prompts.reader import PromptReader

PROMPTS: Final = StepFacts(verb="prompts", is_budgeted=True)


class SourceConfig(ReadOptions, StepConfig):
    """A source of prompts."""

    step_kind: ClassVar[str] = "read_prompts"

    def parts(self) -> Iterator[InputFile]:
        """Open the source's parts, one after the other, in a fixed order.

        Raises:
            ConfigError: a part does not exist.
            DataError: it cannot be read.
        """
        raise TypeError(f"{type(self).__name__} does not implement `parts`")

    def build(self) -> PromptReader:
        """Build the worker that reads this source."""
        return PromptReader(self, self.parts)
