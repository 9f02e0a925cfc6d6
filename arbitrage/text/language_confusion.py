"""How much of a text is in a language. The best-known failure of models is a response in English.

After the Language Confusion Benchmark [2406.20052], graded: line pass rate by language identification, word pass rate
by script. The share is the smaller of the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from arbitrage.languages import base_of, family_of, names_script, primary, script_of
from arbitrage.text.identify import find_contradiction, is_confirmed
from arbitrage.text.measured import NO_TEXT, TOO_SHORT, UNKNOWN_LANGUAGE, Measured
from arbitrage.text.prose import Words, count_words, prose
from arbitrage.text.scripts import SCRIPTS, SPACELESS, code_points, count_scripts, script_numbers, scripts_of_language

WORDS_TO_IDENTIFY = 3.0
LETTERS_TO_IDENTIFY = 20
"""Minimum number of letters; one in twenty shorter texts is misidentified
(`benchmarks/language_identification.py`)."""

LETTERS_PER_PASSAGE = 60
"""Lines are joined until they have this many letters: then 2 to 7 of 1,000 give a false alarm."""

SPACELESS_LETTERS = 3
"""Weight of a letter of a script without spaces, in letters of other scripts."""

NO_LANGUAGE = frozenset({"mis", "mul", "und", "zxx"})
"""Tags for no, several or unknown languages (ISO 639-2)."""

OWN_SCRIPTS = frozenset(
    {"Armn", "Geor", "Grek", "Hang", "Hira", "Kana", "Khmr", "Knda", "Laoo", "Mlym", "Sinh", "Taml", "Telu", "Thai"}
)
"""Scripts of a single language: one word identifies it."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Some lines of a text; a letter of a spaceless script counts `SPACELESS_LETTERS`."""

    text: str
    num_letters: int


def language_share(text: str, language: str) -> Measured:
    """Return the share of a text that is in a language, 0..1, or the reason why it is undefined.

    Code, formulas, addresses and names are ignored. A text of one or two words is judged only by its script: 0 if it
    is wrong, 1 if it belongs only to that language, else `too_short`.
    """
    rest = prose(text)
    parts = passages(rest)
    words = count_words(rest, expected_scripts(language))
    return share_of(rest, language, words, parts, lambda: contradictions(parts, language))


def share_of(
    text: str, language: str, words: Words, parts: Sequence[Passage], others: Callable[[], Sequence[str | None]]
) -> Measured:
    """Return `language_share` of a text that is already prose.

    Args:
        text: prose.
        language: BCP-47.
        words: of the text, by script.
        parts: its passages.
        others: what contradicts each, if it comes to that.
    """
    scripts = expected_scripts(language)
    if not scripts:
        return UNKNOWN_LANGUAGE
    if not words.num:
        return NO_TEXT
    share = words.share(scripts)
    num_letters = sum(part.num_letters for part in parts)
    if share < 0.5 and not names_script(language):  # a script that the language is not known to use
        share = max(share, _share_confirmed(parts, language, num_letters))
    if words.num < WORDS_TO_IDENTIFY or num_letters < LETTERS_TO_IDENTIFY:
        if share < 0.5:
            return Measured(0.0)
        return Measured(1.0) if set(count_scripts(text)) & scripts & OWN_SCRIPTS else TOO_SHORT
    passed = sum(part.num_letters for part, other in zip(parts, others(), strict=True) if other is None)
    return Measured(min(share, passed / num_letters))


def contradictions(parts: Sequence[Passage], language: str) -> list[str | None]:
    """Return for each passage the language it is reliably in if that is not the given one, else None."""
    found = (find_contradiction(part.text, language) for part in parts)
    pairs = zip(parts, found, strict=True)
    return [o.language if o and not _is_beyond_cld2(part.text, language, o.language) else None for part, o in pairs]


def _is_beyond_cld2(text: str, language: str, found: str) -> bool:
    """Tell whether CLD2 takes a language in an unusual script for a relative, because it does not know it there.

    South Azerbaijani in Arabic letters becomes Uzbek, Punjabi becomes Urdu; and a neighbour: Tajik in Latin letters
    becomes Uzbek.
    """
    is_near = family_of(found) == family_of(language) or _TAKEN_FOR.get(base_of(language)) == base_of(found)
    if not is_near or base_of(found) == base_of(language):
        return False
    usual = scripts_of_language(f"{base_of(language)}-{script_of(base_of(language))}")
    [(script, _), *_] = count_scripts(text).most_common(1) or [("", 0)]
    return script in expected_scripts(language) - usual - _KNOWN_TO_CLD2.get(base_of(language), frozenset())


_TAKEN_FOR = {"tg": "uz"}

_KNOWN_TO_CLD2 = {
    "mn": frozenset({"Mong"}),
    "sr": frozenset({"Latn"}),
    "tt": frozenset({"Latn"}),
    "uz": frozenset({"Arab", "Cyrl"}),
}
"""Other scripts in which CLD2 distinguishes a language from its relatives."""


def _share_confirmed(parts: Sequence[Passage], language: str, num_letters: int) -> float:
    confirmed = sum(part.num_letters for part in parts if is_confirmed(part.text, language))
    return confirmed / num_letters if num_letters else 0.0


def expected_scripts(language: str) -> frozenset[str]:
    """Return the scripts of a language; empty if they are unknown."""
    return frozenset() if primary(language) in NO_LANGUAGE else scripts_of_language(language)


def passages(text: str) -> list[Passage]:
    """Split into lines; short ones are joined with those that follow, a short rest with the last one."""
    whole: list[Passage] = []
    pending: list[str] = []
    num_letters = 0
    for line, more in zip(text.splitlines(), _letters_by_line(text), strict=True):
        pending.append(line)
        num_letters += more
        if num_letters >= LETTERS_PER_PASSAGE:
            whole.append(_passage(pending, num_letters))
            pending.clear()
            num_letters = 0
    if not whole or not num_letters:
        return whole or [_passage(pending, num_letters)]
    last, rest = whole.pop(), _passage(pending, num_letters)
    return [*whole, Passage(last.text + rest.text, last.num_letters + num_letters)]


def _passage(lines: Sequence[str], num_letters: int) -> Passage:
    return Passage("".join(f"\n{line}" for line in lines), num_letters)


_WEIGHTS = np.array([SPACELESS_LETTERS if script in SPACELESS else int(script != "") for script in SCRIPTS])
"""Weight of a letter of each script."""


def _letters_by_line(text: str) -> list[int]:
    """Return the letters of each line, those of spaceless scripts counted `SPACELESS_LETTERS` times."""
    starts = list(accumulate(map(len, text.splitlines(keepends=True)), initial=0))[:-1]
    if not starts:
        return []
    found: list[int] = np.add.reduceat(_WEIGHTS[script_numbers(code_points(text))], starts).tolist()
    return found
