"""The step `prompts`."""

from arbitrage.contracts.steps import Step
from arbitrage.prompts import PromptsConfig
from arbitrage.prompts.source import PROMPTS
from arbitrage.records import Prompt


def read_prompts(config: PromptsConfig) -> Step:
    """Read prompts from a source; reject broken rows and exact duplicates."""
    return Step(PROMPTS, config, Prompt, scope="source")
