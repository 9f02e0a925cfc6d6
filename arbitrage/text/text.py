"""A text with its language, and values that several metrics need, each computed once."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from arbitrage.text.identify import IDENTIFIED_CHARS, find_contradiction
from arbitrage.text.language_confusion import Passage, contradictions, expected_scripts, passages
from arbitrage.text.prose import Words, count_words, prose
from arbitrage.text.scripts import count_scripts
from arbitrage.text.segmentation import split_sentences, split_words

_MARKERS = re.compile(r"\n[ \t]*(?:(?:[-*+•·‣▪–]|\d{1,3}[.)、]|\#{1,6}|>)[ \t]+)+")
"""Bullets, numbers of items, headings, quotes: layout at the beginning of a line. With the line break written out the
search leaps from one to the next."""


@dataclass(frozen=True)
class Text:
    """A text to be measured.

    Attributes:
        text: the text, unchanged.
        language: BCP-47, or 'und'.
        embedding: an embedding of the text, of any length above zero.
        reasoning: what its model wrote before it.
    """

    text: str
    language: str
    embedding: Sequence[float] | None = field(default=None, repr=False)
    reasoning: str | None = field(default=None, repr=False)

    @cached_property
    def reasoning_as_wanted(self) -> "Text | None":
        """The reasoning as a text in the language of this one; None without reasoning."""
        return Text(self.reasoning, self.language) if self.reasoning and not self.reasoning.isspace() else None

    @cached_property
    def reasoning_as_written(self) -> "Text | None":
        """The reasoning as a text in its own language: another one where the identifier reliably says so."""
        wanted = self.reasoning_as_wanted
        if wanted is None:
            return None
        other = find_contradiction(wanted.text[:IDENTIFIED_CHARS], self.language)
        return wanted if other is None else Text(wanted.text, other.language)

    @cached_property
    def prose(self) -> str:
        """The text without code, formulas, markup, addresses, and without bullets and numbers of items."""
        return _MARKERS.sub("\n", "\n" + prose(self.text))[1:]

    @cached_property
    def num_visible(self) -> int:
        """The number of its characters that are not blank."""
        return len("".join(self.text.split()))

    @cached_property
    def words(self) -> list[str]:
        """The words of its prose, unchanged."""
        return split_words(self.prose, self.language)

    @cached_property
    def folded_words(self) -> list[str]:
        """The words of its prose, case folded."""
        return list(map(str.casefold, self.words))

    @cached_property
    def word_hashes(self) -> NDArray[np.uint32]:
        """A hash of each of its folded words."""
        return np.fromiter(map(crc32, map(str.encode, self.folded_words)), np.uint32, len(self.folded_words))

    @cached_property
    def sentences(self) -> list[str]:
        """The sentences of its prose."""
        return split_sentences(self.prose, self.language)

    @cached_property
    def letters_by_script(self) -> Counter[str]:
        """The letters of its prose by script."""
        return count_scripts(self.prose)

    @cached_property
    def words_by_script(self) -> Words:
        """The words of its prose by script; names and symbols are counted nowhere."""
        return count_words(self.prose, expected_scripts(self.language))

    @cached_property
    def passages(self) -> list[Passage]:
        """The lines of its prose, short ones joined until they are long enough for language identification."""
        return passages(self.prose)

    @cached_property
    def contradictions(self) -> list[str | None]:
        """For each passage, the other language that it is reliably in; None if it is in the text's own."""
        return contradictions(self.passages, self.language)
