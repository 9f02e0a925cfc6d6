"""Does a text change its language within itself?"""

from collections import Counter
from typing import Literal

from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.text.language_confusion import LETTERS_TO_IDENTIFY, expected_scripts
from arbitrage.text.measured import NO_TEXT, TOO_SHORT, UNKNOWN_LANGUAGE, Measured
from arbitrage.text.prose import count_words
from arbitrage.text.text import Text


class CodeSwitchConfig(TextMetricOptions):
    """The share of the text outside the language that most of it is in.

    A text that is all in one wrong language is not code-switched: that is what `language_confusion` measures.
    The language of passages of 60 letters is identified, and the script of words within them; names in Latin letters
    are left out.
    """

    kind: Literal["code_switch"] = "code_switch"

    @property
    def usual_name(self) -> str:
        """Return 'code_switch'."""
        return "code_switch"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "language"

    @property
    def facts(self) -> Facts:
        """The multilingual index of Gambäck & Das, over passages."""
        source = "code-mixing index of Das & Gambäck 2014, over passages"
        return Facts(
            "text outside its main language", "share", 0.0, 1.0, source, "known languages, 20 letters and more"
        )

    def metric(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, _measure)


def _measure(text: Text) -> Measured:
    scripts = expected_scripts(text.language)
    if not scripts:
        return UNKNOWN_LANGUAGE
    num_letters = sum(passage.num_letters for passage in text.passages)
    if num_letters < LETTERS_TO_IDENTIFY:
        return TOO_SHORT if num_letters else NO_TEXT
    amounts: Counter[str] = Counter()
    if not any(text.contradictions):
        for script, words in text.words_by_script.by_script.items():
            amounts[text.language if script in scripts else script] += round(1000 * words)
        return _outside(amounts)
    for passage, other in zip(text.passages, text.contradictions, strict=True):
        expected = expected_scripts(other) if other else scripts
        for script, words in count_words(passage.text, expected).by_script.items():
            amounts[(other or text.language) if script in expected else script] += round(1000 * words)
    return _outside(amounts)


def _outside(amounts: Counter[str]) -> Measured:
    total = amounts.total()
    return Measured(1.0 - max(amounts.values()) / total) if total else NO_TEXT
