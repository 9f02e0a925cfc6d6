"""The share of layout in a text: lists, headings, tables, emphasis, code, emoji (CommonMark, GFM, Unicode TR51)."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

from arbitrage.contracts.metrics import Metric
from arbitrage.metrics.options import Facts, Family, TextMetric, TextMetricOptions
from arbitrage.text.measured import NO_TEXT, Measured
from arbitrage.text.text import Text

Aspect = Literal["lists", "headings", "tables", "bold", "code", "markdown", "emoji"]

_LINES: Mapping[str, str] = {
    "lists": r"[ \t]*(?:(?:[-*+•·‣▪]|\d{1,3}[.)])[ \t]+|(?:[•‣▪①-⑳]|\d{1,3}[、．])[ \t]*)\S",
    "headings": r"\#{1,6}[ \t]+\S",
    "tables": r"[ \t]*\|.*\|[ \t]*$",
}
_QUOTE = r"[ \t]*>"
_INLINE_MARKS = (
    r"`[^`\n]+`|\[[^\[\]\n]+\]\((?:[^()\n]|\([^()\n]*\))+\)"
    r"|(?<![\w*])\*(?=[^\s*])[^*\n]+(?<=[^\s*])\*(?![\w*])"
)

_OPENS = re.compile("|".join([_LINES["lists"], _LINES["headings"], _LINES["tables"], _QUOTE]))
_HOLDS = re.compile(_INLINE_MARKS)
_HELD = ("*", "_", "`", "[")
"""Characters of which bold text and every match of `_HOLDS` has at least one: plain lines are not searched."""

_BOLD_BEGINS, _BOLD_ENDS = re.compile(r"(?:\*\*|__)(?=\S)"), re.compile(r"(?<=\S)(?:\*\*|__)")

_FENCED = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`[^`\n]+`")

_EMOJI = (
    r"(?:\p{Regional_Indicator}{2}|[0-9#*]\ufe0f?\u20e3"
    r"|(?:\p{Emoji_Presentation}|\p{Extended_Pictographic}\ufe0f)\p{Emoji_Modifier}?"
    r"(?:\u200d\p{Extended_Pictographic}\ufe0f?\p{Emoji_Modifier}?)*)"
)

_MAYBE_EMOJI = re.compile("[\ufe0f\u20e3\u231a-\u2bff\U0001f000-\U0001faff]")
"""Characters of which every emoji has at least one; most texts have none, and are not searched further."""

_TITLES: Mapping[str, tuple[str, str]] = {
    "lists": ("lines that are items of a list", "CommonMark 0.31"),
    "headings": ("lines that are headings", "CommonMark 0.31"),
    "tables": ("lines that are rows of a table", "GFM 0.29"),
    "bold": ("lines with bold text", "CommonMark 0.31"),
    "code": ("characters of code", "CommonMark 0.31"),
    "markdown": ("lines with any Markdown", "CommonMark 0.31, GFM 0.29"),
    "emoji": ("characters of emoji", "Unicode TR51"),
}


class FormattingConfig(TextMetricOptions):
    """The share of lines, or of characters, that are layout.

    Attributes:
        aspect: of lines that are not blank, outside fenced code: `lists` (bullets and numbers), `headings`, `tables`,
            `bold`, `markdown` (any of them, quotes, links, emphasis or code). Of characters that are no blanks:
            `code` (fenced and inline) and `emoji`.
    """

    kind: Literal["formatting"] = "formatting"
    aspect: Aspect = "markdown"

    @property
    def usual_name(self) -> str:
        """Return 'lists', …."""
        return self.aspect

    @property
    def family(self) -> Family:
        """The group of metrics that it is shown in."""
        return "format"

    @property
    def facts(self) -> Facts:
        """CommonMark and GFM; Unicode TR51."""
        title, source = _TITLES[self.aspect]
        return Facts(title, "share", 0.0, 1.0, source, "everywhere")

    def metric(self) -> Metric:
        """Build the metric."""
        measures: dict[str, Callable[[Text], Measured]] = {"code": _code, "emoji": _emoji}
        return TextMetric(self.metric_name, measures.get(self.aspect) or self._share_of_lines)

    def _share_of_lines(self, text: Text) -> Measured:
        lines, in_code = _lines(text)
        if not lines and not in_code:
            return NO_TEXT
        if self.aspect != "markdown":
            return Measured(sum(map(_is(self.aspect), lines)) / len(lines)) if lines else Measured(0.0)
        return Measured((sum(map(_is_markdown, lines)) + in_code) / (len(lines) + in_code))


def _lines(text: Text) -> tuple[list[str], int]:
    """Return the lines outside fenced code, and the number of those within; no blank ones. Kept for other aspects."""
    kept: tuple[list[str], int] | None = text.__dict__.get("_layout_lines")
    if kept is None:
        fenced = [m.group() for m in _FENCED.finditer(text.text)] if "```" in text.text or "~~~" in text.text else []
        rest = _FENCED.sub("\n", text.text) if fenced else text.text
        in_code = sum(bool(line.strip()) for block in fenced for line in block.splitlines())
        kept = text.__dict__["_layout_lines"] = [line for line in rest.splitlines() if line.strip()], in_code
    return kept


@cache
def _is(aspect: str) -> Callable[[str], bool]:
    if aspect == "bold":
        return _is_bold
    match = re.compile(_LINES[aspect]).match
    return lambda line: match(line) is not None


def _is_bold(line: str) -> bool:
    """Tell whether a line holds bold text: a mark that can end it, behind the first that can begin it."""
    begins = _BOLD_BEGINS.search(line) if "**" in line or "__" in line else None
    return begins is not None and _BOLD_ENDS.search(line, begins.end() + 1) is not None


def _is_markdown(line: str) -> bool:
    if _OPENS.match(line):
        return True
    return any(map(line.__contains__, _HELD)) and (_is_bold(line) or _HOLDS.search(line) is not None)


def _code(text: Text) -> Measured:
    total = text.num_visible
    if not total:
        return NO_TEXT
    if "`" not in text.text and "~~~" not in text.text:
        return Measured(0.0)
    rest = _INLINE.sub(" ", _FENCED.sub(" ", text.text))
    return Measured(1.0 - len("".join(rest.split())) / total)


def _emoji(text: Text) -> Measured:
    total = text.num_visible
    if not total:
        return NO_TEXT
    if text.text.isascii() or not _MAYBE_EMOJI.search(text.text):
        return Measured(0.0)
    return Measured(sum(map(len, _emoji_pattern().findall(text.text))) / total)


@cache
def _emoji_pattern() -> Any:
    import regex

    return regex.compile(_EMOJI)
