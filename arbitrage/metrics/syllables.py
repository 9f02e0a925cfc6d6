"""Syllables by hyphenation patterns (Liang 1983; the LibreOffice dictionaries, by `pyphen`).

A word has one syllable more than it has places for a hyphen, two letters from either end at the nearest. That is
what `textstat` counts outside English and what `textdescriptives` counts everywhere. Hyphenation keeps short
syllables at the ends of a word together with their neighbours ("again" counts one), so counts are low by a tenth to a
fifth; formulas are compared within a language, where that does not matter.
"""

from functools import lru_cache
from typing import Any

from arbitrage.languages import base_of


@lru_cache(maxsize=256)
def has_syllables(language: str) -> bool:
    """Tell whether there are hyphenation patterns for a language."""
    return _dictionary(language) is not None


@lru_cache(maxsize=1 << 17)
def count_syllables(word: str, language: str) -> int:
    """Return the number of syllables of a word, at least 1, by the patterns of a language that has them."""
    return len(_dictionary(language).positions(word.lower())) + 1 if len(word) > 3 else 1


@lru_cache(maxsize=256)
def _dictionary(language: str) -> Any:
    import pyphen

    for tag in (language.replace("-", "_"), {"en": "en_US", "no": "nb"}.get(base_of(language), base_of(language))):
        if tag in pyphen.LANGUAGES:
            return pyphen.Pyphen(lang=tag, cache=False)
    return None
