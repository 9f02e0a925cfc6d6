"""Escape foreign texts for display on a terminal and in Markdown.

A terminal obeys control characters (ESC and its C1 relatives can retitle, recolour, erase, and answer back on the
keyboard's line), and bidirectional controls reorder what stands beside them. Markdown takes HTML, links and images.
"""

import re

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 controls but for tab and line feed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Bidi_Control (Unicode TR9)
    "\u2028\u2029"  # line and paragraph separators, which some terminals obey
    "\ud800-\udfff]"  # halves of pairs, which no encoding takes
)

_MARKDOWN = re.compile(r"[\\`*\[\]|~]")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def printable(text: str) -> str:
    r"""Return a text with all terminal control characters escaped, such as ``\x1b``; line breaks stay."""
    return UNSAFE.sub(lambda match: escaped(match[0]), text)


def one_line(text: str) -> str:
    """Return a text as one printable line."""
    return printable(" ".join(text.split()))


def markdown(text: str) -> str:
    """Return a text as one line of Markdown that shows it literally; also for table cells."""
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text)).translate(_HTML)


def markdown_code(text: str) -> str:
    """Return a text as a code span, which may stand in a cell of a table. Nothing in it can end the span."""
    return f"`{one_line(text).replace('`', chr(0x2BC)).replace('|', chr(92) + '|')}`"


def markdown_block(text: str, language: str) -> str:
    """Return a text as a fenced block. Nothing in it can end the block."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(text)}{fence}"


def escaped(sign: str) -> str:
    r"""Return a character as Python spells it: ``\x1b``, ``\u202e``, ``\U0001f4a9``."""
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
