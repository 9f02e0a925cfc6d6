"""HD-D, the hypergeometric distribution diversity (McCarthy & Jarvis 2007, doi:10.1177/0265532207080767)."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from pydantic import Field

from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.length import words_or_reason
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.text.measured import Measured
from arbitrage.text.text import Text


class HddConfig(TextMetricOptions):
    """The expected type-token ratio of a fixed number of words, drawn from the text without replacement.

    Attributes:
        draws: number of words drawn; shorter texts are `too_short`.
    """

    kind: Literal["hdd"] = "hdd"
    draws: int = Field(default=42, ge=2)

    @property
    def usual_name(self) -> str:
        """Return 'hdd'."""
        return "hdd"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "diversity"

    @property
    def facts(self) -> Facts:
        """McCarthy & Jarvis 2007."""
        source = "McCarthy & Jarvis 2007"
        return Facts("lexical diversity (HD-D)", "share", 0.0, 1.0, source, f"{self.draws} words and more")

    def metric(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, self._measure)

    def _measure(self, text: Text) -> Measured:
        words = words_or_reason(text, self.draws)
        return words if isinstance(words, Measured) else Measured(hdd(words, self.draws))


def hdd(tokens: Sequence[str], draws: int = 42) -> float:
    """Return Σ over types of the probability of being drawn at least once, over the number of draws, 0..1.

    Args:
        tokens: at least as many as `draws`.
        draws: tokens drawn without replacement.
    """
    num_types = Counter(Counter(tokens).values())
    return sum(times * (1.0 - _missed(len(tokens), count, draws)) for count, times in num_types.items()) / draws


@lru_cache(maxsize=1 << 16)
def _missed(num_tokens: int, count: int, draws: int) -> float:
    """Return the probability that none of `count` equal tokens is drawn: C(N − count, draws) / C(N, draws)."""
    chance = 1.0
    for i in range(count):
        chance *= (num_tokens - draws - i) / (num_tokens - i) if num_tokens - draws > i else 0.0
    return chance
