"""How long a text is in one language beside another, by measurement (`python -m tools.text_lengths`)."""

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from math import exp, hypot, log

from arbitrage.languages import base_of, script_of

SHORT_CHARACTERS = 20.0
"""Of a text this long the expected length is as uncertain again as the languages make it."""


@dataclass(frozen=True, slots=True)
class TextLength:
    """Of the texts of one language: how long they are beside the English texts that they translate.

    Attributes:
        log_ratio: natural log of characters over English characters, the median.
        spread: standard deviation of it over texts, from the median deviation.
        ends_marked: share of the texts that end in a punctuation mark where the English text does.
    """

    log_ratio: float
    spread: float
    ends_marked: float


UNKNOWN_LENGTH = TextLength(0.0, 0.35, 0.0)


def length_in(language: str) -> TextLength:
    """Return what is known of a language; of its relatives in writing where it was not measured."""
    return _length_in(language)


def expected_length(source: str, source_language: str, target: str) -> float:
    """Return how many characters a translation of a text usually has."""
    return max(1, len(source)) * exp(_length_in(target).log_ratio - _length_in(source_language).log_ratio)


def surprise(source: str, translation: str, source_language: str, target: str) -> float:
    """Return how many standard deviations a translation is longer than expected; negative if it is shorter."""
    spread = hypot(_length_in(source_language).spread, _length_in(target).spread)
    spread *= 1.0 + SHORT_CHARACTERS / max(1, len(source))
    return log(max(1, len(translation)) / expected_length(source, source_language, target)) / spread


@lru_cache(maxsize=4096)
def _length_in(language: str) -> TextLength:
    known = _measured()
    if language in known:
        return known[language]
    base, script = base_of(language), script_of(language)
    near = [tag for tag in known if base_of(tag) == base and script_of(tag) == script]
    near = near or [tag for tag in known if script_of(tag) == script]
    if not near:
        return UNKNOWN_LENGTH
    found = sorted((known[tag] for tag in near), key=lambda each: each.log_ratio)
    return TextLength(
        found[len(found) // 2].log_ratio, max(each.spread for each in found), min(each.ends_marked for each in found)
    )


@cache
def _measured() -> dict[str, TextLength]:
    text = (files("arbitrage.text") / "text_lengths.json").read_text(encoding="utf-8")
    return {tag: TextLength(*row) for tag, row in json.loads(text)["languages"].items()}
