"""Syllables by hyphenation patterns (Liang 1983; the LibreOffice dictionaries, by `pyphen`).

A word has one syllable more than it has hyphenation points, which are at least two letters from either end. That is
what `textstat` counts outside English and what `textdescriptives` counts everywhere. Hyphenation keeps short
syllables at the ends of a word together with their neighbours ("again" counts one), so counts are too low by a tenth
to a fifth. This is acceptable because formulas are compared within one language.
"""

from collections.abc import Mapping
from functools import lru_cache

from arbitrage.languages import base_of

MARGIN_LETTERS = 2
"""Minimum number of letters between a hyphen and either end of a word."""

Levels = tuple[int, tuple[int, ...]]
"""Position of the first level in a pattern, and the levels; an odd level allows a hyphen."""


@lru_cache(maxsize=256)
def has_syllables(language: str) -> bool:
    """Tell whether there are hyphenation patterns for a language."""
    return _patterns(language) is not None


def count_syllables(word: str, language: str) -> int:
    """Return the number of syllables of a word, at least 1, by the patterns of a language that has them."""
    found = _patterns(language)
    if found is None or len(word) < 2 * MARGIN_LETTERS:
        return 1
    return 1 + found.count_hyphens(word.lower())


class _Patterns:
    """Patterns, and all their prefixes, at which a search can end (4 times as fast as `pyphen`)."""

    def __init__(self, patterns: Mapping[str, Levels]) -> None:
        self._nodes: dict[str, Levels | None] = {key[:end]: None for key in patterns for end in range(1, len(key))}
        self._nodes.update(patterns)

    def count_hyphens(self, word: str) -> int:
        """Return the number of hyphenation points."""
        pointed = f".{word}."
        size = len(pointed)
        levels = [0] * (size + 1)
        nodes = self._nodes
        for i in range(size - 1):
            for j in range(i + 1, size + 1):
                piece = pointed[i:j]
                if piece not in nodes:
                    break
                if (found := nodes[piece]) is not None:
                    for place, level in enumerate(found[1], i + found[0]):
                        levels[place] = max(levels[place], level)
        return sum(level & 1 for level in levels[MARGIN_LETTERS + 1 : len(word) - MARGIN_LETTERS + 2])


@lru_cache(maxsize=256)
def _patterns(language: str) -> _Patterns | None:
    import pyphen

    for tag in (language.replace("-", "_"), {"en": "en_US", "no": "nb"}.get(base_of(language), base_of(language))):
        if tag in pyphen.LANGUAGES:
            return _parsed(pyphen.LANGUAGES[tag].name)
    return None


@lru_cache(maxsize=64)
def _parsed(name: str) -> _Patterns:
    import pyphen

    tag = next(tag for tag, path in pyphen.LANGUAGES.items() if path.name == name)
    return _Patterns(pyphen.Pyphen(lang=tag, cache=False).hd.patterns)
