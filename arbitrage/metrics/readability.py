"""Readability of a text, by formulas that were fitted to its language; null in other languages."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from pydantic import Field

from arbitrage.config import LanguageTag
from arbitrage.contracts.metrics import Metric
from arbitrage.languages import primary
from arbitrage.metrics.formulas import FORMULAS, Counts
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.metrics.syllables import count_syllables, has_syllables
from arbitrage.text.measured import NO_TEXT, TOO_SHORT, UNDEFINED_LANGUAGE, UNKNOWN_LANGUAGE, Measured
from arbitrage.text.segmentation import has_sentences
from arbitrage.text.text import Text

LONG_LETTERS, POLYSYLLABLE = 7, 3

MEMO_WORDS = 1 << 16

FormulaName = Literal[
    "gunning_fog",
    "lix",
    "rix",
    "flesch",
    "flesch_kincaid",
    "ari",
    "coleman_liau",
    "wiener",
    "gulpease",
    "szigriszt_pazos",
    "crawford",
    "gutierrez_polini",
]


class ReadabilityConfig(TextMetricOptions):
    """A readability formula.

    Attributes:
        formula: name of the formula.
        also: further languages in which it is computed; not for `flesch`, whose weights are fitted to each language.
        min_words: shorter texts are `too_short`.
    """

    kind: Literal["readability"] = "readability"
    formula: FormulaName = "lix"
    also: tuple[LanguageTag, ...] = ()
    min_words: int = Field(default=10, ge=1)

    @property
    def usual_name(self) -> str:
        """Return 'lix', …."""
        return self.formula

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "readability"

    @property
    def facts(self) -> Facts:
        """Who published the formula, and for which languages."""
        found = FORMULAS[self.formula]
        low = 0.0 if self.formula in ("gunning_fog", "lix", "rix") else None
        return Facts(
            f"readability ({self.formula.replace('_', ' ')})",
            found.unit,
            low,
            None,
            found.source,
            f"{' '.join(sorted(found.languages | set(self.also)))}; {self.min_words} words and more",
        )

    def metric(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, self._measure)

    def _measure(self, text: Text) -> Measured:
        formula, language = FORMULAS[self.formula], primary(text.language)
        if language == "und":
            return UNKNOWN_LANGUAGE
        if language not in formula.languages and not self._is_wanted(text.language):
            return UNDEFINED_LANGUAGE
        if len(text.words) < self.min_words:
            return TOO_SHORT if text.words else NO_TEXT
        return Measured(formula.compute(_counts(text, formula.needs_syllables), language))

    def _is_wanted(self, language: str) -> bool:
        if self.formula == "flesch" or not has_sentences(language):
            return False
        if FORMULAS[self.formula].needs_syllables and not has_syllables(language):
            return False
        return language in self.also or primary(language) in self.also


def count(words: Sequence[str], num_sentences: int, language: str, *, with_syllables: bool = True) -> Counts:
    """Count words, letters, syllables and sentences for the formulas.

    Args:
        words: at least one.
        num_sentences: at least 1.
        language: language of the syllable patterns.
        with_syllables: whether to count syllables; otherwise they are 0.
    """
    shapes = Counter(map(_shapes(language if with_syllables else None).__getitem__, words))
    return Counts(
        words=len(words),
        sentences=num_sentences,
        letters=sum(letters * num for (letters, _), num in shapes.items()),
        long_words=sum(num for (letters, _), num in shapes.items() if letters >= LONG_LETTERS),
        syllables=sum(syllables * num for (_, syllables), num in shapes.items()),
        polysyllables=sum(num for (_, syllables), num in shapes.items() if syllables >= POLYSYLLABLE),
        monosyllables=sum(num for (_, syllables), num in shapes.items() if syllables == 1),
    )


class _Shapes(dict[str, tuple[int, int]]):
    """Cache of letters and syllables of words in a language (0 syllables without patterns)."""

    def __init__(self, language: str | None) -> None:
        self._language = language

    def __missing__(self, word: str) -> tuple[int, int]:
        if len(self) >= MEMO_WORDS:
            self.clear()
        letters = sum(map(str.isalnum, word))
        found = self[word] = letters, count_syllables(word, self._language) if self._language else 0
        return found


@lru_cache(maxsize=64)
def _shapes(language: str | None) -> _Shapes:
    return _Shapes(language)


def _counts(text: Text, with_syllables: bool) -> Counts:
    """Return the counts of a text; those of the last text are cached, because several formulas need them."""
    kept: dict[bool, Counts] = text.__dict__.setdefault("_readability_counts", {})
    found = kept.get(True) or kept.get(with_syllables)
    if found is None:
        sentences = max(1, len(text.sentences))
        found = kept[with_syllables] = count(text.words, sentences, text.language, with_syllables=with_syllables)
    return found
