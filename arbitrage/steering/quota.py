"""The verb `quota`: how many prompts of each language are kept, and which: drawn by lot, so that the mix stays."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import ClassVar

from arbitrage.contracts.steps import Step, StepConfig
from arbitrage.contracts.workers import Inputs, Output
from arbitrage.records import LanguageQuota, SteeringChoice
from arbitrage.selection.quotas import QuotaConfig
from arbitrage.tables import to_table


class QuotaStep(StepConfig):
    """Counts what there is against what is wanted."""

    step_kind: ClassVar[str] = "steering_quotas"

    quotas: QuotaConfig

    def build(self) -> "QuotaWorker":
        """Make the worker."""
        return QuotaWorker(self.quotas)


def quota(config: QuotaConfig, choices: Step) -> Step:
    """Find the highest lot that is kept of each language with a quota."""
    return Step(
        name="quota-steered",
        config=QuotaStep(quotas=config),
        produces=LanguageQuota,
        inputs={"choices": (choices,)},
        scope="corpus",
    )


class QuotaWorker:
    """Remembers the lowest lots of each language: as many as are wanted."""

    def __init__(self, config: QuotaConfig) -> None:
        self._config = config

    def run(self, shards: Iterable[Inputs]) -> Output:
        """Return one row for each language with a quota, sorted; one without any prompt is named too."""
        available: Counter[str] = Counter()
        lowest: dict[str, list[int]] = defaultdict(list)  # negated: the highest on top
        for shard in shards:
            table = shard.table("choices", SteeringChoice)
            for prompt_id, language in zip(*(table[c].to_pylist() for c in ("prompt_id", "language")), strict=True):
                available[language] += 1
                lot, wanted = int(self._config.lot(prompt_id), 16), self._config.wanted(language)
                if wanted is None or wanted == 0:
                    continue
                if len(lowest[language]) < wanted:
                    heapq.heappush(lowest[language], -lot)
                else:
                    heapq.heappushpop(lowest[language], -lot)
        rows = []
        for language in sorted({*available, *self._config.languages}):
            wanted = self._config.wanted(language)
            if wanted is not None:
                last = f"{-lowest[language][0]:020x}" if lowest[language] else ""
                is_enough = available[language] <= wanted
                rows.append(
                    LanguageQuota(
                        language=language,
                        wanted=wanted,
                        available=available[language],
                        last_lot=None if is_enough else last,
                    )
                )
        return Output(to_table(rows, LanguageQuota))
