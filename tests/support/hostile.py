"""Long texts that make a pattern scan again and again what it has scanned: what looping teachers write, and worse."""

from collections.abc import Callable

UNITS = {
    "display maths": "\\[ ",
    "inline maths": "\\( x ",
    "line breaks of maths": "\\\\[2pt] ",
    "dollars": "$x ",
    "two dollars": "$$ ",
    "mail": "a@",
    "dots": "a.",
    "plus and minus": "a+b-",
    "URL": "https://",
    "URL and blank": "www. ",
    "angle": "<",
    "tag": "<a ",
    "think": "<think> a ",
    "end of think": "</think>",
    "[THINK]": "[THINK]",
    "channel": "<|channel|>",
    "control token": "<|a|>",
    "backtick": "`",
    "backtick and blank": "` ",
    "fence": "```\n",
    "fences in a line": "``` ",
    "tildes": "~~~\n",
    "star": "*",
    "bold": "**a ",
    "underscores": "__a ",
    "emphasis": "*a ",
    "hash": "#",
    "heading": "# ",
    "digit": "7",
    "numbers": "1.234,5 ",
    "minus": "-1",
    "item": "1. ",
    "bullet": "- ",
    "pipe": "|",
    "table": "| - ",
    "bracket": "[",
    "verdict": "[[1 ",
    "link": "[a](",
    "parenthesis": "(",
    "quote": '"',
    "brace": "{",
    "boxed": "\\boxed{",
    "backslash": "\\",
    "blank": " ",
    "tab": "\t",
    "newline": "\n",
    "blank lines": " \n",
    "initials": "A. ",
    "abbreviation": "z. B. ",
    "apostrophe": "l'",
    "word": "the ",
    "one letter": "a",
    "Han": "的",
    "Thai": "ก",
    "Arabic": "ا ",
    "emoji": "👍",
    "joined emoji": "👨\u200d",
    "keycap": "1\ufe0f\u20e3",
    "combining": "a" + "\u0301" * 20,
    "wide ligature": "\ufdfa",
    "surrogate": "\ud83d",
    "direction": "\u202e",
    "mixed": "\\[ a.b@ <x `$|*#[1](",
}
"""A unit of each family."""


def hostile(unit: str, length: int) -> str:
    """Return a unit over and over, a text of that many characters that ends on something else."""
    return (unit * (length // len(unit) + 1))[: length - 8] + " x@y.z ]"


def surrounded(unit: str, length: int) -> str:
    """Return the same inside of what looks like an answer: patterns that begin at a line or at the start see it."""
    return "[[" + hostile(unit, length - 20) + "]] {\n> | \\["


SHAPES: tuple[Callable[[str, int], str], ...] = (hostile, surrounded)
