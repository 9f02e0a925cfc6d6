"""What of an answer is prose in a language: its words, without code, formulas, addresses, and names."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from arbitrage.scripts import SPACELESS, script_of_letter

_PARTS = r"""
    ^[ \t]*(```|~~~).*?(^[ \t]*\1[`~]*[ \t]*$|\Z)   # fenced code, closed or cut off
    | `[^`\n]+`                                     # code in a line
    | \$\$.+?\$\$ | \\\[.+?\\\] | \\\(.+?\\\)       # formulas
    | \$[^$\s][^$\n]*\$
    | <[/!|]?[a-zA-Z][^<>\n]*>                      # markup, and control tokens that a teacher wrote out
    | \b(?:https?|ftp)://\S+ | \bwww\.\S+
"""
_FLAGS = re.DOTALL | re.MULTILINE | re.VERBOSE
_NOT_PROSE = re.compile(_PARTS, _FLAGS)
_NOR_MAIL = re.compile(_PARTS + r" | \b[\w.+-]+@[\w-]+\.[\w.-]+", _FLAGS)
"""With mail addresses: every word may begin one, so they are looked for only where there is an @."""

_SUSPECT = re.compile(r"[`$\\<@]|~~~|://|www\.")
"""What every match holds; most texts hold none of it, and are spared the longer search."""

_TOKEN = re.compile(r"[^\s,;:!?/()\[\]{}\"«»“”„、。，；：！？（）「」『』|*_#=+<>…—–~&]+")

MAX_NAME_WORDS = 3
"""Longer runs of capitalised Latin words inside another script are a title or a sentence, not a name."""

MEMO_TOKENS = 1 << 16

CHARACTERS_PER_WORD = 2.0
"""In spaceless scripts; about right for Chinese and Japanese, and near enough for a share."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words of a text by script; names and symbols are counted nowhere."""

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
    rest = (_NOR_MAIL if "@" in text else _NOT_PROSE).sub(" ", text) if _SUSPECT.search(text) else text
    return "" if _is_json(rest) else rest


def count_words(text: str, scripts: frozenset[str]) -> Words:
    """Count a text's words by script.

    Names are left out: in a text with words of the given scripts, of which Latin is none, a run of up to
    `MAX_NAME_WORDS` Latin words each with a capital or a digit ('Python', 'GPT-4', 'New York'). So are symbols:
    single Latin or Greek letters where those are foreign ('x', 'π').
    """
    tokens, memo = _TOKEN.findall(text), _memo(scripts)
    found: defaultdict[str, float] = defaultdict(float)
    for kind, times in Counter(map(memo.__getitem__, tokens)).items():
        for piece in memo.kinds[kind]:
            found[piece.script] += times * piece.weight
    if "Latn" in found and "Latn" not in scripts and any(found.get(script) for script in scripts):
        found["Latn"] -= _names(piece for token in tokens for piece in memo.kinds[memo[token]])
    return Words({script: amount for script, amount in found.items() if amount})


def _names(pieces: Iterable["_Piece"]) -> float:
    """Return the Latin words that are names: in runs of few, each of which looks like one."""
    names = 0.0
    run: list[_Piece] = []
    for piece in chain(pieces, (_Piece("", 0.0, False),)):
        if piece.script == "Latn":
            run.append(piece)
        elif run:
            if len(run) <= MAX_NAME_WORDS and all(each.looks_like_name for each in run):
                names += sum(each.weight for each in run)
            run.clear()
    return names


class _Piece(NamedTuple):
    script: str
    weight: float
    looks_like_name: bool


class _Memo(dict[str, int]):
    """The kind of each token, forgotten when there are too many; `kinds` are its pieces, one for each script."""

    def __init__(self, scripts: frozenset[str]) -> None:
        self._scripts = scripts
        self._numbers: dict[tuple[_Piece, ...], int] = {}
        self.kinds: list[tuple[_Piece, ...]] = []

    def __missing__(self, token: str) -> int:
        if len(self) >= MEMO_TOKENS:
            self.clear()
        pieces = self._pieces(token)
        number = self._numbers.setdefault(pieces, len(self.kinds))
        if number == len(self.kinds):
            self.kinds.append(pieces)
        self[token] = number
        return number

    def _pieces(self, token: str) -> tuple[_Piece, ...]:
        letters = Counter(filter(None, map(script_of_letter, token)))
        looks_like_name = "Latn" in letters and (any(map(str.isupper, token)) or any(map(str.isdigit, token)))
        return tuple(
            _Piece(script, num / CHARACTERS_PER_WORD if script in SPACELESS else 1.0, looks_like_name)
            for script, num in sorted(letters.items())
            if num > 1 or script not in ("Latn", "Grek") or script in self._scripts
        )


@lru_cache(maxsize=64)
def _memo(scripts: frozenset[str]) -> _Memo:
    return _Memo(scripts)


def _is_json(text: str) -> bool:
    text = text.strip()
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
