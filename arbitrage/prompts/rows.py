"""What a source hands on: raw rows and broken ones, each with its place; and why a row can be refused."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

PromptReject = Literal[
    "broken_json",
    "broken_row",
    "broken_messages",
    "invalid_utf8",
    "wrong_type",
    "missing_value",
    "empty_prompt",
    "prompt_too_long",
    "row_too_long",
    "unknown_language",
    "duplicate_id",
    "duplicate_prompt",
]
"""The closed set of reasons for which reading refuses a row."""

MAX_ROW_BYTES = 16 * 2**20
"""Longer lines are skipped unread, so that one endless line cannot fill the memory."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row as the source holds it. `position` is unique in the source, such as `a.jsonl:17`."""

    position: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be read."""

    position: str
    reason: PromptReject
    detail: str


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a source, mostly a file. `columns` is None where each row names its own (JSONL)."""

    name: str
    columns: tuple[str, ...] | None
    rows: Iterator[Row | Fault]


class RowError(ValueError):
    """A row that is refused, raised and caught within this package only."""

    def __init__(self, reason: PromptReject, detail: str) -> None:
        super().__init__(detail)
        self.reason: PromptReject = reason
        self.detail = detail


def printable(text: str, limit: int = 120) -> str:
    """Return text short enough for a message, without lone surrogates and control characters."""
    clean = text[:limit].encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in clean)
