"""Distinct-n: the share of different n-grams in a text (Li et al. 2016, [1510.03055])."""

from typing import Literal

from pydantic import Field

from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.length import words_or_reason
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.text.measured import Measured
from arbitrage.text.repetition import repeated_share
from arbitrage.text.text import Text


class DistinctConfig(TextMetricOptions):
    """The share of different n-grams of words. It falls with length, so compare only texts of similar length.

    Attributes:
        n: number of words in an n-gram; 1 gives the type-token ratio.
    """

    kind: Literal["distinct"] = "distinct"
    n: int = Field(default=2, ge=1, le=8)

    @property
    def usual_name(self) -> str:
        """Return 'distinct_2', …."""
        return f"distinct_{self.n}"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "diversity"

    @property
    def facts(self) -> Facts:
        """Li et al. 2016."""
        title = f"different {self.n}-grams of words"
        return Facts(title, "share", 0.0, 1.0, "Li et al. 2016 [1510.03055]", f"{self.n} words and more")

    def metric(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, self._measure)

    def _measure(self, text: Text) -> Measured:
        words = words_or_reason(text, self.n)
        return words if isinstance(words, Measured) else Measured(1.0 - repeated_share(words, self.n))
