"""The script of a text, as an ISO 15924 code, from the names of its characters (a simplified UAX #24)."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.resources import files
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from arbitrage.languages import base_of, names_script, region_of, script_of

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
    """Return the script of a letter or of a mark on letters; None for everything else."""
    if unicodedata.category(char)[0] not in "LM":
        return None
    words = unicodedata.name(char, "").removeprefix("HALFWIDTH ").removeprefix("FULLWIDTH ").split(" ", 1)
    return _NAMES.get(words[0])


Points = NDArray[np.uint32]

_UNSEEN = 0xFF


class CharacterTable:
    """A number for each character, 0..254, computed when it first occurs; whole texts are looked up at once."""

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
    """Return the code points of a text, including lone surrogates."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


SCRIPTS = ("", *sorted(set(_NAMES.values())))
"""A script's number is its position here; characters without a script have 0."""

_TABLE = CharacterTable(lambda char: SCRIPTS.index(script_of_letter(char) or ""))


def script_numbers(points: Points) -> NDArray[np.uint8]:
    """Return for each code point the number of its script in `SCRIPTS`; 0 if it is not a letter."""
    return _TABLE.of(points)


def count_scripts(text: str) -> Counter[str]:
    """Count the letters of each script; digits, punctuation, spaces and unknown scripts are not counted."""
    counts = np.bincount(script_numbers(code_points(text)), minlength=1)
    return Counter({SCRIPTS[number]: int(counts[number]) for number in np.flatnonzero(counts) if number})


_ALSO = {
    "crh": "Latn",
    "kk": "Latn",
    "mni": "Mtei",
    "tt": "Latn",
    "ug": "Latn",
}
"""Scripts in use that CLDR leaves out: the Latin alphabets of Crimean Tatar (official since 1997), Kazakh (to be
introduced by 2031), Tatar (diaspora, the law of 1999) and Uyghur (on keyboards without Arabic), and the Meitei script
(official in Manipur since 2021)."""


@lru_cache(maxsize=4096)
def scripts_of_language(tag: str) -> frozenset[str]:
    """Return the scripts of a language's letters ('ja' → Hani, Hira, Kana); empty if unknown.

    A tag that names a script is taken at its word. Else these are all in which CLDR has the language written: today
    in the tag's region, or anywhere where it names none ('sr' → Cyrl, Latn; 'pa-PK' → Arab).
    """
    script = script_of(tag)
    if script == "Zyyy":
        return frozenset()
    return frozenset().union(*map(_letters_of, {script} if names_script(tag) else {script} | _written_in(tag)))


def _letters_of(script: str) -> frozenset[str]:
    return _COMPOUND.get(script, frozenset({script}))


def _written_in(tag: str) -> frozenset[str]:
    language, region = base_of(tag), region_of(tag)
    also = {_ALSO[language]} if language in _ALSO else set()
    return (_scripts_in_use().get(f"{language}-{region}" if region else language, frozenset()) | also) & _WRITABLE


_WRITABLE = frozenset(_NAMES.values()) | _COMPOUND.keys()


@cache
def _scripts_in_use() -> dict[str, frozenset[str]]:
    """Return the scripts of each language, and of each language in a region, by CLDR.

    Of a language: `<languageData>`, without secondary uses, most of which are historical, and all of its regions. Of
    a region: `<territoryInfo>`, which has the people who write it. Latin as a secondary use is a romanisation (Hindi
    in chats) and has to be named by the tag: else English words would pass for Hindi.
    """
    from language_data.population_data import LANGUAGE_WRITING_POPULATION

    found: dict[str, set[str]] = defaultdict(set)
    path = files("language_data") / "data" / "supplementalData.xml"
    romanised = set()
    for entry in ElementTree.fromstring(path.read_bytes()).iterfind("languageData/language"):
        scripts = entry.get("scripts", "").split()
        if entry.get("alt") != "secondary":
            found[entry.attrib["type"]].update(scripts)
        elif "Latn" in scripts:
            romanised.add(entry.attrib["type"])
    for name in LANGUAGE_WRITING_POPULATION:
        language, *rest = name.split("-")
        is_script = bool(rest) and len(rest[0]) == 4  # 'uz-Cyrl-UZ', 'uz-Cyrl'
        if is_script and not (rest[0] == "Latn" and language in romanised):
            found["-".join([language, *rest[1:]])].add(rest[0])
    return {name: frozenset(scripts) for name, scripts in found.items()}
