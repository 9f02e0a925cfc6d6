"""Which script a text is written in, by ISO 15924 code, from the names of its characters (UAX #24 in the small)."""

import unicodedata
from collections import Counter
from functools import lru_cache

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


def script_of_letter(char: str) -> str | None:
    """Return the script of a letter or of a mark that only letters carry; None for everything else."""
    return _SCRIPTS[char]


class _Scripts(dict[str, str | None]):
    """The script of each character, found out when it is first met."""

    def __missing__(self, char: str) -> str | None:
        script = None
        if unicodedata.category(char)[0] in "LM":
            words = unicodedata.name(char, "").removeprefix("HALFWIDTH ").removeprefix("FULLWIDTH ").split(" ", 1)
            script = _NAMES.get(words[0])
        self[char] = script
        return script


_SCRIPTS = _Scripts()

_NO_ASCII_LETTERS = dict.fromkeys(code for code in range(128) if not chr(code).isalpha())


def count_scripts(text: str) -> Counter[str]:
    """Count the letters of each script; digits, punctuation, spaces and unknown scripts count nowhere."""
    found: Counter[str] = Counter()
    if text.isascii():  # a third of the time
        if letters := len(text.translate(_NO_ASCII_LETTERS)):
            found["Latn"] = letters
        return found
    for char, times in Counter(text).items():
        script = _SCRIPTS[char]
        if script is not None:
            found[script] += times
    return found


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
