"""Vocabulary size of a set of texts: in a fixed number of words, so that sets of any size compare (Heaps 1978)."""

import heapq
from math import log
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from arbitrage.contracts.metrics import SetMetric, Sketch
from arbitrage.metrics.options import Facts, Family, MetricOptions
from arbitrage.text.measured import TOO_FEW, Measured
from arbitrage.text.segmentation import has_words
from arbitrage.text.text import Text

Words = NDArray[np.uint32]


class VocabularyConfig(MetricOptions):
    """The number of different words in a fixed number of words, or the rate at which new words appear.

    The words are those of texts drawn at random. Memory does not grow with the number of texts.

    Attributes:
        num_words: number of words; smaller sets are `too_few`.
        report: `types` gives the number of different words; `growth` Heaps' exponent between a tenth of the words and
            all of them: 1 where every word is new, 0 where none is.
    """

    kind: Literal["vocabulary"] = "vocabulary"
    num_words: int = Field(default=10_000, ge=100)
    report: Literal["types", "growth"] = "types"

    @property
    def usual_name(self) -> str:
        """Return 'vocabulary' or 'vocabulary_growth'."""
        return "vocabulary" if self.report == "types" else "vocabulary_growth"

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "set"

    @property
    def facts(self) -> Facts:
        """Heaps 1978."""
        defined = f"{self.num_words:,} words and more"
        if self.report == "types":
            title = f"different words in {self.num_words:,}"
            return Facts(title, "words", 1.0, float(self.num_words), "Heaps 1978", defined)
        return Facts("growth of the vocabulary", "exponent", 0.0, 1.0, "Heaps 1978", defined)

    def build(self) -> SetMetric:
        """Build the metric."""
        return VocabularyMetric(self)


class VocabularyMetric:
    """A `SetMetric`."""

    def __init__(self, config: VocabularyConfig) -> None:
        self._config = config

    @property
    def name(self) -> str:
        """Name in profiles."""
        return self._config.metric_name

    def digest(self, text: Text) -> Words | None:
        """Return a hash of each word of a text, in order; None where words are not defined."""
        if not has_words(text.language) or not text.words:
            return None
        hashes, limit = text.word_hashes, self._config.num_words
        return hashes if len(hashes) <= limit else hashes[:limit]  # uncut, it is sent only once

    def sketch(self) -> Sketch:
        """Return the sketch of an empty set."""
        return _Sketch(self._config)


class _Sketch:
    """The texts with the smallest keys that have `num_words` words in total, as a heap: largest key first."""

    def __init__(self, config: VocabularyConfig) -> None:
        self._config = config
        self._heap: list[tuple[int, bytes]] = []
        self._num_words = 0

    def add(self, key: int, digest: Words) -> None:
        """Keep a text while the other texts have too few words without it."""
        if self._num_words >= self._config.num_words and -key < self._heap[0][0]:
            return
        heapq.heappush(self._heap, (-key, digest.tobytes()))
        self._num_words += len(digest)
        while self._num_words - len(self._heap[0][1]) // 4 >= self._config.num_words:
            self._num_words -= len(heapq.heappop(self._heap)[1]) // 4

    def merge(self, other: Any) -> None:
        """Add the texts of another sketch."""
        for key, words in other._heap:
            self.add(-key, np.frombuffer(words, np.uint32))

    def value(self) -> Measured:
        """Return the number of different words, or Heaps' exponent."""
        wanted = self._config.num_words
        if self._num_words < wanted:
            return TOO_FEW
        words = np.frombuffer(b"".join(data for _, data in sorted(self._heap, reverse=True)), np.uint32)[:wanted]
        types = len(np.unique(words))
        if self._config.report == "types":
            return Measured(float(types))
        return Measured(log(types / len(np.unique(words[: wanted // 10]))) / log(wanted / (wanted // 10)))
