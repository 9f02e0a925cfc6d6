"""One text to be measured, and how a foreign row becomes some."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from arbitrage.errors import did_you_mean
from arbitrage.inputs.columns import ColumnMap, ProfileColumns, ProfileRole
from arbitrage.inputs.messages import turns_of
from arbitrage.inputs.rows import InputRow, RowError, printable
from arbitrage.inputs.values import MISSING, id_text, is_missing, number_of, shown
from arbitrage.languages import UNKNOWN, read_language, suggest_tag

Turns = Literal["last", "all"]


@dataclass(frozen=True, slots=True)
class ProfileEntry:
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


class EntryBuilder:
    """Turns rows of one data set into entries."""

    def __init__(
        self, columns: ProfileColumns, turns: Turns = "last", language: str | None = None, salt: str = ""
    ) -> None:
        """Make a builder.

        Args:
            columns: which column holds what.
            turns: of several assistant turns, the last or all.
            language: of rows that do not say theirs; None identifies it.
            salt: tells the rows of this data set from those of another.
        """
        self.columns: ColumnMap[ProfileRole] = columns.mapping()
        self._turns = turns
        self._language = language
        self._salt = salt

    def build(self, row: InputRow) -> list[ProfileEntry]:
        """Return the texts of a row.

        Raises:
            RowError: there is none, or a value is of the wrong type.
        """
        values = row.values
        texts = self._texts(values)
        prompt_id = id_text(self.columns.value(values, "prompt_id"))
        place = f"{self._salt}\0{row.position}"
        language, teacher, source = (
            self._language_of(values),
            self._label(values, "teacher"),
            self._label(values, "source"),
        )
        cluster = hash64(f"id\0{prompt_id}" if prompt_id is not None else f"at\0{place}")
        vector = _vector(self.columns.value(values, "embedding"))
        return [
            ProfileEntry(text, language, teacher, source, cluster, hash64(f"{place}\0{i}"), vector)
            for i, text in enumerate(texts)
        ]

    def _texts(self, values: Mapping[str, Any]) -> list[str]:
        for role in ("text", "messages"):
            column, value = self.columns.find(values, role)
            if value is MISSING:
                continue
            try:
                texts = turns_of(value)
            except RowError as error:
                raise RowError(error.reason, f"column '{printable(column, 40)}': {error.detail}") from error
            if not texts:
                raise RowError("broken_messages", f"column '{printable(column, 40)}': no assistant turn")
            return texts[-1:] if self._turns == "last" else texts
        raise RowError("missing_value", "the row holds no text")

    def _language_of(self, values: Mapping[str, Any]) -> str | None:
        column, value = self.columns.find(values, "language")
        if value is MISSING:
            return self._language
        if isinstance(value, list) and len(value) == 1:
            [value] = value
        if not isinstance(value, str):
            raise RowError(
                "wrong_type", f"the language in column '{printable(column, 40)}' is {shown(value)}, not text"
            )
        tag = read_language(value)
        if tag is None:
            hint = did_you_mean(suggest_tag(value))
            where = f"'{printable(value, 40)}' in column '{printable(column, 40)}'"
            raise RowError("unknown_language", f"{where} is neither a BCP-47 tag nor the name of a language{hint}")
        return None if tag == UNKNOWN else tag

    def _label(self, values: Mapping[str, Any], role: ProfileRole) -> str | None:
        text = id_text(self.columns.value(values, role))
        return None if text is None else printable(text)


def hash64(text: str) -> int:
    """Hash to 64 even bits."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _vector(value: Any) -> tuple[float, ...] | None:
    if is_missing(value) or value == []:
        return None
    numbers = [number_of(x) for x in value] if isinstance(value, list) else [None]
    if None in numbers:
        raise RowError("wrong_type", "the embedding is not a list of finite numbers")
    return tuple(number for number in numbers if number is not None)
