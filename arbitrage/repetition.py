"""How much a text goes round in circles: words where there are spaces, characters where there are none."""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence

from arbitrage.scripts import SPACELESS, count_scripts

NGRAM_WORDS = 4
NGRAM_CHARACTERS = 8
"""Two to four words of Chinese or Thai."""

MIN_UNITS = 24
"""Words, or pairs of characters, below which an answer has no room to go round in circles."""

COMPRESSION_PROBE_BYTES = 400
"""Below this zlib's own overhead decides the ratio."""


def repeated_ngrams(text: str, letters: Mapping[str, int] | None = None) -> float | None:
    """Return the share of n-grams that have occurred before, 0..1: of 4 words, or of 8 characters without spaces.

    None for a text that is too short to repeat itself.

    Args:
        text: any.
        letters: its letters by script, if they are counted already.
    """
    units, size = _units(text, count_scripts(text) if letters is None else letters)
    return repeated_share(units, size) if len(units) * NGRAM_WORDS >= MIN_UNITS * size else None


def repeated_share(units: Sequence[str], size: int) -> float:
    """Return the share of n-grams that have occurred before in the text."""
    num = len(units) - size + 1
    if num <= 0:
        return 0.0
    if isinstance(units, str):
        return 1.0 - len({units[i : i + size] for i in range(num)}) / num
    return 1.0 - len(set(zip(*(units[i:] for i in range(size)), strict=False))) / num


def repeated_lines(text: str) -> float:
    """Return the share of the characters of lines (of 12 or more) that have stood there before."""
    lines = Counter(stripped for line in text.splitlines() if len(stripped := line.strip()) >= 12)
    total = sum(len(line) * times for line, times in lines.items())
    return sum(len(line) * (times - 1) for line, times in lines.items()) / total if total else 0.0


def compression_ratio(text: str) -> float | None:
    """Return plain UTF-8 bytes over those of zlib at level 6, ≥ 0.9; None below `COMPRESSION_PROBE_BYTES`."""
    data = text.encode("utf-8", "surrogatepass")
    return len(data) / len(zlib.compress(data, 6)) if len(data) >= COMPRESSION_PROBE_BYTES else None


def _units(text: str, letters: Mapping[str, int]) -> tuple[Sequence[str], int]:
    spaceless = sum(n for script, n in letters.items() if script in SPACELESS)
    if spaceless * 2 > sum(letters.values()):
        return "".join(text.split()), NGRAM_CHARACTERS
    return text.casefold().split(), NGRAM_WORDS
