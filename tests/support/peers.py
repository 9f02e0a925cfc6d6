"""Values that other libraries gave, and how they cut text into words: `../shared/data/readability_reference`."""

import re

import pyarrow.parquet as pq
import pytest

from tests.support.paths import SHARED

REFERENCE = SHARED / "data/readability_reference"

needs_reference = pytest.mark.skipif(
    not REFERENCE.exists(), reason="needs ../shared/data/readability_reference, values recorded of other libraries"
)


def rows(name: str) -> list[dict]:
    """Return the rows of a file."""
    return pq.read_table(REFERENCE / f"{name}.parquet").to_pylist()


def recorded(library: str, metric: str) -> dict[str, float]:
    """Return text id → the value that a library gave; empty where the data is absent, so that tests are collected."""
    if not REFERENCE.exists():
        return {}
    found = rows("udhr_library_values")
    return {r["text_id"]: r["value"] for r in found if r["library"].startswith(library) and r["metric"] == metric}


def udhr() -> dict[str, dict]:
    """Return text id → language, text and frozen tokens."""
    return {row["text_id"]: row for row in rows("udhr_texts_tokens")}


def textstat_words(text: str) -> list[str]:
    """Cut as textstat 0.7.13 does: drop punctuation, split at blanks."""
    text = re.sub(r"\'(?!(?:[tsd]|ve|ll|re))", "", text)
    return re.sub(r"[^\w\s\']", "", text).split()


def textstat_sentences(text: str) -> int:
    """Count as textstat 0.7.13 does: runs up to . ! or ?, those of one or two words left out."""
    found = re.findall(r"\b[^.!?]+[.!?]*", text)
    return max(1, len(found) - sum(len(textstat_words(sentence)) <= 2 for sentence in found))
