"""Descriptions of config keys, read from the `Attributes:` sections of docstrings (Google style)."""

import inspect
import re
from collections.abc import Iterator

_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*)$")


def split_docstring(docstring: str | None) -> tuple[str, dict[str, str]]:
    """Split a docstring into its text and its attributes.

    Returns:
        The text before `Attributes:`, and each attribute's description as one line.
    """
    text, _, section = inspect.cleandoc(docstring or "").partition("\nAttributes:\n")
    found = {name: _as_sentence(words) for names, words in _entries(section) for name in names.split(", ")}
    return text.strip(), found


def describe_fields(cls: type) -> dict[str, str]:
    """Return the descriptions that a class and its bases give; a class overrides its bases."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        found |= split_docstring(each.__dict__.get("__doc__"))[1]
    return found


def summary(cls: type) -> str:
    """Return the first paragraph of a class's own docstring as one line."""
    text, _ = split_docstring(cls.__dict__.get("__doc__"))
    return " ".join(text.partition("\n\n")[0].split())


def _entries(section: str) -> Iterator[tuple[str, str]]:
    """Yield each entry's names and text; an entry's later lines are indented deeper than its first."""
    names, lines = "", [""]
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break  # text after the section
        if entry := _ENTRY.match(line):
            if names:
                yield names, " ".join(lines)
            names, lines = entry[1], [entry[2]]
        else:
            lines.append(line.strip())
    if names:
        yield names, " ".join(lines)


def _as_sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].upper() + text[1:]
