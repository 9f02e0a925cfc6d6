"""Tools in an export: the column `tools`, and calls in messages, in the form of each trainer.

Calls of different tools have different keys, which no struct of a Parquet column can have, so messages of a data set
with tools are JSON (`arbitrage.tables.JsonText`).
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arbitrage.export.format import Objection, ToolForm
from arbitrage.models.turns import turn_of
from arbitrage.records import Message, PreferencePair, Record, SftExample, TextMessage

MESSAGE_COLUMNS = ("messages", "prompt", "completion", "chosen", "rejected")
"""Columns of the selections' records that hold messages."""


class ShareGptMessage(Record):
    """A message of LLaMA-Factory: calls are the text of a turn of their own role."""

    role: str
    content: str


def turns_in(item: SftExample | PreferencePair) -> tuple[tuple[Message, ...], ...]:
    """Return the conversations of a row: one, or that of each side of a pair."""
    if isinstance(item, SftExample):
        return (item.messages,)
    return (item.prompt + item.chosen, item.prompt + item.rejected)


def has_tools(item: SftExample | PreferencePair) -> bool:
    """Tell whether a row declares tools, or calls any."""
    return item.tools is not None or any(turn.tool_calls for turns in turns_in(item) for turn in turns)


def tables_have_tools(tables: Iterable[pa.Table]) -> bool:
    """Tell whether a row of the tables that a selection wrote declares tools, or calls any."""
    return any(_has_tools(table) for table in tables)


def _has_tools(table: pa.Table) -> bool:
    if table["tools"].null_count < len(table):
        return True
    for name in set(MESSAGE_COLUMNS) & set(table.column_names):
        calls = pc.struct_field(pc.list_flatten(table[name]), "tool_calls")
        if pc.sum(pc.list_value_length(calls)).as_py():
            return True
    return False


def objection_to(form: ToolForm | None, item: SftExample | PreferencePair) -> Objection | None:
    """Return why a row with tools cannot be represented, or None."""
    if form is None:
        return "tools_not_read"
    if form == "sharegpt" and any(
        turn.tool_calls and turn.content.strip() for turns in turns_in(item) for turn in turns
    ):
        return "text_beside_calls"
    return None


def message_for(form: ToolForm | None, message: TextMessage) -> dict[str, Any]:
    """Return a message as a trainer reads it."""
    plain = {"role": message.role, "content": message.content}
    if form is None or not isinstance(message, Message):
        return plain
    if form == "openai":
        return turn_of(message)
    if not message.tool_calls:
        return plain
    calls = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in message.tool_calls]
    return {"role": "function_call", "content": message.content + json.dumps(calls, ensure_ascii=False)}


def merged_results(messages: Sequence[TextMessage]) -> list[TextMessage]:
    """Join results that follow each other, as LLaMA-Factory does for its own templates: its turns must alternate."""
    merged: list[TextMessage] = []
    for message in messages:
        if message.role == "tool" and merged and merged[-1].role == "tool":
            text = f"{merged[-1].content}\n</tool_response>\n<tool_response>\n{message.content}"
            merged[-1] = merged[-1].model_copy(update={"content": text})
        else:
            merged.append(message)
    return merged


def tools_for(form: ToolForm, tools: str | None) -> Any:
    """Return the value of the column `tools`."""
    declared: list[Any] = json.loads(tools or "[]")
    if form == "openai":
        return tuple(json.dumps(tool, ensure_ascii=False) for tool in declared)
    bare = [
        {"description": "", "parameters": {"type": "object", "properties": {}}} | tool["function"]
        for tool in declared
    ]
    return json.dumps(bare, ensure_ascii=False) if bare else ""
