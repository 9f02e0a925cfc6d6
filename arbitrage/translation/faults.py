"""What is wrong with a translation, told from it and its source alone: the rule-based checks."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from pydantic import Field

from arbitrage.config import Config
from arbitrage.languages import script_of
from arbitrage.text.language_confusion import language_share
from arbitrage.text.lengths import length_in, surprise
from arbitrage.text.numbers import Readings, numbers_in
from arbitrage.text.prose import prose
from arbitrage.text.scripts import SPACELESS, count_scripts
from arbitrage.translation.marks import asks, ends_in_mark, ends_in_question, options_in
from arbitrage.translation.spans import first_change

FaultName = Literal[
    "empty",
    "span_changed",
    "untranslated",
    "wrong_language",
    "cut_off",
    "length",
    "lines_changed",
    "options_changed",
    "number_changed",
    "answered",
]
"""Why a translation is rejected, in the order in which it is checked."""


class TranslationChecks(Config):
    """Limits of the rule-based checks of translations.

    Attributes:
        skip: checks that are not made.
        language_share: smallest share of a translation that is in the target language.
        length: a translation is rejected that is this many standard deviations longer or shorter than translations of
            such a text usually are (measured by language).
        copied: a translation is rejected of whose words a larger share stands in the source, three in a row.
    """

    skip: tuple[FaultName, ...] = ()
    language_share: float = Field(default=0.5, ge=0.0, le=1.0)
    length: float = Field(default=4.0, gt=0.0)
    copied: float = Field(default=0.5, gt=0.0, le=1.0)


@dataclass(frozen=True, slots=True)
class Pair:
    """A source text and its translation."""

    source: str
    translation: str
    source_language: str
    target: str


@dataclass(frozen=True, slots=True)
class TranslationFault:
    """What is wrong with a translation, and the place."""

    name: FaultName
    detail: str


def fault_of(pair: Pair, checks: TranslationChecks) -> TranslationFault | None:
    """Return the first fault of a translation; None if there is none."""
    for name, find in _CHECKS.items():
        if name not in checks.skip and (detail := find(pair, checks)) is not None:
            return TranslationFault(name, detail)
    return None


def _empty(pair: Pair, _: TranslationChecks) -> str | None:
    return None if pair.translation.strip() else "no text"


def _span(pair: Pair, _: TranslationChecks) -> str | None:
    span = first_change(pair.source, pair.translation)
    return None if span is None else f"'{span[:80]}'"


_WORD: Final = re.compile(r"[^\W\d_]+")


def _untranslated(pair: Pair, checks: TranslationChecks) -> str | None:
    """Compare runs of three words; in scripts without spaces, of six letters. Names alone are no copy."""
    source, translation = prose(pair.source), prose(pair.translation)
    own = _runs(translation)
    if own is None:
        is_copy = _words(source) == _words(translation) != [] and _is_sentence(source)
        return "equal to the source" if is_copy else None
    shared = len(own & (_runs(source) or set())) / len(own)
    return f"{shared:.0%} of it stands in the source" if shared > checks.copied else None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _is_sentence(text: str) -> bool:
    """Tell whether a short text is more than a name: some word of it begins with a small letter."""
    found = _WORD.findall(text)
    return any(word[0].islower() for word in found) or (len(found) > 1 and not text.isascii())


def _runs(text: str) -> set[tuple[str, ...]] | None:
    words = _words(text)
    if any(script in SPACELESS for script in count_scripts(text)):
        letters = "".join(words)
        return {tuple(letters[i : i + 6]) for i in range(len(letters) - 5)} or None
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)} or None


def _language(pair: Pair, checks: TranslationChecks) -> str | None:
    found = language_share(pair.translation, pair.target)
    if found.value is None or found.value >= checks.language_share:
        return None
    return f"{found.value:.0%} in {pair.target}"


MARKED: Final = 0.97
"""Share of a language's texts that end in a mark, from which on one that does not is cut off."""


def _cut_off(pair: Pair, _: TranslationChecks) -> str | None:
    is_lost = ends_in_mark(pair.source) and not ends_in_mark(pair.translation)
    if is_lost and length_in(pair.target).ends_marked >= MARKED:
        return f"ends in '{pair.translation.strip()[-20:]}'"
    return None


SHORT, SHORT_UNMARKED = 0.75, 0.5
"""Share of the limit that a translation may be shorter than usual: parts are lost more often than added. In languages
without marks at the end of texts nothing else shows that the end is missing."""


def _length(pair: Pair, checks: TranslationChecks) -> str | None:
    by = surprise(prose(pair.source), prose(pair.translation), pair.source_language, pair.target)
    low = checks.length * (SHORT if length_in(pair.target).ends_marked >= MARKED else SHORT_UNMARKED)
    if -low <= by <= checks.length:
        return None
    return f"{len(pair.translation)} characters of {len(pair.source)}, {abs(by):.1f} deviations from the usual"


