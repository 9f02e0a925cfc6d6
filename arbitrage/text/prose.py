"""The prose of a text: its words, without code, formulas, addresses, and names."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from arbitrage.text.scripts import SCRIPTS, SPACELESS, CharacterTable, code_points, script_numbers

Ints = NDArray[np.int64]

_CODE = (
    (("```", "~~~"), r"^[ \t]*(```|~~~).*?(^[ \t]*\1[`~]*[ \t]*$|\Z)"),  # fenced code, closed or cut off
    (("`",), r"`[^`\n]+`"),  # code in a line
)
_NOT_PROSE = (
    *_CODE,
    (("$$",), r"\$\$.+?\$\$"),  # formulas
    (("\\[",), r"(?<!\\)\\\[(?:[^\\]|\\[^\[\]])++\\\]"),
    (("\\(",), r"(?<!\\)\\\((?:[^\\]|\\[^()])++\\\)"),
    (("$",), r"\$[^$\s][^$\n]*\$"),
    (("<",), r"<[/!|]?[a-zA-Z][^<>\n]*>"),  # markup, and control tokens that a teacher wrote as text
    (("://",), r"\b(?:https?|ftp)://\S+"),
    (("www.",), r"\bwww\.\S+"),
    (("@",), r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]+"),  # mail addresses, as long as RFC 5321 allows
)
"""Patterns in the order in which they are tried, each behind what a match holds one of: no text is searched for more
than it can hold. None may look at a character more than a few times: a span ends where the next one could begin, so
that what never closes ('\\[ \\[ \\[ …', a teacher's usual loop) is not searched from each opening to the end."""

_BETWEEN_TOKENS = frozenset(',;:!?/()[]{}"«»“”„、。，；：！？（）「」『』|*_#=+<>…—–~&')
_ENDS_TOKEN, _LIKE_A_NAME = 1, 2


def _mark(char: str) -> int:
    if char.isspace() or char in _BETWEEN_TOKENS:
        return _ENDS_TOKEN
    return _LIKE_A_NAME if char.isupper() or char.isdigit() else 0


_MARKS = CharacterTable(_mark)
_LATIN = SCRIPTS.index("Latn")
_FIRST = np.zeros(1, dtype=np.int64)
_SPACELESS = np.array([script in SPACELESS for script in SCRIPTS])

MAX_NAME_WORDS = 3
"""Maximum length of a name: longer runs of capitalised Latin words in another script are titles or sentences."""

CHARACTERS_PER_WORD = 2.0
"""Letters per word in scripts without spaces: approximate, for Chinese and Japanese."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words of a text by script; names and symbols are not counted."""

    by_script: Mapping[str, float]

    @property
    def num(self) -> float:
        """Number of words."""
        return sum(self.by_script.values())

    def share(self, scripts: frozenset[str]) -> float:
        """Share of the words that are in one of the scripts; 1 where there are no words."""
        return sum(self.by_script.get(s, 0.0) for s in scripts) / self.num if self.num else 1.0


def prose(text: str) -> str:
    """Return a text without fenced and inline code, formulas, markup, URLs and mail addresses; of JSON, nothing."""
    rest = _without(_NOT_PROSE, text)
    return "" if _is_json(rest) else rest


def without_code(text: str) -> str:
    """Return a text without fenced and inline code."""
    return _without(_CODE, text)


def _without(spans: Sequence[tuple[tuple[str, ...], str]], text: str) -> str:
    possible = tuple(pattern for signs, pattern in spans if any(sign in text for sign in signs))
    return _any_of(possible).sub(" ", text) if possible else text


@cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.DOTALL | re.MULTILINE)


def count_words(text: str, scripts: frozenset[str]) -> Words:
    """Count a text's words by script.

    Names are left out: in a text with words of the given scripts, of which Latin is none, a run of up to
    `MAX_NAME_WORDS` Latin words each with a capital or a digit ('Python', 'GPT-4', 'New York'). So are symbols:
    single Latin or Greek letters where those are foreign ('x', 'π').
    """
    points = code_points(text)
    marks = _MARKS.of(points)
    token_of_char = np.cumsum(marks == _ENDS_TOKEN)
    tokens_P, scripts_P, letters_P = _pieces(token_of_char, script_numbers(points))
    is_word = letters_P >= _fewest_letters(scripts)[scripts_P]
    tokens_P, scripts_P, letters_P = tokens_P[is_word], scripts_P[is_word], letters_P[is_word]
    amounts = np.bincount(scripts_P, np.where(_SPACELESS[scripts_P], letters_P / CHARACTERS_PER_WORD, 1.0))
    found = {SCRIPTS[number]: amount for number, amount in enumerate(amounts.tolist()) if amount}
    if "Latn" in found and "Latn" not in scripts and not scripts.isdisjoint(found):
        marked = set(token_of_char[marks == _LIKE_A_NAME].tolist())
        found["Latn"] -= _num_names(scripts_P == _LATIN, [token in marked for token in tokens_P.tolist()])
    return Words({script: amount for script, amount in found.items() if amount})


def _pieces(token_of_char: Ints, script_of_char: NDArray[np.uint8]) -> tuple[Ints, Ints, Ints]:
    """Return the token, the script and the number of letters of each piece: the letters of one script in a token."""
    keys = (token_of_char * len(SCRIPTS) + script_of_char)[script_of_char > 0]
    keys.sort()
    ends = np.flatnonzero(keys[1:] != keys[:-1])
    starts = np.concatenate([_FIRST[: len(keys)], ends + 1])
    tokens_P = keys[starts] // len(SCRIPTS)
    return tokens_P, keys[starts] - tokens_P * len(SCRIPTS), np.diff(starts, append=len(keys))


@cache
def _fewest_letters(scripts: frozenset[str]) -> Ints:
    """Return for each script the letters that make a word: two of Latin and Greek where those are foreign."""
    symbols = {"Latn", "Grek"} - scripts
    return np.array([2 if script in symbols else 1 for script in SCRIPTS])


def _num_names(is_latin_P: NDArray[np.bool_], looks_like_name_P: Sequence[bool]) -> int:
    """Return the Latin words that are names: in runs of few, each of which looks like one."""
    names = 0
    run: list[bool] = []
    for is_latin, looks_like_name in zip([*is_latin_P.tolist(), False], [*looks_like_name_P, False], strict=True):
        if is_latin:
            run.append(looks_like_name)
        elif run:
            names += len(run) if len(run) <= MAX_NAME_WORDS and all(run) else 0
            run.clear()
    return names


def _is_json(text: str) -> bool:
    text = text.strip()
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
