"""How much a text says again."""

from typing import Literal

from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.options import Facts, Family, MetricOptions, TextMetric
from arbitrage.text.measured import NO_TEXT, TOO_SHORT, Measured
from arbitrage.text.repetition import MIN_UNITS, repeated_lines, repeated_ngrams
from arbitrage.text.text import Text


class RepetitionMetricConfig(MetricOptions):
    """The share of a text that stood there before.

    Attributes:
        of: `ngrams` of 4 words (8 characters where there are no spaces), or `lines` of 12 characters and more.
    """

    kind: Literal["repetition"] = "repetition"
    of: Literal["ngrams", "lines"] = "ngrams"

    @property
    def usual_name(self) -> str:
        """Return 'repeated_ngrams' or 'repeated_lines'."""
        return f"repeated_{self.of}"

    @property
    def family(self) -> Family:
        """Beside the compression ratio."""
        return "repetition"

    @property
    def facts(self) -> Facts:
        """Rae et al. 2021, whose filters use the same shares."""
        defined = f"{MIN_UNITS} words and more" if self.of == "ngrams" else "texts with a line of 12 characters"
        return Facts(f"{self.of} that stood there before", "share", 0.0, 1.0, "Rae et al. 2021 [2112.11446]", defined)

    def build(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, _ngrams if self.of == "ngrams" else _lines)


def _ngrams(text: Text) -> Measured:
    share = repeated_ngrams(text.text, text.letters_by_script)
    if share is None:
        return TOO_SHORT if text.text.strip() else NO_TEXT
    return Measured(share)


def _lines(text: Text) -> Measured:
    if not any(len(line.strip()) >= 12 for line in text.text.splitlines()):
        return TOO_SHORT if text.text.strip() else NO_TEXT
    return Measured(repeated_lines(text.text))
