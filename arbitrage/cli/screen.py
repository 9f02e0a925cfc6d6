"""Safe output: every foreign text (names, completions, errors) is escaped before it reaches the terminal.

Control characters (ESC and its C1 relatives) can retitle, recolour or erase a terminal, or make it send input;
bidirectional controls reorder the text beside them. Texts come from models, data files and endpoints, so these
characters are shown escaped, as in a Python string. Rich's markup is off for the same reason: `[/]` in a teacher's
name is a name.
"""

import codecs
import io
import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, JustifyMethod, OverflowMethod, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from arbitrage.printable import UNSAFE, escaped, printable

_PLAIN = {
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "·": "-",
    "×": "x",
    "→": "->",
    "←": "<-",
    "↓": "v",
    "✓": "+",
    "✗": "x",
    "≥": ">=",
    "≤": "<=",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "κ": "kappa",
    "π": "pi",
    "\u2068": "",
    "\u2069": "",
    "\xa0": " ",
    "\u202f": " ",
}
"""ASCII replacements of our typographic characters, for terminals whose encoding lacks them."""

_ERRORS = "arbitrage.plain"


def to_json(value: Any, indent: int | None = None) -> str:
    r"""Return JSON that is safe to print: unsafe characters as ``\u001b``, the others unchanged."""
    found = json.dumps(value, ensure_ascii=False, indent=indent)
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", found)


def say(text: object = "", file: TextIO | None = None) -> None:
    """Print a text to stdout (or another stream), escaped."""
    print(printable(str(text)), file=file, flush=file is not None)


class Screen(Console):
    """A console that interprets no markup and escapes control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | options)

    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: Any = None,
    ) -> Text:
        """Return a string as text, escaped."""
        options: dict[str, Any] = {"style": style, "justify": justify, "overflow": overflow, "highlight": highlight}
        return super().render_str(printable(text), markup=False, emoji=False, highlighter=highlighter, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield segments; texts that were made elsewhere are escaped here."""
        return super().render(_harmless(renderable) if isinstance(renderable, Text) else renderable, options)


def prepare_streams() -> None:
    """Let stdout and stderr replace characters that their encoding lacks.

    Otherwise a finished run whose last line cannot be encoded (LANG=C, cp1252) would end in a traceback.
    """
    codecs.register_error(_ERRORS, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or _box(sign) or escaped(sign) for sign in lost), error.end


def _box(sign: str) -> str:
    """Return the replacement of a box-drawing character; empty for any other character."""
    if not "\u2500" <= sign <= "\u259f":
        return ""
    return "|" if sign in "│┃║╷╵╻╹" else "-" if sign in "─━═╴╶╸╺" else "+" if sign < "\u2580" else "#"


def _harmless(text: Text) -> Text:
    """Return a text with its unsafe characters escaped and its styles kept."""
    places = [place for match in UNSAFE.finditer(text.plain) for place in match.span()]
    if not places:
        return text
    pieces = text.divide(sorted(set(places)))
    for piece in pieces:
        if UNSAFE.fullmatch(piece.plain):
            piece.plain = printable(piece.plain)
    found = text.blank_copy()
    found.append_text(Text().join(pieces))
    return found
