"""How rows of an export carry reasoning, and tools (`arbitrage.export.tools`).

Reasoning becomes a key of the answer's message, a part of its text, or nothing.

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

from arbitrage.export.format import FileType, Format, ReasoningForm, ToolForm
from arbitrage.export.tools import ShareGptMessage, merged_results, message_for, tables_have_tools, tools_for
from arbitrage.records import Message, PreferencePair, Record, SftExample, TextMessage
from arbitrage.tables import JsonText

ReasoningChoice = Literal["keep", "drop", "reasoning_content", "thinking", "inline"]
"""`keep`: in the trainer's own form; a form by its name; `drop`: final answers alone."""

ANSWER_COLUMNS = frozenset(("messages", "completion", "chosen", "rejected", "completions"))
"""Columns that hold answers; the others hold prompts, which have no reasoning."""

SIDES = {"chosen": "chosen_reasoning", "rejected": "rejected_reasoning"}
"""Column of a preference row → field of the pair."""


class ReasonedMessage(TextMessage):
    """What most chat templates read."""

    reasoning_content: str


class ThinkingMessage(TextMessage):
    """What the chat templates of gpt-oss and LFM2.5 read."""

    thinking: str


MESSAGES: Mapping[ReasoningForm, type[TextMessage]] = {
    "reasoning_content": ReasonedMessage,
    "thinking": ThinkingMessage,
}


class Answer(Message):
    """An answer with its reasoning, before it has a trainer's form."""

    reasoning: str


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
class RowLayout:
    """How the rows of one data set carry reasoning and tools.

    Attributes:
        form: of reasoning; None where it is dropped, or no row has any.
        whole: columns in which every answer has reasoning.
        file_type: of the data files.
        tools: form of tools; None where no row has any.
    """

    form: ReasoningForm | None
    whole: frozenset[str]
    file_type: FileType
    tools: ToolForm | None = None

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
            return answer.model_copy(update={"content": inline(reasoning, answer.content)})
        return Answer(role=answer.role, content=answer.content, tool_calls=answer.tool_calls, reasoning=reasoning)

    def record(self, plain: type[Record]) -> type[Record]:
        """Return the record of the rows, given the one of rows without reasoning and tools."""
        key = None if self.form is None else MESSAGES.get(self.form)
        if self.tools is not None:
            return _record(plain, ShareGptMessage if self.tools == "sharegpt" else None, None, self.tools)
        if key is None:
            return plain
        whole = self.whole if self.file_type == "parquet" else ANSWER_COLUMNS
        return _record(plain, key, whole & set(plain.model_fields), None)

    def row(self, row: Record, tools: str | None) -> Record:
        """Return a row of that record.

        Args:
            row: as the trainer's format built it.
            tools: what it declares.
        """
        record = self.record(type(row))
        if record is type(row):
            return row
        values = {
            name: self._value(getattr(row, name), record.model_fields[name].annotation)
            for name in type(row).model_fields
        }
        if self.tools is not None:
            values["tools"] = tools_for(self.tools, tools)
        return record.model_validate(values, strict=False)

    def _value(self, value: Any, annotation: Any) -> Any:
        """Return the value of a column."""
        if isinstance(value, TextMessage):
            return self._message(value, annotation)
        if isinstance(value, tuple) and value and isinstance(value[0], Record):
            inner = get_args(annotation)[0]
            each = merged_results(value) if self.tools == "sharegpt" else value
            return tuple(self._value(one, inner) for one in each)
        if isinstance(value, Record):
            return {
                name: self._value(getattr(value, name), info.annotation)
                for name, info in annotation.model_fields.items()
            }
        return value

    def _message(self, message: TextMessage, annotation: Any) -> Any:
        found = message_for(self.tools, message)
        if isinstance(message, Answer):
            found[str(self.form)] = message.reasoning
        if annotation is JsonText:
            return json.dumps(found, ensure_ascii=False)
        return {name: found.get(name, "") for name in annotation.model_fields}


def layout_of(
    form: ReasoningForm | None, tool_form: ToolForm | None, tables: Iterable[pa.Table], file_type: FileType
) -> RowLayout:
    """Decide how the rows of a data set carry reasoning and tools.

    Args:
        form: of reasoning; None: it is dropped.
        tool_form: form of tools; None: rows with tools are skipped.
        tables: the rows as the selection wrote them.
        file_type: of the data files.
    """
    columns = {"reasoning": "completion", **{field: side for side, field in SIDES.items()}}
    lacking: set[str] = set()
    is_any = has_any_tools = False
    for table in tables if form or tool_form else ():
        has_any_tools = has_any_tools or (tool_form is not None and tables_have_tools([table]))
        for field in columns.keys() & set(table.column_names) if form else ():
            found = [is_reasoned(value) for value in table.column(field).to_pylist()]
            is_any |= any(found)
            if not all(found):
                lacking.add(columns[field])
    whole = frozenset(columns.values()) - lacking
    return RowLayout(form if is_any else None, whole, file_type, tool_form if has_any_tools else None)


def inline(reasoning: str, text: str) -> str:
    """Return an answer with its reasoning in front, as LLaMA-Factory's own templates write an empty one."""
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{text}"


@cache
def _record(
    plain: type[Record], message: type[Record] | None, whole: frozenset[str] | None, tools: ToolForm | None
) -> type[Record]:
    """Return the record of rows whose messages are of another type.

    Args:
        plain: the record of rows whose messages are text alone.
        message: type of the messages; None: they are JSON.
        whole: columns of answers in which all have reasoning: in others messages are JSON; None: all columns hold
            messages of the type.
        tools: form of the column `tools`; None: there is none.
    """
    fields: dict[str, Any] = {}
    for name, info in plain.model_fields.items():
        is_changed = whole is None or name in ANSWER_COLUMNS
        each = message if whole is None or name in whole else None
        fields[name] = (_annotation(info.annotation, each) if is_changed else info.annotation, ...)
    if tools is not None:
        fields["tools"] = (tuple[JsonText, ...] if tools == "openai" else str, ...)
    return create_model(plain.__name__, __base__=Record, **fields)


def _annotation(annotation: Any, message: type[Record] | None) -> Any:
    """Return the type of a column whose messages have another type; None: JSON."""
    if annotation is TextMessage:
        return message or JsonText
    if get_origin(annotation) is tuple:
        return tuple[_annotation(get_args(annotation)[0], message), ...]  # type: ignore[misc]
    if isinstance(annotation, type) and issubclass(annotation, Record):
        fields: dict[str, Any] = {
            name: (_annotation(info.annotation, message), ...) for name, info in annotation.model_fields.items()
        }
        return create_model(annotation.__name__, __base__=Record, **fields)
    return annotation


def require_forms(formats: Sequence[Format], choice: ReasoningChoice) -> None:
    """Refuse a choice that one of the trainers does not read in all kinds of rows. Raises ValueError."""
    for each in formats:
        for kind in each.reasoning:
            form_of(each, kind, choice)
