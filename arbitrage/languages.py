"""What we know of languages: BCP-47 tags by `langcodes`, scripts, writing direction, families (ISO 639-5).

A language has one tag here, however it is written. `normalise_tag` applies, in this order:

1. POSIX locales are read as tags ('sr_RS.UTF-8@latin' → 'sr-Latn-RS').
2. CLDR's aliases replace deprecated, bibliographic and three-letter codes ('iw' → 'he', 'ger' → 'de', 'tl' → 'fil').
3. An individual language that CLDR takes for its macrolanguage is named by it ('arb' → 'ar', 'cmn' → 'zh',
   'ekk' → 'et'). Others stay apart: 'arz', 'yue', 'ckb', and both 'nb' and 'nn' beside 'no'.
4. A script is left out where it is the likely one of the language and region by CLDR ('en-Latn' → 'en',
   'khk_Cyrl' → 'mn', 'zh-Hant-TW' → 'zh-TW'), as UTS #35 removes likely subtags. Two exceptions, where the bare tag
   is in daily use for both scripts: 'zh-Hans' says more than 'zh', and 'sr-Cyrl' more than 'sr' and 'sr-RS'.
5. Extensions ('-u-…', '-t-…') are dropped: they say how to sort or format, not what is spoken.
"""

import codecs
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

import langcodes
import yaml
from langcodes.data_dicts import LIKELY_SUBTAGS, MACROLANGUAGES, NORMALIZED_MACROLANGUAGES
from langcodes.tag_parser import LanguageTagError

UNKNOWN = "und"
"""The BCP-47 tag of an undetermined language."""

