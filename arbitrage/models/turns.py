"""Messages as chat templates and endpoints take them: OpenAI's form."""

import json
from collections.abc import Sequence
from typing import Any

from arbitrage.records import Message, ToolCall

Turn = dict[str, Any]
"""`role`, and `content`: a text, or a list of parts; `tool_calls` of the assistant; `tool_call_id` and `name` of a
tool's result."""


def turn_of(message: Message, *, arguments_as_text: bool = False) -> Turn:
    """Return a message as a template takes it.

    Args:
        message: the message.
        arguments_as_text: arguments of calls are JSON, as in OpenAI's protocol; templates take objects.
    """
    turn: Turn = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, arguments_as_text=arguments_as_text) for call in message.tool_calls]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _call(call: ToolCall, *, arguments_as_text: bool) -> dict[str, Any]:
    arguments = call.arguments if arguments_as_text else json.loads(call.arguments)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def plain_turns(messages: Sequence[Message]) -> list[Message]:
    """Return messages for a model that knows no tools: calls are text, and results are turns of the user."""
    turns: list[Message] = []
    for message in messages:
        if message.role != "tool":
            is_plain = not message.tool_calls
            turns.append(message if is_plain else Message(role=message.role, content=message.shown))
            continue
        text = f"{message.name or 'tool'}: {message.content}"
        if turns and turns[-1].role == "user":
            turns[-1] = Message(role="user", content=f"{turns[-1].content}\n\n{text}")
        else:
            turns.append(Message(role="user", content=text))
    return turns
