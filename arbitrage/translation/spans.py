"""Spans of a text that a translation must keep as they are: code, formulas, addresses, markup, placeholders.

Each pattern looks at a character a bounded number of times, so that no text takes quadratic time.
"""

import re
from collections import Counter
from dataclasses import dataclass

from arbitrage.text.scripts import count_scripts

FENCED = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
"""Fenced code: it is not sent to translators at all."""

_SPANS = re.compile(
    "|".join(
        (
            r"`[^`\n]+`",  # code in a line
            r"\$\$[^$]+\$\$",  # formulas
            r"(?<!\\)\\\[(?:[^\\]|\\[^\[\]])++\\\]",
            r"(?<!\\)\\\((?:[^\\]|\\[^()])++\\\)",
            r"\$(?=[^$\n]*[\\^_={}])[^\s$][^$\n]*\$",
            r"\$[A-Za-z]\$",
            r"<[/!]?[a-zA-Z][^<>\n]{0,300}>",  # markup
            r"<\d{1,4}>",  # placeholders
            r"\$?\{\{?[\w.:!-]{0,60}\}\}?",
            r"(?<![\d%])%(?:\(\w{1,60}\)|\d{1,2}\$)?[-+#0]?\d{0,3}(?:\.\d{1,3})?[sdifgexXr](?!\w)",
            r"\b(?:https?|ftp)://[^\s<>\"'«»“”）】」』]*[^\s<>\"'«»“”）】」』.,;:!?)\]。，、؟]",
            r"\bwww\.[^\s<>\"'«»“”）】」』]*[^\s<>\"'«»“”）】」』.,;:!?)\]。，、؟]",
            r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",  # mail addresses
            r"(?:(?<=[{,])|^)[ \t]{0,40}\"[\w.-]{1,60}\"(?=[ \t]{0,4}:)",  # keys of JSON
        )
    ),
    re.MULTILINE,
)

_OPEN, _CLOSE = "⟦", "⟧"
_MARK = re.compile(r"⟦\s{0,2}(\d{1,4})\s{0,2}⟧")


def spans_in(text: str) -> list[str]:
    """Return the spans of a text to keep, in order, without white space around."""
    return [match.group().strip() for match in _SPANS.finditer(text)]


def first_change(source: str, translation: str) -> str | None:
    """Return the first span of a source text whose number in the translation differs; None if all are kept.

    Counted is how often a span stands in a text, not the spans that are found there: letters of the target language
    may touch it.
    """
    for span, count in Counter(spans_in(source)).items():
        if translation.count(span) < count:
            return span
    lost = Counter(spans_in(translation))
    return next((span for span in lost if span not in source), None)


def has_words(text: str) -> bool:
    """Tell whether anything is left to translate when the spans are taken out."""
    return bool(count_scripts(_SPANS.sub(" ", text)))


@dataclass(frozen=True, slots=True)
class Masked:
    """A text with numbered marks in place of its spans."""

    text: str
    spans: tuple[str, ...]

    def restore(self, translation: str) -> str | None:
        """Put the spans back; None if a mark is missing, stands twice or is not one of ours."""
        found = [int(number) for number in _MARK.findall(translation)]
        if sorted(found) != list(range(1, len(self.spans) + 1)):
            return None
        return _MARK.sub(lambda match: self.spans[int(match[1]) - 1], translation)


def mask(text: str) -> Masked:
    """Replace the spans of a text by `⟦1⟧`, `⟦2⟧`, …; a text that has such marks itself keeps its spans."""
    if _OPEN in text or _CLOSE in text:
        return Masked(text, ())
    spans: list[str] = []

    def number(match: re.Match[str]) -> str:
        spans.append(match.group())
        return f"{_OPEN}{len(spans)}{_CLOSE}"

    return Masked(_SPANS.sub(number, text), tuple(spans))
