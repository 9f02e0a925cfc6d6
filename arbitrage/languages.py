"""What we know of languages: BCP-47 tags by `langcodes`, scripts, writing direction, families (ISO 639-5)."""

from functools import cache, lru_cache
from importlib.resources import files

import langcodes
import yaml
from langcodes.tag_parser import LanguageTagError

UNKNOWN = "und"
"""The BCP-47 tag of an undetermined language."""

RTL_SCRIPTS = frozenset({"Adlm", "Arab", "Hebr", "Mand", "Mend", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi"})


@lru_cache(maxsize=4096)
def normalise_tag(tag: str) -> str | None:
    """Return the canonical BCP-47 form of a tag ('zh_tw' → 'zh-TW', 'eng' → 'en'), or None if it is none."""
    try:
        language = langcodes.Language.get(tag.strip().replace("_", "-"))
    except LanguageTagError:
        return None
    return str(language.to_tag()) if language.is_valid() else None


@lru_cache(maxsize=4096)
def suggest_tag(text: str) -> str | None:
    """Return the tag that was probably meant by something that is none ('english' → 'en'), or None."""
    parts = text.strip().replace("_", "-").split("-")
    for end in range(len(parts) - 1, 0, -1):  # 'gsw-ZH': there is no such region, but there is the language
        if tag := normalise_tag("-".join(parts[:end])):
            return tag
    if not text.isprintable():  # control characters break the trie in which `language_data` keeps names
        return None
    try:
        return str(langcodes.find(text.strip()).to_tag())
    except LookupError:
        return None


@lru_cache(maxsize=4096)
def script_of(tag: str) -> str:
    """Return the ISO 15924 script a tag is written in by default ('zh-TW' → 'Hant'); 'Zyyy' if unknown."""
    language = langcodes.Language.get(tag)
    if not language.language:  # `maximize` would guess English
        return str(language.script or "Zyyy")
    return str(language.maximize().script or "Zyyy")


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
    """Tell whether who declares one tag can be asked in another.

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
