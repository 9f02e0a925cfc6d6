"""Which script a text is written in, by ISO 15924 code, from the names of its characters (UAX #24 in the small)."""

import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from arbitrage.languages import script_of

SPACELESS = frozenset({"Hani", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})
"""Scripts written without spaces between words."""

_NAMES = {
    "LATIN": "Latn",
    "CYRILLIC": "Cyrl",
    "GREEK": "Grek",
    "ARABIC": "Arab",
    "HEBREW": "Hebr",
    "CJK": "Hani",
    "HIRAGANA": "Hira",
    "KATAKANA": "Kana",
    "KATAKANA-HIRAGANA": "Kana",
    "HANGUL": "Hang",
    "BOPOMOFO": "Bopo",
    "DEVANAGARI": "Deva",
    "BENGALI": "Beng",
    "GURMUKHI": "Guru",
    "GUJARATI": "Gujr",
    "ORIYA": "Orya",
    "TAMIL": "Taml",
    "TELUGU": "Telu",
    "KANNADA": "Knda",
    "MALAYALAM": "Mlym",
    "SINHALA": "Sinh",
    "THAI": "Thai",
    "LAO": "Laoo",
    "KHMER": "Khmr",
    "MYANMAR": "Mymr",
    "TIBETAN": "Tibt",
    "GEORGIAN": "Geor",
    "ARMENIAN": "Armn",
    "ETHIOPIC": "Ethi",
    "CHEROKEE": "Cher",
    "CANADIAN": "Cans",
    "MONGOLIAN": "Mong",
    "THAANA": "Thaa",
    "SYRIAC": "Syrc",
    "NKO": "Nkoo",
    "TIFINAGH": "Tfng",
    "VAI": "Vaii",
    "YI": "Yiii",
    "ADLAM": "Adlm",
    "LIMBU": "Limb",
    "JAVANESE": "Java",
    "BALINESE": "Bali",
    "MEETEI": "Mtei",
    "OL": "Olck",
}

_COMPOUND = {
    "Jpan": frozenset({"Hani", "Hira", "Kana"}),
    "Kore": frozenset({"Hang", "Hani"}),
    "Hans": frozenset({"Hani"}),
    "Hant": frozenset({"Hani", "Bopo"}),
}


@cache
def script_of_letter(char: str) -> str | None:
    """Return the script of a letter or of a mark that only letters carry; None for everything else."""
    if unicodedata.category(char)[0] not in "LM":
        return None
    words = unicodedata.name(char, "").removeprefix("HALFWIDTH ").removeprefix("FULLWIDTH ").split(" ", 1)
    return _NAMES.get(words[0])


Points = NDArray[np.uint32]

_UNSEEN = 0xFF


class CharacterTable:
    """A number for each character, 0..254, found out when it is first met; whole texts are looked up at once."""

    def __init__(self, function: Callable[[str], int]) -> None:
        self._function = function
        self._found = np.full(0x110000, _UNSEEN, dtype=np.uint8)

    def of(self, points: Points) -> NDArray[np.uint8]:
        """Return the number of each code point."""
        found: NDArray[np.uint8] = self._found[points]
        if (unseen := points[found == _UNSEEN]).size:
            for point in set(unseen.tolist()):
                self._found[point] = self._function(chr(point))
            found = self._found[points]
        return found


def code_points(text: str) -> Points:
    """Return the code points of a text, halves of surrogate pairs included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


SCRIPTS = ("", *sorted(set(_NAMES.values())))
"""The number of a script is its place here; characters of none have 0."""

_TABLE = CharacterTable(lambda char: SCRIPTS.index(script_of_letter(char) or ""))


def script_numbers(points: Points) -> NDArray[np.uint8]:
    """Return for each code point the number of its script in `SCRIPTS`; 0 where it is no letter."""
    return _TABLE.of(points)


def count_scripts(text: str) -> Counter[str]:
    """Count the letters of each script; digits, punctuation, spaces and unknown scripts count nowhere."""
    counts = np.bincount(script_numbers(code_points(text)), minlength=1)
    return Counter({SCRIPTS[number]: int(counts[number]) for number in np.flatnonzero(counts) if number})


_SECOND = {
    "bs": "Cyrl",
    "cnr": "Cyrl",
    "ks": "Deva",
    "ku": "Arab",
    "pa": "Arab",
    "sd": "Deva",
    "sr": "Latn",
    "uz": "Cyrl",
}
"""Languages in daily use in two scripts, and the one that `script_of` does not give. A tag that names a script or a
region is taken at its word."""


@lru_cache(maxsize=4096)
def scripts_of_language(tag: str) -> frozenset[str]:
    """Return the scripts a language's letters may come from ('ja' → Hani, Hira, Kana); empty if unknown."""
    script = script_of(tag)
    known = _COMPOUND.get(script, frozenset() if script == "Zyyy" else frozenset({script}))
    return known | {_SECOND[tag]} if tag in _SECOND else known
