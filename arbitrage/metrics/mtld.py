"""MTLD, the measure of textual lexical diversity (McCarthy & Jarvis 2010, doi:10.3758/BRM.42.2.381).

The text is split into factors: passages over which the type-token ratio stays high. MTLD is the number of words over
the number of factors; the rest of the text counts as a part of a factor, in proportion to the fall of its ratio. The
mean of reading forwards and backwards is taken. Implementations differ in three choices, all of them options here:

    ours                      a factor ends where the ratio falls below 0.72, however short it is
    lexicalrichness           … reaches 0.72 or falls below it: `factor="at_or_below"`
    lexical-diversity         … below 0.72 after 10 words at least: `factor_words=10`, and not with the last word
"""

from collections.abc import Iterable, Sequence
from math import nextafter
from typing import Literal

from pydantic import Field

from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.length import words_or_reason
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.text.measured import TOO_SHORT, Measured
from arbitrage.text.text import Text


class MtldConfig(TextMetricOptions):
    """Lexical diversity independent of length: the mean number of words over which the type-token ratio stays high.

    Attributes:
        threshold: type-token ratio that ends a factor.
        factor: whether the ratio must fall below the threshold, or may equal it.
        factor_words: minimum length of a factor.
        min_words: shorter texts are `too_short`, and so are texts that repeat no word; according to the source, MTLD
            is stable from 100 words on.
    """

    kind: Literal["mtld"] = "mtld"
    threshold: float = Field(default=0.72, gt=0.0, lt=1.0)
    factor: Literal["below", "at_or_below"] = "below"
    factor_words: int = Field(default=1, ge=1)
    min_words: int = Field(default=50, ge=1)

    @property
    def usual_name(self) -> str:
        """Return 'mtld'."""
        return "mtld"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "diversity"

    @property
    def facts(self) -> Facts:
        """McCarthy & Jarvis 2010."""
        source = "McCarthy & Jarvis 2010"
        return Facts("lexical diversity (MTLD)", "words", 1.0, None, source, f"{self.min_words} words and more")

    def metric(self) -> Metric:
        """Build the metric."""
        return TextMetric(self.metric_name, self._measure)

    def _measure(self, text: Text) -> Measured:
        words = words_or_reason(text, self.min_words)
        if isinstance(words, Measured):
            return words
        found = mtld(words, self.threshold, at_or_below=self.factor == "at_or_below", factor_words=self.factor_words)
        return TOO_SHORT if found is None else Measured(found)


def mtld(
    tokens: Sequence[str], threshold: float = 0.72, *, at_or_below: bool = False, factor_words: int = 1
) -> float | None:
    """Return the mean of MTLD forwards and backwards; None where no token occurs twice within a factor."""
    both = [
        _factors(order, threshold, at_or_below=at_or_below, factor_words=factor_words)
        for order in (tokens, reversed(tokens))
    ]
    return None if 0.0 in both else sum(len(tokens) / factors for factors in both) / 2


def _factors(tokens: Iterable[str], threshold: float, *, at_or_below: bool, factor_words: int) -> float:
    """Return the number of factors; the last one counts in part."""
    limit = nextafter(threshold, 1.0) if at_or_below else threshold
    factors = 0.0
    types: set[str] = set()
    length = 0
    for token in tokens:
        length += 1
        if token not in types:  # a new type raises the ratio: only at the shortest factor may it be below the limit
            types.add(token)
            if length != factor_words:
                continue
        if len(types) / length < limit and length >= factor_words:
            factors += 1.0
            types.clear()
            length = 0
    if not length:
        return factors
    return factors + (1.0 - len(types) / length) / (1.0 - threshold)
