"""Is a text written in the script of its language?"""

from typing import Literal

from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.text.language_confusion import expected_scripts
from arbitrage.text.measured import NO_TEXT, UNKNOWN_LANGUAGE, Measured
from arbitrage.text.text import Text


class ScriptShareConfig(TextMetricOptions):
    """The share of the prose's letters that are in a script of the language (Japanese has three)."""

    kind: Literal["script_share"] = "script_share"

    @property
    def usual_name(self) -> str:
        """Return 'script_share'."""
        return "script_share"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "language"

    @property
    def facts(self) -> Facts:
        """Unicode TR24, CLDR likely subtags."""
        defined = "languages whose script CLDR knows, texts with letters"
        return Facts("letters of the language's script", "share", 0.0, 1.0, "Unicode TR24; CLDR", defined)

    @property
    def is_of_wanted_language(self) -> bool:
        """Reasoning, too, is compared with the prompt's language."""
        return True

    def metric(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, _measure)


def _measure(text: Text) -> Measured:
    scripts = expected_scripts(text.language)
    if not scripts:
        return UNKNOWN_LANGUAGE
    letters = text.letters_by_script
    total = letters.total()
    return Measured(sum(letters[script] for script in scripts) / total) if total else NO_TEXT
