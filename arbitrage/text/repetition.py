"""Repetition in a text: of words, or of characters in scripts without spaces."""

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence

from arbitrage.text.scripts import SPACELESS, count_scripts

NGRAM_WORDS = 4
NGRAM_CHARACTERS = 8
"""Two to four words of Chinese or Thai."""

MIN_UNITS = 24
"""Minimum number of words, or pairs of characters, for a measurement."""

MAX_WORD_CHARACTERS = 12
"""If there are fewer words per character than this ('<h2><h2>…', '，，，'), characters are counted instead."""

COMPRESSION_PROBE_BYTES = 400
"""Minimum size in bytes; for smaller texts zlib's overhead dominates the ratio."""

TAIL_CHARACTERS = 6_000
"""Number of characters at the end of a text that are searched for a loop."""

TAIL_PROBE = 24
"""Number of characters at the very end that must occur before."""

MIN_LOOP_CHARACTERS, MIN_LOOP_TIMES = 300, 4
"""Minimum length of a loop at the end: a refrain is shorter or less frequent. East Asian characters count three
times."""

MAX_UNIT_CHARACTERS, MIN_UNIT_LOOP_CHARACTERS, MIN_UNIT_TIMES = 8, 64, 16
"""Units up to this length need fewer repetitions: '，' or '<br>'."""

_RULE = re.compile(r"([-=_*.~#+:|─━═])\1{3,119}(?!\1)")
"""A line drawn with one character, a dotted leader: layout as long as it fits on a line."""


def repeated_ngrams(text: str, letters: Mapping[str, int] | None = None) -> float | None:
    """Return the share of n-grams that have occurred before, 0..1: of 4 words, or of 8 characters without spaces.

    Characters are counted in scripts without spaces, and in texts with very few words for their length.

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


def loop_at_end(text: str) -> float:
    """Return the share of a loop at the end of a text that repeats earlier text, 0..1; 0 without a loop.

    A teacher that starts to loop continues until it is cut off, so the loop is at the end, however long the text
    before it is.
    """
    tail = text[-2 * TAIL_CHARACTERS :].rstrip()
    if _place_before(tail) < 0:  # most texts end here
        return 0.0
    flat = " ".join(_RULE.sub(r"\1\1\1", tail).casefold().split())[-TAIL_CHARACTERS:]
    before = _place_before(flat)
    if len(flat) < MIN_UNIT_LOOP_CHARACTERS or before < 0:
        return 0.0
    period = len(flat) - TAIL_PROBE - before
    length = period + _length_of_period(flat, period)
    unit, times = flat[-period:], length / period
    weighted = length * (1 + 2 * sum(char >= "\u2e80" for char in unit) / period)
    is_loop = weighted >= MIN_LOOP_CHARACTERS and times >= MIN_LOOP_TIMES
    if period <= MAX_UNIT_CHARACTERS:
        is_loop = is_loop or (length >= MIN_UNIT_LOOP_CHARACTERS and times >= MIN_UNIT_TIMES)
    return 1.0 - 1.0 / times if is_loop else 0.0


def _place_before(text: str) -> int:
    """Return the last earlier position of a text's end; -1 if there is none."""
    return text.rfind(text[-TAIL_PROBE:], 0, len(text) - 1)


def _length_of_period(text: str, period: int) -> int:
    """Return how many characters at the end equal those one period before."""
    low, high = 0, len(text) - period
    while low < high:  # where the last m do, the last m - 1 do
        middle = (low + high + 1) // 2
        if text[-middle:] == text[-middle - period : -period]:
            low = middle
        else:
            high = middle - 1
    return low


def repeated_lines(text: str) -> float:
    """Return the share of characters in lines (of 12 or more) that occurred before."""
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
    words = text.casefold().split()
    if len(words) < MIN_UNITS and sum(map(len, words)) > MAX_WORD_CHARACTERS * len(words):
        return _RULE.sub(r"\1\1\1", "".join(words)), NGRAM_CHARACTERS
    return words, NGRAM_WORDS
