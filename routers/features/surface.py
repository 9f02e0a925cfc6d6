"""Surface features of a prompt: length, lines, digits, capitals, punctuation, mark-up."""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routers.features.ngrams import BLOCK, NUM_CHARACTERS

Floats = NDArray[np.float64]

NAMES: Final = ("length", "lines", "digits", "capitals", "punctuation", "markup", "questions")
"""Columns: logs of counts (length, lines, digits, mark-up, questions) and shares (capitals, punctuation)."""

_OTHER, _LINE, _DIGIT, _CAPITAL, _PUNCTUATION, _MARKUP, _QUESTION = range(7)


def measure_surface(texts: Sequence[str]) -> Floats:
    """Measure texts; shape (texts, 7), columns as in `NAMES`."""
    blocks = [_measure(texts[start : start + BLOCK]) for start in range(0, len(texts), BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros((0, len(NAMES)))


def _measure(texts: Sequence[str]) -> Floats:
    heads = [text[:NUM_CHARACTERS] for text in texts]
    lengths = np.fromiter(map(len, heads), np.int64, len(heads))
    code_points = np.frombuffer("".join(heads).encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds()[np.minimum(code_points, 0xFFFF)]
    cells = np.repeat(np.arange(len(heads)) * 7, lengths) + kinds
    counts = np.bincount(cells, minlength=len(heads) * 7).reshape(len(heads), 7)
    whole = np.fromiter(map(len, texts), np.int64, len(texts))
    shares = counts[:, [_CAPITAL, _PUNCTUATION]] / np.maximum(lengths, 1)[:, None]
    logs = np.log1p(np.stack([whole, *counts[:, [_LINE, _DIGIT, _MARKUP, _QUESTION]].T], axis=1))
    return np.stack([logs[:, 0], logs[:, 1], logs[:, 2], shares[:, 0], shares[:, 1], logs[:, 3], logs[:, 4]], axis=1)


@cache
def _kinds() -> NDArray[np.int64]:
    """Return the kind of each code point of the basic plane; those beyond it are looked up at its last."""
    kinds = np.zeros(0x10000, np.int64)
    special = {"\n": _LINE, "?": _QUESTION, "？": _QUESTION, "؟": _QUESTION, "<": _MARKUP, "#": _MARKUP, "@": _MARKUP}
    names = {"Nd": _DIGIT, "Lu": _CAPITAL}
    for code in range(0x10000):
        category = unicodedata.category(chr(code))
        kinds[code] = names.get(category, _PUNCTUATION if category[0] in "PS" else _OTHER)
    for character, kind in special.items():
        kinds[ord(character)] = kind
    return kinds
