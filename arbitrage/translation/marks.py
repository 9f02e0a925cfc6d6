"""Punctuation that a translation keeps: the mark at the end of a text, question marks, labels of options."""

import re
from typing import Final

_CLOSERS: Final = (
    "\"'\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a)]\uff09\u3011\u300d\u300f*_~`"
    " \t\r\n\u00a0\u200b\u200e\u200f"
)
"""Quotation marks (languages close with what others open with), brackets, markup, white space, invisible marks."""

ENDS: Final = frozenset(".!?…。！？．؟۔।॥᠃།༎။៕។։:՞՜;።፧፨፡᙮᙭꓿᱾᱿꯫꩝꩞꩟")
"""Marks at the ends of sentences, in all scripts. ';' is Greek's question mark; ':' is often Armenian's full stop,
'፡፡' Amharic's.
"""

_QUESTIONS: Final = frozenset("?？؟;;՞፧⁇⁈⁉")
_PARTICLES: Final = {
    "Jpan": re.compile(r"か[。」』）\s]|か$"),
    "Thai": re.compile("ไหม|มั้ย|หรือ|อะไร|ใคร|ไหน|เมื่อไ|ทำไม|อย่างไร|ยังไง|เท่าไ|เพียงใด|กี่"),
}
"""Words by which scripts ask that often do without a question mark."""

_UNMARKED: Final = frozenset({"Laoo", "Khmr", "Mymr", "Tibt"})
"""Other scripts in which a question may end without a question mark."""

_OPTION: Final = re.compile(r"^[ \t]{0,8}[(（]?([A-Ja-j]|\d{1,2})[).:）．、][ \t]{0,4}(?=\S)", re.MULTILINE)


def ends_in_mark(text: str) -> bool:
    """Tell whether a text ends in the mark of a sentence's end, within quotation marks or not."""
    return text.rstrip(_CLOSERS)[-1:] in ENDS


def asks(text: str, script: str) -> bool:
    """Tell whether a text may ask something: it has a question mark, or a word for it, or its script has neither."""
    if not _QUESTIONS.isdisjoint(text) or script in _UNMARKED:
        return True
    return script in _PARTICLES and bool(_PARTICLES[script].search(text))


def ends_in_question(text: str) -> bool:
    """Tell whether a text ends in '?'."""
    return text.rstrip(_CLOSERS)[-1:] in {"?", "？"}


def options_in(text: str) -> tuple[str, ...]:
    """Return the labels of lines that are options: 'A', 'B', '1', in order; none if there is only one."""
    found = tuple(_OPTION.findall(text))
    return found if len(found) > 1 else ()