def _lines(pair: Pair, _: TranslationChecks) -> str | None:
    lines = [sum(1 for line in text.splitlines() if line.strip()) for text in (pair.source, pair.translation)]
    return None if abs(lines[0] - lines[1]) <= lines[0] // 10 else f"{lines[1]} lines of {lines[0]}"


def _options(pair: Pair, _: TranslationChecks) -> str | None:
    labels = [options_in(text) for text in (pair.source, pair.translation)]
    return None if labels[0] == labels[1] else f"{', '.join(labels[1]) or 'none'} of {', '.join(labels[0]) or 'none'}"


def _number(pair: Pair, _: TranslationChecks) -> str | None:
    """Return a number of the translation that is none of the source's, where one of the source's is gone, too.

    Numbers may become words and words numbers, so a number alone that is missing or new is no fault; nor is one in
    another form, or in another unit.
    """
    source, translation = (list(map(_unsigned, numbers_in(text))) for text in (pair.source, pair.translation))
    measures = [_unsigned(n) for match in _IMPERIAL.finditer(pair.source) for n in numbers_in(match.group())]
    gone, new = list(_without(source, translation)), list(_without(translation, source))

    def is_other_form(one: Readings, other: Readings) -> bool:
        return _is_other_form(one, other) or (one in measures and _is_converted(one, other))

    strange = [each for each in new if not any(is_other_form(other, each) for other in gone)]
    lost = [each for each in gone if not any(is_other_form(each, other) for other in new)]
    return f"{_shown(strange[0])} instead of {_shown(lost[0])}" if strange and lost else None


def _unsigned(number: Readings) -> Readings:
    """Return a number without its sign: a hyphen before it may join it with a word."""
    return frozenset(map(abs, number))


def _without(numbers: list[Readings], others: list[Readings]) -> Iterator[Readings]:
    rest = list(others)
    for number in numbers:
        same = next((each for each in rest if each & number), None)
        if same is None:
            yield number
        else:
            rest.remove(same)


def _is_other_form(one: Readings, other: Readings) -> bool:
    """Tell whether two numbers may be one: by the clock ('3 p.m.' and '15:00'), as a decade ('1980s' and '80s'), or
    in thousands, 万, lakhs, millions.
    """
    for a, b in _pairs(one, other):
        is_decade = abs(a - b) in _CENTURIES and min(a, b) < 100 and min(a, b) % 10 == 0
        if abs(a - b) == CLOCK or is_decade or max(a / b, b / a) in _SCALES:
            return True
    return False


def _is_converted(one: Readings, other: Readings) -> bool:
    """Tell whether a measure may have been converted, and rounded or written in two units ('6-foot-6')."""
    for a, b in _pairs(one, other):
        celsius = ((a - 32) / Fraction(9, 5), a / Fraction(9, 5))
        is_temperature = any(abs(each - b) <= 1 for each in celsius)
        if is_temperature or any(abs(float(b / a) * unit - 1.0) < ROUNDED for unit in _UNITS):
            return True
    return False


def _pairs(one: Readings, other: Readings) -> Iterator[tuple[Fraction, Fraction]]:
    return ((a, b) for a in one for b in other if a and b)


CLOCK: Final = 12
ROUNDED: Final = 0.1
_CENTURIES: Final = frozenset({1800, 1900, 2000})
_SCALES: Final = frozenset(10**exponent for exponent in range(2, 10))
_UNITS: Final = (1 / 1.609, 1 / 2.54, 1 / 25.4, 1 / 30.48, 3.281, 2.205, 1 / 28.35, 1 / 3.785, 2.471)
"""Miles to km, inches to cm and mm, feet to cm and m, pounds to kg, ounces to g, gallons to l, acres to
hectares: how many of the first are one of the second.
"""

_IMPERIAL: Final = re.compile(
    r"(?<!\w)\d[\d.,]{0,20}(?:(?:[ -](?:to|or|and)[ -]|[-–])\d[\d.,]{0,20})?[ -]?"
    r"(?:mph|miles?|inch(?:es)?|in\.|feet|foot|ft|yards?|pounds?|lbs?|ounces?|oz|gallons?|acres?|degrees?|°F)"
    r"(?:-\d[\d.,]{0,20})?(?!\w)",
    re.IGNORECASE,
)
"""Measures that translators convert, such as '2 to 3 inches', '6-foot-6'."""


def _shown(number: Readings) -> str:
    return str(min(number))


def _answered(pair: Pair, _: TranslationChecks) -> str | None:
    """A question whose translation asks nothing was answered instead."""
    is_lost = ends_in_question(pair.source) and not asks(pair.translation, script_of(pair.target))
    return "a question became a statement" if is_lost else None


_CHECKS: Final[dict[FaultName, Callable[[Pair, TranslationChecks], str | None]]] = {
    "empty": _empty,
    "span_changed": _span,
    "untranslated": _untranslated,
    "wrong_language": _language,
    "cut_off": _cut_off,
    "length": _length,
    "lines_changed": _lines,
    "options_changed": _options,
    "number_changed": _number,
    "answered": _answered,
}