RTL_SCRIPTS = frozenset({"Adlm", "Arab", "Hebr", "Mand", "Mend", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi"})

MAX_TAG_CHARACTERS: Final = 80
"""No real tag is longer; RFC 5646 §4.4.1 requires 35."""

_WINDOWS: Final = {"zh-chs": "zh-Hans", "zh-cht": "zh-Hant"}
"""Names of Windows before 2009 that are still met and are no tags."""

_MACROLANGUAGES: Final = NORMALIZED_MACROLANGUAGES | {"pbt": "ps", "zlm": "ms"}
"""CLDR's, and two that are met instead: FLORES and NLLB write Pashto 'pbt', Glottolog writes Malay 'zlm'."""

_MODIFIERS: Final = {
    "": None,
    "euro": None,
    "latin": "Latn",
    "iqtelif": "Latn",
    "cyrillic": "Cyrl",
    "devanagari": "Deva",
    "valencia": "valencia",
}
"""What may stand behind the '@' of a POSIX locale: a script or variant, or nothing about the language."""

_SAME_SCRIPT: Final = {"Aran": "Arab", "Hani": "", "Zyyy": "", "Zzzz": ""}
"""Scripts that say no more than another one, or nothing; Korean 'Hang' is treated beside them."""

_LIKELY_BESIDES: Final = {"azb": "Arab", "hmn": "Latn", "mey": "Arab", "uzs": "Arab"}
"""Languages of FLORES and NTREX that CLDR's likely subtags leave out, beside the spoken varieties of Arabic."""

_NO_SCRIPT: Final = frozenset({"mis", "mul", "zxx"})
"""Codes of no language in particular; 'und-Latn', too, is undetermined."""


@lru_cache(maxsize=4096)
def normalise_tag(tag: str) -> str | None:
    """Return the canonical BCP-47 form of a tag ('zh_tw' → 'zh-TW', 'eng_Latn' → 'en'), or None if it is none."""
    text = tag.strip()
    if len(text) > MAX_TAG_CHARACTERS or not text.isascii() or text == "NaN":  # a missing value, not Min Nan ('nan')
        return None
    plain = _without_posix(text)
    return _settled(_WINDOWS.get(plain.lower(), plain)) if plain else None


@lru_cache(maxsize=4096)
def read_language(text: str) -> str | None:
    """Return the canonical tag of a tag, of an English name or of a language's own name; None for anything else.

    Names count as CLDR writes them: 'German', 'Deutsch', 'Simplified Chinese', 'Portuguese (Brazil)'. Nothing is
    guessed: 'english', 'Englisch' and 'English, German' are None, for which `suggest_tag` has a hint.
    """
    found = normalise_tag(text)
    if found or len(text.strip()) > MAX_TAG_CHARACTERS:
        return found
    return _named(text.strip())


@lru_cache(maxsize=4096)
def suggest_tag(text: str) -> str | None:
    """Return the tag that was probably meant by something that is none ('english' → 'en'), or None.

    It is for messages: never take it for the value.
    """
    text = text.strip()
    if len(text) > MAX_TAG_CHARACTERS:
        return None
    parts = text.replace("_", "-").split("-")
    for end in range(len(parts) - 1, 0, -1):  # 'gsw-ZH': there is no such region, but there is the language
        if tag := normalise_tag("-".join(parts[:end])):
            return tag
    if len(text) == 2 and (tag := _of_country(text.upper())):
        return tag
    if not text.isprintable():  # control characters break the trie in which `language_data` keeps names
        return None
    try:
        return normalise_tag(str(langcodes.find(text).to_tag()))
    except LookupError:
        return None


def _without_posix(text: str) -> str | None:
    """Return a tag, without the code set and modifier of a POSIX locale ('de_DE.UTF-8@euro' → 'de-DE')."""
    name, _, modifier = text.partition("@")
    name, dot, code_set = name.partition(".")
    if dot and not _is_code_set(code_set):
        return None
    name = name.replace("_", "-")
    if not modifier or "=" in modifier:  # ICU's keywords: '@collation=phonebook'
        return name
    if modifier.lower() not in _MODIFIERS:
        return None
    language, *rest = name.split("-")
    more = _MODIFIERS[modifier.lower()]
    if more is None:
        return name
    return "-".join([language, more, *rest] if more.istitle() else [language, *rest, more])


def _is_code_set(name: str) -> bool:
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        return False
    return True


def _settled(tag: str) -> str | None:
    """Canonicalise until nothing changes: an alias may lead to another ('mol' → 'mo' → 'ro')."""
    for _ in range(4):
        found = _canonical(tag)
        if found is None or found == tag:
            return found
        tag = found
    return tag


def _canonical(tag: str) -> str | None:
    try:
        found = langcodes.Language.get(tag)
    except LanguageTagError:
        return None
    if not found.is_valid():
        return None
    language = found.language
    if language is None:
        return f"{UNKNOWN}-{found.private}" if found.private else UNKNOWN
    if found.extlangs:  # 'ar-arz' is 'arz'; 'en-usa' is none, though there is a language 'usa'
        (only, *others), macro = found.extlangs, language
        if others or (MACROLANGUAGES.get(only) != macro and macro != "sgn"):
            return None
        language = only
    language = _MACROLANGUAGES.get(language, language)
    region = None if found.territory == "ZZ" else found.territory
    plain = langcodes.Language.make(
        language=language,
        script=_telling_script(language, found.script, region),
        territory=region,
        variants=sorted(set(found.variants or ())) or None,
        private=found.private,
    )
    return str(plain.to_tag())


def _telling_script(language: str, script: str | None, region: str | None) -> str | None:
    """Return a script unless language and region say it already."""
    script = _SAME_SCRIPT.get(script or "", script) or None
    if script is None or language in _NO_SCRIPT:
        return None
    if language == "sr" or (language == "zh" and region is None):  # exceptions: see the head of this module
        return script
    likely = _likely_script(langcodes.Language.make(language=language, territory=region))
    return None if script == likely or (script, likely) == ("Hang", "Kore") else script


def _likely_script(language: langcodes.Language) -> str | None:
    """Return the script of a language (and region) by CLDR; None where CLDR has none."""
    name = _MACROLANGUAGES.get(language.language or "", language.language or "")
    if name in LIKELY_SUBTAGS:
        return langcodes.Language.make(language=name, territory=language.territory).maximize().script
    return _LIKELY_BESIDES.get(name) or ("Arab" if MACROLANGUAGES.get(name) == "ar" else None)


def _named(text: str) -> str | None:
    """Return the tag of a name that is written exactly so in English or in the language itself."""
    if not text.isprintable() or (text.isascii() and len(text) < 4):  # 'UA' is a name, too: of Abu' Arapesh
        return None
    from language_data.names import code_to_names

    if text[:1].isupper() and (tag := _english(text) or _with_part(text)):
        return tag
    try:
        code = str(langcodes.find(text).to_tag())
    except LookupError:
        return None
    return normalise_tag(code) if code_to_names(code).get(code) == text else None


def _english(name: str, what: str = "language") -> str | None:
    """Return the code of an English name; `langcodes.find` alone would take the beginning of a longer text."""
    from language_data.names import TRIES, normalize_name

    try:
        found = langcodes.Language.find_name(what, name, "en")
    except LookupError:
        return None
    is_exact = normalize_name(name) in TRIES[f"en/name_to_{what}"]
    return normalise_tag(str(found.to_tag())) if is_exact and what == "language" else str(found) if is_exact else None


def _with_part(text: str) -> str | None:
    """Read 'Portuguese (Brazil)' and 'Serbian (Latin)'."""
    name, _, part = text.removesuffix(")").partition(" (")
    language = _english(name) if part and text.endswith(")") else None
    for what in ("territory", "script") if language else ():
        code = _english({"Simplified": "Simplified Han", "Traditional": "Traditional Han"}.get(part, part), what)
        if code:
            return normalise_tag(f"{language}-{code.removeprefix('und-')}")
    return None


def _of_country(code: str) -> str | None:
    """Return the language most written in a country, for those who wrote the country's code ('UA' → 'uk')."""
    country = langcodes.Language.make(territory=code)
    if not country.is_valid():
        return None
    language = country.maximize().language
    return normalise_tag(language) if language not in (None, "en") or code in ("GB", "US") else None


@lru_cache(maxsize=4096)
def script_of(tag: str) -> str:
    """Return the ISO 15924 script a tag is written in by default ('zh-TW' → 'Hant'); 'Zyyy' if unknown."""
    language = langcodes.Language.get(tag)
    return str(language.script or _likely_script(language) or "Zyyy")


@lru_cache(maxsize=4096)
def names_script(tag: str) -> bool:
    """Tell whether a tag itself says how it is written: 'sr-Latn', not 'sr'."""
    return langcodes.Language.get(tag).script is not None


@lru_cache(maxsize=4096)
def region_of(tag: str) -> str | None:
    """Return the region of a tag ('pt-BR' → 'BR'), None where it has none."""
    found = langcodes.Language.get(tag).territory
    return None if found is None else str(found)


def is_rtl(tag: str) -> bool:
    """Tell whether a tag is written from right to left."""
    return script_of(tag) in RTL_SCRIPTS


@lru_cache(maxsize=4096)
def primary(tag: str) -> str:
    """Return the primary language subtag ('pt-BR' → 'pt')."""
    return str(langcodes.Language.get(tag).language or UNKNOWN)


@lru_cache(maxsize=4096)
def base_of(tag: str) -> str:
    """Return the primary subtag under which CLDR files a language ('cmn-Hans' → 'zh', 'nb' → 'no')."""
    found = str(langcodes.Language.get(tag).prefer_macrolanguage().language or UNKNOWN)
    return "no" if found == "nb" else found  # CLDR lets either stand for the other; Nynorsk is apart


@lru_cache(maxsize=65536)
def speaks(declared: str, tag: str) -> bool:
    """Return whether a declared tag covers another.

    The language must be the same. Region does not matter ('pt' and 'pt-BR' serve each other), the script does where
    both tags tell it: 'zh' serves 'zh-TW' and the reverse, 'zh-TW' serves 'zh-Hant' but not 'zh-CN'.
    """
    if base_of(declared) != base_of(tag) or base_of(tag) == UNKNOWN:
        return False
    return not (_tells_script(declared) and _tells_script(tag)) or script_of(declared) == script_of(tag)


@lru_cache(maxsize=4096)
def family_of(tag: str) -> str:
    """Return the ISO 639-5 family of a tag ('pt-BR' → 'roa'), or 'und' where the table has none."""
    return _families().get(base_of(tag), UNKNOWN)


def families() -> frozenset[str]:
    """Return all ISO 639-5 codes that `family_of` can answer with, but 'und'."""
    return frozenset(_families().values())


def name_of(tag: str) -> str:
    """Return the English name of a tag ('pt-BR' → 'Portuguese (Brazil)')."""
    return str(langcodes.Language.get(tag).display_name("en"))


def _tells_script(tag: str) -> bool:
    language = langcodes.Language.get(tag)
    return bool(language.script or language.territory)


@cache
def _families() -> dict[str, str]:
    text = (files("arbitrage") / "language_families.yaml").read_text(encoding="utf-8")
    return {language: family for family, languages in yaml.safe_load(text).items() for language in languages}
