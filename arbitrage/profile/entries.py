"""Turn rows of data sets into texts to measure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from arbitrage.errors import did_you_mean
from arbitrage.inputs.columns import ColumnMap, ProfileColumns, ProfileRole
from arbitrage.inputs.messages import AssistantTurn, assistant_turns, reasoning_text
from arbitrage.inputs.rows import InputRow, RowError, count_note, printable
from arbitrage.inputs.values import MISSING, id_text, is_missing, number_of, shown, sound, type_name
from arbitrage.languages import UNKNOWN, read_language, suggest_tag
from arbitrage.text.reasoning import find_reasoning
from arbitrage.text.reasoning_formats import split_foreign_text

Turns = Literal["last", "all"]

_SWITCHES = frozenset(("", "on", "off", "true", "false", "yes", "no", "none", "low", "medium", "high"))
"""Values of a column `reasoning` that says how much was asked for."""


@dataclass(frozen=True, slots=True)
class ProfileEntry:
    """A text, with its language, teacher and source.

    Attributes:
        text: without the reasoning before it.
        language: BCP-47; None if it is to be identified.
        cluster: hash of the prompt's id, equal for all texts of one prompt; without an id, of the row's position.
        key: hash of the text's position, unique.
    """

    text: str
    language: str | None
    teacher: str | None
    source: str | None
    cluster: int
    key: int
    embedding: tuple[float, ...] | None = None
    reasoning: str | None = None


class EntryBuilder:
    """Turns rows of one data set into entries."""

    def __init__(
        self, columns: ProfileColumns, turns: Turns = "last", language: str | None = None, salt: str = ""
    ) -> None:
        """Make a builder.

        Args:
            columns: which column holds what.
            turns: which assistant turns of a conversation: the last or all.
            language: language of rows without one; None identifies it.
            salt: distinguishes the rows of this data set from those of another.
        """
        self.columns: ColumnMap[ProfileRole] = columns.mapping()
        self._turns = turns
        self._language = language
        self._salt = salt

    def build(self, row: InputRow, notes: Counter[str]) -> list[ProfileEntry]:
        """Return the texts of a row; count what was told apart in them.

        Raises:
            RowError: there is no text, or a value has a wrong type.
        """
        values = row.values
        turns = self._turns_of(values, notes)
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
            ProfileEntry(
                turn.text, language, teacher, source, cluster, hash64(f"{place}\0{i}"), vector, turn.reasoning
            )
            for i, turn in enumerate(turns)
        ]

    def _turns_of(self, values: Mapping[str, Any], notes: Counter[str]) -> list[AssistantTurn]:
        for role in ("text", "messages"):
            column, value = self.columns.find(values, role)
            if value is MISSING:
                continue
            try:
                turns = assistant_turns(value)
                if not turns:
                    raise RowError("broken_messages", "no assistant turn")
                turns[-1] = AssistantTurn(turns[-1].text, turns[-1].reasoning or self._reasoning(values, notes))
                return [_told_apart(turn, notes) for turn in (turns[-1:] if self._turns == "last" else turns)]
            except RowError as error:
                raise RowError(error.reason, f"column '{printable(column, 40)}': {error.detail}") from error
        raise RowError("missing_value", "the row holds no text")

    def _reasoning(self, values: Mapping[str, Any], notes: Counter[str]) -> str | None:
        """Return the reasoning that has a column of its own; a switch such as 'on' is none."""
        column, value = self.columns.find(values, "reasoning")
        if value is MISSING or isinstance(value, bool):
            return None
        text = reasoning_text(value).strip()
        if not text and "reasoning" in self.columns.given:
            count_note(notes, f"value_not_read:{printable(column, 40)}:{type_name(value)}")
        return None if text.casefold() in _SWITCHES else sound(text)

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


def _told_apart(turn: AssistantTurn, notes: Counter[str]) -> AssistantTurn:
    """Take the reasoning out of a turn's text."""
    split, marks = split_foreign_text(turn.text)
    reasoning = turn.reasoning or split.reasoning
    if split.is_open or (reasoning and not split.text.strip()):
        raise RowError("reasoning_unfinished", "the text ends before an answer to its reasoning")
    if marks is not None:
        count_note(notes, f"reasoning_taken_out:{marks.start}")
    elif mark := find_reasoning(turn.text):
        count_note(notes, f"reasoning_not_taken_out:{mark}")
    if turn.reasoning:
        count_note(notes, "reasoning_beside")
    return AssistantTurn(split.text, reasoning)


def hash64(text: str) -> int:
    """Hash to 64 uniformly distributed bits."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _vector(value: Any) -> tuple[float, ...] | None:
    if is_missing(value) or value == []:
        return None
    numbers = [number_of(x) for x in value] if isinstance(value, list) else [None]
    if None in numbers:
        raise RowError("wrong_type", "the embedding is not a list of finite numbers")
    return tuple(number for number in numbers if number is not None)
