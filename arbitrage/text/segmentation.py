"""Words and sentences by ICU (Unicode TR29; dictionaries for Chinese, Japanese, Thai, Lao, Khmer and Burmese).

A word is an ICU segment that holds a letter or a digit. Two departures from ICU's root rules, which are weak there:
elisions are parted in the languages that write them ("l'homme" is two words), and sentences do not end after initials
and common abbreviations ("Mr. Smith", "z. B. Haus"). ICU's own exceptions (`@ss=standard`) exist for six languages,
cost ten times the segmentation itself, and join German sentences that end with "kam."
"""

import re
from functools import lru_cache

from arbitrage.languages import UNKNOWN, primary, script_of

ELIDING = frozenset({"ca", "co", "fr", "fur", "it", "lij", "lmo", "nap", "oc", "pms", "sc", "scn", "vec", "wa"})
"""Languages that write article or pronoun and word together, with an apostrophe between."""

NO_WORDS = frozenset({"Bali", "Java", "Lana", "Talu", "Tavt", "Tibt"})
"""Scripts without spaces for which ICU has no dictionary."""

NO_SENTENCES = frozenset({"Laoo", "Thai"})
"""Scripts that mark no ends of sentences."""

_ELISION = re.compile(r"(?<=[^\W\d_])['’ʼ](?=[^\W\d_])")
_ABBREVIATION = re.compile(
    r"""(?<![^\W_]) (?: (?-i:[A-ZÀ-ÖØ-ÞΑ-ΩА-Я]) | [zdup] | Mrs? | Ms | Drs? | Dra | Prof | St | Sra? | Mme | Mlle
        | Hr | Fr | Ing | bzw | ca | vs | cf | e\.g | i\.e | z\.\ ?B | d\.\ ?h | u\.\ ?a | p\.\ ?ex
        | bv | Fig | Nr | Abb | проф | ул | т\.\ ?[еп] ) \. [ \t]* \Z""",
    re.VERBOSE | re.IGNORECASE,
)
_ENDING_CHARACTERS = 13
"""Number of characters at the end of a sentence that are checked for an abbreviation."""

_HAS_WORD = re.compile(r"[^\W_]")


@lru_cache(maxsize=4096)
def has_words(language: str) -> bool:
    """Return whether the words of a language can be segmented."""
    return script_of(language) not in NO_WORDS


@lru_cache(maxsize=4096)
def has_sentences(language: str) -> bool:
    """Return whether the sentences of a language can be segmented."""
    return script_of(language) not in NO_SENTENCES


def split_words(text: str, language: str) -> list[str]:
    """Return the words of a text, in order, unchanged."""
    from icu4py.breakers import WordBreaker

    found = [
        w
        for w in WordBreaker(_encodable(text), _locale(language))
        if w[0].isalnum() or (len(w) > 1 and _HAS_WORD.search(w))
    ]
    if primary(language) in ELIDING:
        return [part for word in found for part in (_ELISION.split(word) if not word.isalnum() else (word,))]
    return found


def split_sentences(text: str, language: str) -> list[str]:
    """Return the sentences of a text, each with at least one word; a line break ends one, too."""
    return [sentence for sentence in sentence_pieces(text, language) if _HAS_WORD.search(sentence)]


def sentence_pieces(text: str, language: str) -> list[str]:
    """Return a text cut behind its sentences: one after the other the pieces are the text."""
    from icu4py.breakers import SentenceBreaker

    found: list[str] = []
    pending: list[str] = []
    ending = ""
    for piece in SentenceBreaker(_encodable(text), _locale(language)):
        pending.append(piece)
        ending = (ending + piece)[-_ENDING_CHARACTERS:]
        if ending.rstrip(" \t").endswith(".") and _ABBREVIATION.search(ending, max(0, len(ending) - 12)):
            continue
        found.append("".join(pending))
        pending.clear()
        ending = ""
    return [*found, *(["".join(pending)] if pending else [])]


@lru_cache(maxsize=4096)
def _locale(language: str) -> str:
    found = primary(language)
    return "root" if found == UNKNOWN else found


def _encodable(text: str) -> str:
    """Replace what UTF-8 cannot hold: ICU refuses half a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text
