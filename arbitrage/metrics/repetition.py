"""Repetition within a text."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from arbitrage.config import Raw, note_renamed
from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.text.measured import NO_TEXT, TOO_SHORT, Measured
from arbitrage.text.repetition import MIN_UNITS, repeated_lines, repeated_ngrams
from arbitrage.text.text import Text


class RepetitionMetricConfig(TextMetricOptions):
    """The share of a text that repeats earlier text.

    Attributes:
        unit: `ngrams` of 4 words (8 characters where there are no spaces), or `lines` of 12 characters and more.
    """

    kind: Literal["repetition"] = "repetition"
    unit: Literal["ngrams", "lines"] = "ngrams"

    @model_validator(mode="before")
    @classmethod
    def _unit_was_called_of(cls, value: Any) -> Any:
        """Read `of: lines`, as it was written before `of` said what is measured."""
        if isinstance(value, Mapping) and value.get("of") in ("ngrams", "lines") and "unit" not in value:
            note_renamed("metric repetition", "of", "unit")
            return {"unit" if name == "of" else name: each for name, each in value.items()}
        return value

    def identity(self) -> Raw:
        """Name the unit as it was called before, so that what was measured then is not measured again."""
        found = super().identity()
        part = {"part": self.of} if found.pop("of", None) else {}
        return {**{"of" if name == "unit" else name: value for name, value in found.items()}, **part}

    @property
    def usual_name(self) -> str:
        """Return 'repeated_ngrams' or 'repeated_lines'."""
        return f"repeated_{self.unit}"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "repetition"

    @property
    def facts(self) -> Facts:
        """Rae et al. 2021, whose filters use the same shares."""
        defined = f"{MIN_UNITS} words and more" if self.unit == "ngrams" else "texts with a line of 12 characters"
        return Facts(f"{self.unit} that occurred before", "share", 0.0, 1.0, "Rae et al. 2021 [2112.11446]", defined)

    def metric(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, _ngrams if self.unit == "ngrams" else _lines)


def _ngrams(text: Text) -> Measured:
    share = repeated_ngrams(text.text, text.letters_by_script)
    if share is None:
        return TOO_SHORT if text.text.strip() else NO_TEXT
    return Measured(share)


def _lines(text: Text) -> Measured:
    if not any(len(line.strip()) >= 12 for line in text.text.splitlines()):
        return TOO_SHORT if text.text.strip() else NO_TEXT
    return Measured(repeated_lines(text.text))
