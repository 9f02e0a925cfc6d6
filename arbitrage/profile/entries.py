"""One text to be measured, and how a foreign row becomes some."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from arbitrage.languages import UNKNOWN, read_language, suggest_tag
from arbitrage.profile.columns import ProfileColumns, Role, is_absent
from arbitrage.prompts.messages import turns_of
from arbitrage.prompts.rows import Row, RowError, printable

Turns = Literal["last", "all"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A text, and what it is counted under.

    Attributes:
        language: BCP-47; None where it is to be identified.
        cluster: hash of the prompt's id, equal for all texts that answer it; of the row's place where there is none.
        key: hash of the text's place, unique.
    """

    text: str
    language: str | None
    teacher: str | None
    source: str | None
    cluster: int
    key: int
    embedding: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class EntryBuilder:
    """Turns rows of one data set into entries.

    Attributes:
        columns: which column holds what.
        turns: of several assistant turns, the last or all.
        language: of rows that do not say theirs; None identifies it.
        salt: tells the rows of this data set from those of another.
    """

    columns: ProfileColumns
    turns: Turns = "last"
    language: str | None = None
    salt: str = ""

    def build(self, row: Row) -> list[Entry]:
        """Return the texts of a row.

        Raises:
            RowError: there is none, or a value is of the wrong type.
        """
        values = row.values
        texts = self._texts(values)
        prompt_id = self._label(values, "prompt_id")
        place = f"{self.salt}\0{row.position}"
        language, teacher, source = (
            self._language(values),
            self._label(values, "teacher"),
            self._label(values, "source"),
        )
        cluster = hash64(f"id\0{prompt_id}" if prompt_id is not None else f"at\0{place}")
        vector = _vector(self.columns.value(values, "embedding"))
        return [
            Entry(text, language, teacher, source, cluster, hash64(f"{place}\0{i}"), vector)
            for i, text in enumerate(texts)
        ]

    def _texts(self, values: Mapping[str, Any]) -> list[str]:
        for role in ("text", "messages"):
            value = self.columns.value(values, role)
            if not is_absent(value):
                texts = turns_of(value)
                if not texts:
                    raise RowError("broken_messages", "no assistant turn")
                return texts[-1:] if self.turns == "last" else texts
        raise RowError("missing_value", "the row holds no text")

    def _language(self, values: Mapping[str, Any]) -> str | None:
        value = self.columns.value(values, "language")
        if is_absent(value):
            return self.language
        if not isinstance(value, str):
            raise RowError("wrong_type", f"the language is {type(value).__name__}, not text")
        tag = read_language(value)
        if tag is None:
            near = suggest_tag(value)
            hint = f" (did you mean '{near}'?)" if near else ""
            raise RowError(
                "unknown_language",
                f"'{printable(value, 40)}' is neither a BCP-47 tag nor the name of a language{hint}",
            )
        return None if tag == UNKNOWN else tag

    def _label(self, values: Mapping[str, Any], role: Role) -> str | None:
        value = self.columns.value(values, role)
        if is_absent(value):
            return None
        if isinstance(value, str | int | float):
            return printable(str(value))
        raise RowError("wrong_type", f"{role} is {type(value).__name__}, not text")


def hash64(text: str) -> int:
    """Hash to 64 even bits."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _vector(value: Any) -> tuple[float, ...] | None:
    if is_absent(value) or value == []:
        return None
    if not isinstance(value, list) or not all(isinstance(x, int | float) for x in value):
        raise RowError("wrong_type", "the embedding is not a list of numbers")
    return tuple(float(x) for x in value)
