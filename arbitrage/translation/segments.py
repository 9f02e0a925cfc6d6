"""Cut a text into the segments that are translated one by one, so that they can be joined again.

Fenced code and white space between segments are kept as they are. A text longer than the limit is cut between
paragraphs, else between lines, else between sentences, else between words.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from arbitrage.text.segmentation import sentence_pieces
from arbitrage.translation.spans import FENCED, has_words

_PARAGRAPH = re.compile(r"(\n\s*\n)")
_LINE = re.compile(r"(\n+)")
_WORD = re.compile(r"(\s+)")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text: to be translated, or kept as it is."""

    text: str
    is_kept: bool


def segments_of(text: str, language: str, most: int) -> list[Segment]:
    """Return the segments of a text; their texts one after the other are the text.

    Args:
        text: any text.
        language: its language, for the ends of sentences.
        most: maximum number of characters of a segment to translate; a single longer word is not cut.
    """
    found: list[Segment] = []
    start = 0
    for match in FENCED.finditer(text):
        found += _prose(text[start : match.start()], language, most)
        found.append(Segment(match.group(), is_kept=True))
        start = match.end()
    return [*found, *_prose(text[start:], language, most)]


def with_translations(segments: Sequence[Segment], translations: Sequence[str]) -> str:
    """Return the text in which each segment to translate is replaced by its translation, in order."""
    rest = iter(translations)
    return "".join(segment.text if segment.is_kept else next(rest) for segment in segments)


def _prose(text: str, language: str, most: int) -> list[Segment]:
    found: list[Segment] = []
    for piece in _pieces(text, language, most):
        body = piece.strip()
        if not has_words(piece):
            found.append(Segment(piece, is_kept=True))
            continue
        start = piece.index(body)
        parts = (piece[:start], body, piece[start + len(body) :])
        found += [Segment(part, is_kept=part is not body) for part in parts if part]
    return found


def _pieces(text: str, language: str, most: int) -> Iterator[str]:
    """Yield pieces of at most `most` characters, joined from units as large as fit."""
    if len(text) <= most:
        if text:
            yield text
        return
    for split in (_PARAGRAPH.split, _LINE.split, lambda t: sentence_pieces(t, language), _WORD.split):
        units = split(text)
        if len(units) > 1:
            for joined in _filled(units, most):
                if len(joined) < len(text):
                    yield from _pieces(joined, language, most)
                else:
                    yield joined
            return
    yield text


def _filled(units: Sequence[str], most: int) -> Iterator[str]:
    pending: list[str] = []
    length = 0
    for unit in units:
        if pending and length + len(unit) > most:
            yield "".join(pending)
            pending, length = [], 0
        pending.append(unit)
        length += len(unit)
    if pending:
        yield "".join(pending)
