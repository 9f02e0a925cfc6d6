"""What becomes of reasoning in an export: a key of the answer's message, a part of its text, or nothing.

A key is never null. Templates of gpt-oss and LFM2.5 fail on a null `thinking`, so a message without reasoning has no
such key; a column of messages of which some have the key is JSON (`arbitrage.tables.JsonText`), because all structs
of a Parquet column have the same keys. JSON lines need the same keys in all files, so there the key is empty.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
from pydantic import create_model

from arbitrage.export.format import FileType, Format, ReasoningForm
from arbitrage.records import Message, PreferencePair, Record, SftExample
from arbitrage.tables import JsonText

ReasoningChoice = Literal["keep", "drop", "reasoning_content", "thinking", "inline"]
"""`keep`: in the trainer's own form; a form by its name; `drop`: final answers alone."""

ANSWER_COLUMNS = frozenset(("messages", "completion", "chosen", "rejected", "completions"))
"""Columns that hold answers; the others hold prompts, which have no reasoning."""

SIDES = {"chosen": "chosen_reasoning", "rejected": "rejected_reasoning"}
"""Column of a preference row → field of the pair."""


class ReasonedMessage(Message):
    """What most chat templates read."""

    reasoning_content: str


class ThinkingMessage(Message):
    """What the chat templates of gpt-oss and LFM2.5 read."""

    thinking: str


MESSAGES: Mapping[ReasoningForm, type[Message]] = {"reasoning_content": ReasonedMessage, "thinking": ThinkingMessage}


def form_of(format: Format, kind: str, choice: ReasoningChoice) -> ReasoningForm | None:
    """Return the form in which a trainer gets the reasoning of a kind of rows; None where it is dropped.

    Raises:
        ValueError: the trainer does not read that form.
    """
    if choice == "drop":
        return None
    if choice == "keep":
        return format.reasoning[kind][0]
    if choice not in format.reasoning[kind]:
        allowed = ", ".join(("keep", "drop", *format.reasoning[kind]))
        rows = "SFT" if kind == "SftExample" else "preference"
        raise ValueError(f"{format.trainer} does not read the reasoning of {rows} rows as '{choice}'; take {allowed}")
    return choice


def is_reasoned(reasoning: str | None) -> bool:
    """Tell whether there is reasoning."""
    return reasoning is not None and not reasoning.isspace() and reasoning != ""


def sides_with_reasoning(item: SftExample | PreferencePair) -> tuple[str, ...]:
    """Return which answers of a row have reasoning: `answer`, or `chosen` and `rejected`."""
    if isinstance(item, SftExample):
        return ("answer",) if is_reasoned(item.reasoning) else ()
    return tuple(side for side, field in SIDES.items() if is_reasoned(getattr(item, field)))


@dataclass(frozen=True, slots=True)
class ReasoningLayout:
    """How the rows of one data set carry reasoning.

    Attributes:
        form: None where it is dropped, or no row has any.
        whole: columns in which every answer has reasoning.
        file_type: of the data files.
    """

    form: ReasoningForm | None
    whole: frozenset[str]
    file_type: FileType

    def applied(self, item: SftExample | PreferencePair) -> SftExample | PreferencePair:
        """Return a row whose answers carry their reasoning."""
        if self.form is None:
            return item
        if isinstance(item, SftExample):
            *turns, answer = item.messages
            return item.model_copy(update={"messages": (*turns, self._with_reasoning(answer, item.reasoning))})
        sides = {
            side: (*getattr(item, side)[:-1], self._with_reasoning(getattr(item, side)[-1], getattr(item, field)))
            for side, field in SIDES.items()
        }
        return item.model_copy(update=sides)

    def _with_reasoning(self, answer: Message, reasoning: str | None) -> Message:
        if reasoning is None or not is_reasoned(reasoning):
            return answer
        if self.form == "inline":
            return Message(role=answer.role, content=inline(reasoning, answer.content))
        assert self.form is not None
        return MESSAGES[self.form](role=answer.role, content=answer.content, **{self.form: reasoning})

    def record(self, plain: type[Record]) -> type[Record]:
        """Return the record of the rows, given the one of rows without reasoning."""
        if self.form is None or self.form == "inline":
            return plain
        whole = self.whole if self.file_type == "parquet" else ANSWER_COLUMNS
        return _record(plain, MESSAGES[self.form], whole & set(plain.model_fields))

    def row(self, row: Record) -> Record:
        """Return a row of that record."""
        record = self.record(type(row))
        if record is type(row):
            return row
        key = str(self.form)
        values = row.model_dump(serialize_as_any=True)
        for name in ANSWER_COLUMNS & values.keys():
            values[name] = _value(values[name], record.model_fields[name].annotation, key)
        return record.model_validate(values, strict=False)


def layout_of(form: ReasoningForm | None, tables: Iterable[pa.Table], file_type: FileType) -> ReasoningLayout:
    """Decide how the rows of a data set carry reasoning.

    Args:
        form: None: it is dropped.
        tables: the rows as the selection wrote them.
        file_type: of the data files.
    """
    columns = {"reasoning": "completion", **{field: side for side, field in SIDES.items()}}
    lacking: set[str] = set()
    is_any = False
    for table in tables if form else ():
        for field in columns.keys() & set(table.column_names):
            found = [is_reasoned(value) for value in table.column(field).to_pylist()]
            is_any |= any(found)
            if not all(found):
                lacking.add(columns[field])
    whole = frozenset(columns.values()) - lacking
    return ReasoningLayout(form if is_any else None, whole, file_type)


def inline(reasoning: str, text: str) -> str:
    """Return an answer with its reasoning in front, as LLaMA-Factory's own templates write an empty one."""
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{text}"


@cache
def _record(plain: type[Record], message: type[Message], whole: frozenset[str]) -> type[Record]:
    fields: dict[str, Any] = {
        name: (
            _annotation(info.annotation, message, name in whole) if name in ANSWER_COLUMNS else info.annotation,
            ...,
        )
        for name, info in plain.model_fields.items()
    }
    return create_model(plain.__name__, __base__=Record, **fields)


def _annotation(annotation: Any, message: type[Message], is_whole: bool) -> Any:
    """Return the type of a column of answers that may have reasoning."""
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)[0]
        if inner is Message:
            return tuple[message, ...] if is_whole else tuple[JsonText, ...]  # type: ignore[valid-type]
        return tuple[_annotation(inner, message, is_whole), ...]  # type: ignore[misc]
    if isinstance(annotation, type) and issubclass(annotation, Record):
        fields: dict[str, Any] = {
            name: (_annotation(info.annotation, message, is_whole), ...)
            for name, info in annotation.model_fields.items()
        }
        return create_model(annotation.__name__, __base__=Record, **fields)
    return annotation


def _value(value: Any, annotation: Any, key: str) -> Any:
    """Return the value of such a column."""
    inner = get_args(annotation)[0] if get_origin(annotation) is tuple else annotation
    if get_origin(annotation) is tuple:
        return tuple(_value(each, inner, key) for each in value)
    if annotation is JsonText:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(annotation, type) and issubclass(annotation, Message):
        return {key: "", **value}
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return {name: _value(value[name], info.annotation, key) for name, info in annotation.model_fields.items()}
    return value


def require_forms(formats: Sequence[Format], choice: ReasoningChoice) -> None:
    """Refuse a choice that one of the trainers does not read in all kinds of rows. Raises ValueError."""
    for each in formats:
        for kind in each.reasoning:
            form_of(each, kind, choice)
