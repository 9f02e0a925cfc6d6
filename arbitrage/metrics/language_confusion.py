"""Is a text in its stated language?"""

from typing import Literal

from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.text.language_confusion import share_of
from arbitrage.text.measured import Measured
from arbitrage.text.text import Text


class LanguageConfusionMetricConfig(TextMetricOptions):
    """The share of the text that is in its language: the smaller of line and word pass rate."""

    kind: Literal["language_confusion"] = "language_confusion"

    @property
    def usual_name(self) -> str:
        """Return 'language_confusion'."""
        return "language_confusion"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "language"

    @property
    def facts(self) -> Facts:
        """The Language Confusion Benchmark, graded."""
        source = "Marchisio et al. 2024 [2406.20052], graded"
        defined = "known languages, 3 words and 20 letters and more; single words in scripts of one language"
        return Facts("text in its language", "share", 0.0, 1.0, source, defined)

    @property
    def is_of_wanted_language(self) -> bool:
        """Reasoning, too, is compared with the prompt's language."""
        return True

    def metric(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, _measure)


def _measure(text: Text) -> Measured:
    return share_of(text.prose, text.language, text.words_by_script, text.passages, lambda: text.contradictions)
