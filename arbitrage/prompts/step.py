"""The step `prompts`, and counts of a source for plans."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from arbitrage.contracts.steps import Step
from arbitrage.contracts.workers import SourceWorker
from arbitrage.prompts import PromptsConfig
from arbitrage.prompts.source import PROMPTS
from arbitrage.records import Prompt


@dataclass(frozen=True, slots=True)
class PromptCounts:
    """Counts of a source: language → prompts and characters, reason → rejected rows, notes."""

    num_prompts: Mapping[str, int]
    num_chars: Mapping[str, int]
    rejected: Mapping[str, int]
    notes: Mapping[str, int]


def read_prompts(config: PromptsConfig) -> Step:
    """Read prompts from a source; reject broken rows and exact duplicates."""
    return Step(PROMPTS, config, Prompt, scope="source")


def count_prompts(config: PromptsConfig) -> PromptCounts:
    """Read the whole source once and count its prompts; keeps no prompt.

    Raises:
        ConfigError: files or columns are not there.
        DataError: the source cannot be read.
    """
    worker: SourceWorker = config.build()
    prompts: Counter[str] = Counter()
    chars: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for batch in worker.read():
        for prompt in batch.prompts:
            prompts[prompt.language] += 1
            chars[prompt.language] += sum(len(message.content) for message in prompt.messages)
        rejected.update(reject.reason for reject in batch.rejects)
        notes.update(batch.notes)
    return PromptCounts(*(dict(sorted(counter.items())) for counter in (prompts, chars, rejected, notes)))
