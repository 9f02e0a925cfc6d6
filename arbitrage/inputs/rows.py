"""Raw rows and unreadable rows, each with its position; and the reasons for a reject."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RowReject = Literal[
    "broken_json",
    "broken_row",
    "broken_messages",
    "tool_calls",
    "tool_result_without_call",
    "tools_invalid",
    "response_format_invalid",
    "image_part",
    "audio_part",
    "video_part",
    "file_part",
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
"""The closed set of reject reasons of reading."""

MAX_ROW_BYTES = 16 * 2**20
"""Longer lines are skipped, so that one endless line cannot fill the memory."""

MAX_NOTES = 100
"""Maximum number of different notes per file, because notes contain keys of foreign objects."""


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row of the source. `position` is unique in the source, such as `a.jsonl:17`."""

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
    """A part of a source, usually a file.

    Attributes:
        columns: None if each row names its own (JSON Lines).
        notes: remarks on the whole part; filled before the first row is read.
    """

    name: str
    columns: tuple[str, ...] | None
    rows: Iterator[InputRow | RowFault]
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A cell without a Python value, such as a date in the year 99,999."""

    type: str


class RowError(ValueError):
    """A rejected row; raised and caught only within reading."""

    def __init__(self, reason: RowReject, detail: str) -> None:
        super().__init__(detail)
        self.reason: RowReject = reason
        self.detail = detail


def count_note(notes: Counter[str], note: str) -> None:
    """Count a note; beyond `MAX_NOTES` different ones, only its kind is counted."""
    if note in notes or len(notes) < MAX_NOTES:
        notes[note] += 1
    else:
        notes[f"{note.partition(':')[0]}:others"] += 1


def printable(text: str, limit: int = 120) -> str:
    """Return text short enough for a message, without lone surrogates and control characters."""
    clean = text[:limit].encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in clean)
