"""Readability formulas: their computation from a text's counts, and the languages for which they were validated.

Every formula is a pure function of counts, so that peers' values can be checked on peers' counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a text, the input of the formulas.

    Attributes:
        words: at least 1.
        sentences: at least 1.
        letters: letters and digits of all words.
        syllables: of all words.
        long_words: words of more than 6 letters.
        polysyllables: words of 3 syllables and more.
        monosyllables: words of 1 syllable.
    """

    words: int
    sentences: int
    letters: int
    long_words: int
    syllables: int = 0
    polysyllables: int = 0
    monosyllables: int = 0


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula.

    Attributes:
        compute: value of the counts in a language (primary subtag).
        languages: primary subtags for which it was fitted or validated.
        source: publication.
        unit: unit of the values.
        needs_syllables: whether syllables are counted.
    """

    compute: Callable[[Counts, str], float]
    languages: frozenset[str]
    source: str
    unit: str
    needs_syllables: bool = True


BJORNSSON = frozenset(["da", "de", "en", "es", "fi", "fr", "it", "nb", "nn", "no", "pt", "ru", "sv"])
"""The languages of Björnsson 1983, "Readability of newspapers in 11 languages" (Reading Research Quarterly 18:4)."""

FLESCH: Mapping[str, tuple[float, float, float]] = {
    "en": (206.835, 1.015, 84.6),  # Flesch 1948
    "de": (180.0, 1.0, 58.5),  # Amstad 1978
    "es": (206.84, 1.02, 60.0),  # Fernández Huerta 1959
    "fr": (207.0, 1.015, 73.6),  # Kandel & Moles 1958
    "it": (217.0, 1.3, 60.0),  # Franchina & Vacca 1986
    "nl": (206.835, 0.93, 77.0),  # Douma 1960
    "pt": (248.835, 1.015, 84.6),  # Martins et al. 1996
    "ru": (206.835, 1.3, 60.1),  # Oborneva 2006
}
"""Base, weight of words per sentence, weight of syllables per word."""


def flesch(counts: Counts, language: str) -> float:
    """Return reading ease, with the weights that were fitted to the language; higher is easier."""
    base, per_sentence, per_syllable = FLESCH[language]
    return base - per_sentence * counts.words / counts.sentences - per_syllable * counts.syllables / counts.words


def _gunning_fog(c: Counts, _: str) -> float:
    return 0.4 * (c.words / c.sentences + 100 * c.polysyllables / c.words)


def _lix(c: Counts, _: str) -> float:
    return c.words / c.sentences + 100 * c.long_words / c.words


def _rix(c: Counts, _: str) -> float:
    return c.long_words / c.sentences


def _flesch_kincaid(c: Counts, _: str) -> float:
    return 0.39 * c.words / c.sentences + 11.8 * c.syllables / c.words - 15.59


def _automated(c: Counts, _: str) -> float:
    return 4.71 * c.letters / c.words + 0.5 * c.words / c.sentences - 21.43


def _coleman_liau(c: Counts, _: str) -> float:
    return 5.88 * c.letters / c.words - 29.6 * c.sentences / c.words - 15.8


def _wiener(c: Counts, _: str) -> float:
    shares = 19.35 * c.polysyllables + 12.97 * c.long_words - 3.27 * c.monosyllables
    return shares / c.words + 0.1672 * c.words / c.sentences - 0.875


def _gulpease(c: Counts, _: str) -> float:
    return 89.0 + (300.0 * c.sentences - 10.0 * c.letters) / c.words


def _szigriszt(c: Counts, _: str) -> float:
    return 206.835 - 62.3 * c.syllables / c.words - c.words / c.sentences


def _crawford(c: Counts, _: str) -> float:
    return -20.5 * c.sentences / c.words + 4.9 * c.syllables / c.words - 3.407


def _gutierrez(c: Counts, _: str) -> float:
    return 95.2 - 9.7 * c.letters / c.words - 0.35 * c.words / c.sentences


_EN, _ES = frozenset({"en"}), frozenset({"es"})

FORMULAS: Mapping[str, Formula] = {
    "gunning_fog": Formula(_gunning_fog, _EN, "Gunning 1952", "school years"),
    "lix": Formula(_lix, BJORNSSON, "Björnsson 1968, 1983", "index", needs_syllables=False),
    "rix": Formula(_rix, BJORNSSON, "Anderson 1983", "long words per sentence", needs_syllables=False),
    "flesch": Formula(flesch, frozenset(FLESCH), "Flesch 1948 and its adaptations", "index, higher is easier"),
    "flesch_kincaid": Formula(_flesch_kincaid, _EN, "Kincaid et al. 1975", "school years"),
    "ari": Formula(_automated, _EN, "Smith & Senter 1967", "school years", needs_syllables=False),
    "coleman_liau": Formula(_coleman_liau, _EN, "Coleman & Liau 1975", "school years", needs_syllables=False),
    "wiener": Formula(_wiener, frozenset({"de"}), "Bamberger & Vanecek 1984, first formula", "school years"),
    "gulpease": Formula(
        _gulpease, frozenset({"it"}), "Lucisano & Piemontese 1988", "index, higher is easier", needs_syllables=False
    ),
    "szigriszt_pazos": Formula(_szigriszt, _ES, "Szigriszt Pazos 1993", "index, higher is easier"),
    "crawford": Formula(_crawford, _ES, "Crawford 1984", "school years"),
    "gutierrez_polini": Formula(
        _gutierrez, _ES, "Gutiérrez de Polini 1972", "index, higher is easier", needs_syllables=False
    ),
}
