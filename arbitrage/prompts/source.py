"""The base of all source configs: options of reading, and the pieces there are to read."""

from collections.abc import Iterator
from typing import ClassVar, Final

from arbitrage.contracts.steps import StepConfig, StepFacts
from arbitrage.inputs.rows import InputFile
from arbitrage.prompts.options import ReadOptions
from arbitrage.prompts.reader import PromptReader

PROMPTS: Final = StepFacts(verb="prompts", is_budgeted=True)


class SourceConfig(ReadOptions, StepConfig):
    """A place where prompts come from."""

    step_kind: ClassVar[str] = "read_prompts"

    def parts(self) -> Iterator[InputFile]:
        """Open the source's pieces, one after the other, in a fixed order.

        Raises:
            ConfigError: there is no such thing.
            DataError: it cannot be read.
        """
        raise TypeError(f"{type(self).__name__} does not say how it is read")

    def build(self) -> PromptReader:
        """Build the worker that reads this source."""
        return PromptReader(self, self.parts)
