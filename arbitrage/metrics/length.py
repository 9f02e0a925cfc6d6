"""Length of a text."""

from typing import Any, Literal

from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.text.measured import NO_TEXT, UNDEFINED_LANGUAGE, Measured
from arbitrage.text.segmentation import has_sentences, has_words
from arbitrage.text.text import Text


class LengthConfig(TextMetricOptions):
    """The number of characters, words or sentences.

    Characters are Unicode code points of the whole text. Words and sentences are those of its prose, without code,
    formulas, addresses, bullets and item numbers.

    Attributes:
        unit: what is counted.
    """

    kind: Literal["length"] = "length"
    unit: Literal["characters", "words", "sentences"] = "words"

    @property
    def usual_name(self) -> str:
        """Return 'words', …."""
        return self.unit

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "length"

    @property
    def facts(self) -> Facts:
        """Unicode TR29 by ICU."""
        where = {
            "characters": "everywhere",
            "words": "scripts with spaces, and Chinese, Japanese, Thai, Lao, Khmer, Burmese by dictionary",
            "sentences": "everywhere but in Thai and Lao script, which mark none",
        }
        source = "Unicode code points" if self.unit == "characters" else "Unicode TR29 (ICU)"
        return Facts(f"length in {self.unit}", self.unit, 0.0, None, source, where[self.unit])

    def metric(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, _MEASURES[self.unit])


def _characters(text: Text) -> Measured:
    return Measured(float(len(text.text)))


def _words(text: Text) -> Measured:
    return Measured(float(len(text.words))) if has_words(text.language) else UNDEFINED_LANGUAGE


def _sentences(text: Text) -> Measured:
    return Measured(float(len(text.sentences))) if has_sentences(text.language) else UNDEFINED_LANGUAGE


_MEASURES: dict[str, Any] = {"characters": _characters, "words": _words, "sentences": _sentences}


def words_or_reason(text: Text, fewest: int = 1) -> list[str] | Measured:
    """Return the folded words of a text, or why they cannot be measured."""
    if not has_words(text.language):
        return UNDEFINED_LANGUAGE
    words = text.folded_words
    if not words:
        return NO_TEXT
    return words if len(words) >= fewest else Measured(reason="too_short")
