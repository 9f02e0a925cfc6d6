"""What a file hands on: raw rows and broken ones, each with its place; and why a row can be refused."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RowReject = Literal[
    "broken_json",
    "broken_row",
    "broken_messages",
    "tool_calls",
    "invalid_utf8",
    "wrong_type",
    "missing_value",
    "empty_prompt",
    "reasoning_unfinished",
    "prompt_too_long",
    "row_too_long",
    "unknown_language",
    "duplicate_id",
    "duplicate_prompt",
]
"""The closed set of reasons for which reading refuses a row."""

MAX_ROW_BYTES = 16 * 2**20
"""Longer lines are skipped unread, so that one endless line cannot fill the memory."""

MAX_NOTES = 100
"""Different notes of one file. Keys of foreign objects enter notes; further ones are counted together."""


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row as the source holds it. `position` is unique in the source, such as `a.jsonl:17`."""

    position: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RowFault:
    """A row that cannot be read."""

    position: str
    reason: RowReject
    detail: str


@dataclass(frozen=True, slots=True)
class InputFile:
    """A piece of a source, mostly a file.

    Attributes:
        columns: None where each row names its own (JSON Lines).
        notes: what is worth knowing of the piece as a whole; filled before the first row is read.
    """

    name: str
    columns: tuple[str, ...] | None
    rows: Iterator[InputRow | RowFault]
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The value of a cell that has no Python value, such as a date in the year 99,999."""

    type: str


class RowError(ValueError):
    """A row that is refused, raised and caught within reading only."""

    def __init__(self, reason: RowReject, detail: str) -> None:
        super().__init__(detail)
        self.reason: RowReject = reason
        self.detail = detail


def count_note(notes: Counter[str], note: str) -> None:
    """Count a note; of more than `MAX_NOTES` different ones the rest is counted under its kind alone."""
    if note in notes or len(notes) < MAX_NOTES:
        notes[note] += 1
    else:
        notes[f"{note.partition(':')[0]}:others"] += 1


def printable(text: str, limit: int = 120) -> str:
    """Return text short enough for a message, without lone surrogates and control characters."""
    clean = text[:limit].encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in clean)
