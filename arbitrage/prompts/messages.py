"""Turns the value of a prompt column into chat messages that end with a turn to be answered."""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from arbitrage.prompts.rows import RowError, printable
from arbitrage.records import Message

MessageRole = Literal["system", "user", "assistant", "tool"]

ROLES: Mapping[str, MessageRole] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "tool": "tool",
}
"""Role names found in published chat data, and ours."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages that end with a turn to be answered, and how many answers were cut off behind it."""

    messages: tuple[Message, ...]
    num_cut: int = 0


def text_conversation(text: str) -> Conversation:
    """Make a conversation of one user turn.

    Raises:
        RowError: the text is empty or cannot be encoded.
    """
    return Conversation((Message(role="user", content=_filled(text)),))


def chat_conversation(value: Any) -> Conversation:
    """Make a conversation of a list of messages, or of its JSON text. Answers at the end are cut off.

    Raises:
        RowError: not such a list, an unknown role, no user turn, a turn that is empty or no text.
    """
    if isinstance(value, str):
        value = _parse(value)
    if not isinstance(value, list):
        raise RowError("wrong_type", f"expected a list of messages, found {type(value).__name__}")
    turns = [_message(item, position) for position, item in enumerate(value)]
    end = len(turns)
    while end and turns[end - 1].role == "assistant":
        end -= 1
    if not any(turn.role == "user" for turn in turns[:end]):
        raise RowError("broken_messages", f"no user turn among {len(turns)} messages")
    if turns[end - 1].role == "system":
        raise RowError("broken_messages", "the last message is a system message")
    return Conversation(tuple(turns[:end]), len(turns) - end)


def turns_of(value: Any) -> list[str]:
    """Return the assistant's turns of a text, a list of texts, or a list of chat messages.

    Raises:
        RowError: it is none of them.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise RowError("wrong_type", f"expected text or a list of messages, found {type(value).__name__}")
    texts = []
    for position, item in enumerate(value):
        if isinstance(item, str):
            texts.append(item)
            continue
        if not isinstance(item, Mapping):
            raise RowError("broken_messages", f"message {position} is {type(item).__name__}, not an object")
        role, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
        if ROLES.get(str(role)) == "assistant":
            if not isinstance(content, str):
                raise RowError("broken_messages", f"the content of message {position} is not text")
            texts.append(content)
    return texts


def encodable(text: str) -> str:
    """Return text as it is.

    Raises:
        RowError: it holds half a surrogate pair, which no UTF-8 file can store.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError("invalid_utf8", f"half a surrogate pair at character {error.start}") from error
    return text


def is_blank(text: str) -> bool:
    """Tell whether text shows nothing: spaces, control and format characters only."""
    visible = text.strip()
    if not visible or visible[0].isalnum():
        return not visible
    return all(unicodedata.category(c)[0] in "ZC" for c in visible)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError("broken_messages", f"not a JSON list of messages: {printable(text, 40)}") from error


def _message(item: Any, position: int) -> Message:
    if not isinstance(item, Mapping):
        raise RowError("broken_messages", f"message {position} is {type(item).__name__}, not an object")
    role = item.get("role", item.get("from"))
    content = item.get("content", item.get("value"))
    known = ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        raise RowError("broken_messages", f"message {position} has the role {printable(repr(role), 40)}")
    text = _content(content, position)
    return Message(role=known, content=encodable(text) if known == "system" else _filled(text))


def _content(content: Any, position: int) -> str:
    """Return the text of a message; a list of parts is joined if all of them are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "".join(str(text) for text in texts)
    raise RowError("broken_messages", f"the content of message {position} is not text")


def _filled(text: str) -> str:
    if is_blank(text):
        raise RowError("empty_prompt", "nothing but blanks")
    return encodable(text)
