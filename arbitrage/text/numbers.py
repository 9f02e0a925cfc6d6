"""Parse numbers as people write them: digits of every script, decimal comma or point, thousands, fractions."""

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

MAX_DIGITS: Final = 40
"""Longer runs of digits are not numbers but codes."""

MAX_EXPONENT: Final = 100

_GROUPED: Final = r"\d{1,3}(?P<apart>[.,'’_٬ ])\d{3}(?:(?P=apart)\d{3}){0,10}(?:(?!(?P=apart))[.,٫]\d{1,20})?(?!\d)"
_INDIAN: Final = r"\d{1,2}(?:,\d{2}){1,8},\d{3}(?:\.\d{1,20})?(?!\d)"
_PLAIN: Final = rf"\d{{1,{MAX_DIGITS}}}(?:[.,٫]\d{{1,{MAX_DIGITS}}})?"
_NUMBER: Final = re.compile(
    rf"(?<![\d])(?<![A-Za-zÀ-ɏͰ-ӿ])(?<![A-Za-zÀ-ɏͰ-ӿ]-)(?P<sign>[-+])?"
    rf"(?:(?P<indian>{_INDIAN})|(?P<grouped>{_GROUPED})|(?P<plain>{_PLAIN}))"
    rf"(?: ?(?:[eE]|[×x*·] ?10\^?\{{?)(?P<exponent>[-+]?\d{{1,3}})(?!\d))?"
    rf"(?: ?/ ?(?P<divisor>\d{{1,{MAX_DIGITS}}})(?![\d/]))?"
)
_AS_PROGRAMS_WRITE: Final = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}(?:\.[0-9]{{1,{MAX_DIGITS}}})?")
_SUPERSCRIPT: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_POWER: Final = re.compile(r"(?<=10)[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]{1,4}")
_MINUS: Final = str.maketrans(dict.fromkeys("−–‒﹣－", "-"))

Readings = frozenset[Fraction]
"""Possible values of a number: '1.234' may be 1234 or 1.234."""


def numbers_in(text: str) -> Iterator[Readings]:
    """Yield the possible values of each number in a text, in order, except numbers within names ('H2O', 'GPT-4').

    With one mark before three digits, both readings are given in every language, because models mix them: in French
    they write '18,250', '18 250' and '18.250'. '18,000' is never 18.
    """
    for match in _NUMBER.finditer(_plain(text)):
        if found := _readings(match):
            yield found


def read_number(text: str) -> Readings:
    """Return the possible values of a text for which `is_number` is true; '1.234' in program style is 1.234."""
    if _AS_PROGRAMS_WRITE.fullmatch(text.strip()):
        return frozenset({Fraction(text.strip())})
    return next(numbers_in(text), frozenset())


def is_number(text: str) -> bool:
    """Tell whether a text is one number, with only signs beside it ('$18', '42 %')."""
    plain = _plain(text)
    matches = list(_NUMBER.finditer(plain))
    return len(matches) == 1 and not any(map(str.isalnum, plain[: matches[0].start()] + plain[matches[0].end() :]))


def _plain(text: str) -> str:
    """Return a text with ASCII digits, minus signs, single marks for what looks alike, and single spaces."""
    text = _POWER.sub(lambda match: "^" + match.group().translate(_SUPERSCRIPT), text)
    text = unicodedata.normalize("NFKC", text).translate(_MINUS)
    if not text.isascii():
        text = "".join(map(_ascii_digit, text))
    return text


def _ascii_digit(char: str) -> str:
    if char.isascii():
        return char
    if char.isspace():
        return " " if char not in "\n\r" else char
    value = unicodedata.decimal(char, None)
    return "" if unicodedata.category(char) == "Cf" else char if value is None else str(value)


def _readings(match: re.Match[str]) -> Readings:
    whole = match["indian"] or match["grouped"] or match["plain"]
    found = set(_values(whole, match["apart"] if match["grouped"] else "," if match["indian"] else None))
    exponent, divisor = int(match["exponent"] or 0), int(match["divisor"] or 1)
    if abs(exponent) > MAX_EXPONENT or not divisor:
        return frozenset()
    sign = -1 if match["sign"] == "-" else 1
    return frozenset(sign * value * Fraction(10) ** exponent / divisor for value in found)


def _values(text: str, apart: str | None) -> Iterator[Fraction]:
    if apart is None:
        yield _decimal(text)
        return
    yield _decimal(text.replace(apart, ""))
    whole, _, rest = text.rpartition(apart)
    if apart == " ":  # 'room 12 345 people'
        yield _decimal(rest)
    elif apart in ".," and whole.isdecimal() and rest.isdecimal() and int(rest):
        yield _decimal(text)


def _decimal(text: str) -> Fraction:
    return Fraction(re.sub("[,٫]", ".", text))
