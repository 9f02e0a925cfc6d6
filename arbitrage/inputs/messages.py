"""Parse chat messages in the usual published forms, and single texts, as a conversation.

Accepted are lists of {role, content} and of {from, value}, also as a dict of lists (old feature types of `datasets`),
as one message, or as JSON text; contents may be texts, lists of texts or text parts. Calls of tools stand in fields
of the assistant's message, or are turns of their own, as in ShareGPT; parts that are no text are rejected by their
type.
"""

import ast
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from arbitrage.inputs.rows import RowError, RowReject, printable
from arbitrage.inputs.tools import CallLinks
from arbitrage.inputs.values import is_missing, shown, sound, type_name
from arbitrage.records import Message, ToolCall, canonical_json

MessageRole = Literal["system", "user", "assistant", "tool"]
TurnRole = Literal["system", "user", "assistant", "tool_call", "tool"]

_ROLE_NAMES: Mapping[TurnRole, str] = {
    "system": "system developer system_prompt sys",
    "user": "user human prompter customer humanmessage",
    "assistant": "assistant gpt chatgpt bot chatbot model ai bard bing claude gemini llm agent aimessage",
    "tool_call": "function_call tool_call tool_calls",
    "tool": "tool tools function observation function_response tool_response tool_result tool_results tool_output "
    "function_result ipython environment",
}
ROLES: Mapping[str, TurnRole] = {name: role for role, names in _ROLE_NAMES.items() for name in names.split()}
"""Role names found in published chat data, and ours; in lower case, `_` for `-` and blanks."""

_ROLE_KEYS: Final = ("role", "from")
_CONTENT_KEYS: Final = ("content", "value", "text", "parts")
_CALL_KEYS: Final = ("tool_calls", "function_call")
_KNOWN_KEYS: Final = frozenset((*_ROLE_KEYS, *_CONTENT_KEYS, *_CALL_KEYS, "tool_call_id"))
_PLAIN_KEYS: Final = frozenset(("role", "content"))
_TEXT_PARTS: Final = frozenset(("text", "input_text", "output_text"))
_FOREIGN_PARTS: Mapping[RowReject, str] = {
    "image_part": "image image_url input_image image_file",
    "audio_part": "audio audio_url input_audio output_audio",
    "video_part": "video video_url input_video",
    "file_part": "file file_url input_file document",
}
_PART_REJECTS: Mapping[str, RowReject] = {
    name: why for why, names in _FOREIGN_PARTS.items() for name in names.split()
}
REASONING_FIELDS: Final = ("reasoning", "reasoning_content", "reasoning_text", "thinking")
"""Fields of a message that hold the reasoning before its content: vLLM ≥ 0.16 and OpenRouter; older vLLM, SGLang and
DeepSeek; others. A server may rename its field at any time."""
REASONING_PARTS: Final = frozenset(
    ("thinking", "reasoning", "reasoning_content", "reasoning_text", "redacted_thinking", "summary")
)
"""Types of the parts of a content that are its reasoning."""
MAX_PYTHON_CHARS: Final = 200_000
"""Longer text is not parsed as a Python list; the parser needs about 100 bytes per character."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages that end with a turn of the user, or with results of tools.

    Attributes:
        num_cut: number of messages removed from the end.
        notes: what was left out of the remaining messages.
    """

    messages: tuple[Message, ...]
    num_cut: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AssistantTurn:
    """A turn of the assistant.

    Attributes:
        text: its content; marks of reasoning in it are kept.
        reasoning: what stands beside it in a field or part of its own; None where there is none.
    """

    text: str
    reasoning: str | None = None


def conversation(value: Any) -> Conversation:
    """Make a conversation of a text (one user turn), or of messages in any of the usual forms.

    Raises:
        RowError: it is neither.
    """
    if not isinstance(value, str):
        return chat_conversation(value)
    if value.lstrip()[:1] not in ("[", "{"):
        return text_conversation(value)
    messages = messages_in(value)
    if messages is not None:
        return chat_conversation(messages)
    texts = _notation(value)
    if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
        what = f"the text is a JSON list of {len(texts)} texts; `.0` behind the column's name takes the first"
        raise RowError("broken_messages", what)
    return text_conversation(value)


def text_conversation(text: str) -> Conversation:
    """Make a conversation of one user turn.

    Raises:
        RowError: the text is empty.
    """
    notes = () if encodable(text) else ("lone_surrogate_replaced",)
    return Conversation((Message(role="user", content=_filled(text)),), 0, notes)


def chat_conversation(value: Any) -> Conversation:
    """Make a conversation of messages. An assistant's turn at the end is removed first.

    Raises:
        RowError: no messages, an unknown role, no user turn, a kept turn that is empty or is no text, a call that
            cannot be read, or a tool's result without a call.
    """
    items = _items(value)
    roles = [_role(item, position) for position, item in enumerate(items)]
    end = len(items)
    while end and roles[end - 1] in ("assistant", "tool_call"):
        end -= 1
    if "user" not in roles[:end]:
        raise RowError("broken_messages", f"no user turn among {len(items)} messages")
    if roles[end - 1] == "system":
        raise RowError("broken_messages", "the last message is a system message")
    notes: list[str] = []
    cut = items[end:]
    if "tool_call" in roles[end:] or any(_calls(i) for i in cut if i.keys() != _PLAIN_KEYS):
        notes.append("tool_turns_cut")
    reader = _Turns(notes)
    for position in range(end):
        reader.read(items[position], roles, position)
    return Conversation(tuple(reader.messages), len(items) - end, tuple(notes))


class _Turns:
    """Reads messages one after the other: calls of tools, and the results that answer them."""

    def __init__(self, notes: list[str]) -> None:
        self.messages: list[Message] = []
        self._notes = notes
        self._links = CallLinks()

    def read(self, item: Mapping[str, Any], roles: Sequence[TurnRole], position: int) -> None:
        """Add a message."""
        role = roles[position]
        if role == "tool":
            self._add_result(item, position)
            return
        has_calls = item.keys() != _PLAIN_KEYS and _calls(item)
        if role != "tool_call" and not has_calls:
            is_called = role == "assistant" and roles[position + 1 : position + 2] == ["tool"]
            self._add_text(item, role, position, is_called=is_called)
        elif role == "tool_call" and not has_calls:
            self._add_calls(
                Message(role="assistant", content=""), self._links.calls_in(self._text(item, position), position)
            )
        elif role in ("assistant", "tool_call"):
            self._note_keys(item)
            text = "" if _is_silent(item) else sound(self._text(item, position))
            self._add_calls(Message(role="assistant", content=text), self._links.calls_of(item, position))
        else:
            raise RowError("tool_calls", f"message {position} of the {role} calls a tool")

    def _add_text(self, item: Mapping[str, Any], role: TurnRole, position: int, *, is_called: bool) -> None:
        self._note_keys(item)
        text = self._text(item, position)
        calls: tuple[ToolCall, ...] = ()
        if is_called:
            text, calls = self._links.marked_in(text, position)
        assert role in ("system", "user", "assistant")
        content = sound(text) if role == "system" or calls else _filled(text)
        self.messages.append(Message(role=role, content=content, tool_calls=calls))

    def _add_calls(self, turn: Message, calls: tuple[ToolCall, ...]) -> None:
        """Add calls, to the assistant's turn before them where there is one: they are one turn."""
        last = self.messages[-1] if self.messages else turn
        if last.role != "assistant":
            self.messages.append(turn.model_copy(update={"tool_calls": calls}))
            return
        content = "\n\n".join(filter(None, (last.content, turn.content)))
        self.messages[-1] = last.model_copy(update={"content": content, "tool_calls": last.tool_calls + calls})

    def _add_result(self, item: Mapping[str, Any], position: int) -> None:
        call = self._links.answered(item, position)
        content = _first(item, _CONTENT_KEYS)
        is_object = isinstance(content, Mapping) and "parts" not in content and "type" not in content
        text = canonical_json(content) if is_object else "" if content is None else self._text(item, position)
        text = _RESPONSE.sub(r"\1", text)
        self.messages.append(Message(role="tool", content=sound(text), tool_call_id=call.id, name=call.name))

    def _note_keys(self, item: Mapping[str, Any]) -> None:
        if not item.keys() <= _KNOWN_KEYS:
            others = (key for key in item if key not in _KNOWN_KEYS and not _says_nothing(item[key]))
            self._notes += [f"message_key_not_read:{printable(str(key), 40)}" for key in others]

    def _text(self, item: Mapping[str, Any], position: int) -> str:
        text = _content(item, position, self._notes)
        if not encodable(text):
            self._notes.append("lone_surrogate_replaced")
        return text


_RESPONSE: Final = re.compile(r"\A\s*<tool_response>\s*(.*?)\s*</tool_response>\s*\Z", re.DOTALL)
"""How Hermes data marks a result."""


def assistant_turns(value: Any) -> list[AssistantTurn]:
    """Return the assistant's turns of a text, a list of texts, or messages in any of the usual forms.

    Turns without text, such as tool calls, are left out.

    Raises:
        RowError: it is none of them.
    """
    if isinstance(value, str):
        messages = messages_in(value)
        if messages is None:
            return [AssistantTurn(sound(value))]
        value = messages
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return [AssistantTurn(sound(text)) for text in value]
    items = _items(value)
    turns = [(i, item) for i, item in enumerate(items) if _role(item, i) == "assistant"]
    return [_assistant_turn(item, i) for i, item in turns if not _is_silent(item)]


def turns_of(value: Any) -> list[str]:
    """Return the assistant turns of a text, a list of texts, or messages in any of the usual forms."""
    return [turn.text for turn in assistant_turns(value)]


def reasoning_beside(message: Mapping[str, Any]) -> str | None:
    """Return the reasoning that a message holds beside its text: in a field, or as parts of its content."""
    for field in REASONING_FIELDS:
        if (text := reasoning_text(message.get(field)).strip()) != "":
            return text
    content = _first(message, _CONTENT_KEYS)
    parts = content if isinstance(content, list) else []
    found = [reasoning_text(p) for p in parts if isinstance(p, Mapping) and p.get("type") in REASONING_PARTS]
    return "\n\n".join(filter(None, (text.strip() for text in found))) or None


def reasoning_text(value: object) -> str:
    """Return the text of reasoning: a text, a part such as `{type: thinking, thinking: …}`, or a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(reasoning_text(each) for each in value)
    if not isinstance(value, Mapping):
        return ""
    return next(
        (t for key in ("text", *REASONING_FIELDS, "content", "summary") if (t := reasoning_text(value.get(key)))),
        "",
    )


def trained_messages(value: Any) -> list[dict[str, Any]]:
    """Return messages in the form of trainers: a role, a content (None if there is none), and other keys.

    Raises:
        RowError: it is no list of messages, a role is unknown, or a content is no text.
    """
    items = _items(value)
    roles: Mapping[TurnRole, MessageRole] = {
        "system": "system",
        "user": "user",
        "assistant": "assistant",
        "tool_call": "assistant",
        "tool": "tool",
    }
    taken = frozenset((*_ROLE_KEYS, *_CONTENT_KEYS))
    found = []
    for position, item in enumerate(items):
        is_empty = _first(item, _CONTENT_KEYS) is None
        content = None if is_empty else sound(_content(item, position, []))
        rest = {key: inner for key, inner in item.items() if key not in taken and not _says_nothing(inner)}
        found.append({"role": roles[_role(item, position)], "content": content, **rest})
    return found


def messages_in(text: str) -> list[Any] | None:
    """Return the messages in a JSON (or Python) text; None for an ordinary text.

    Raises:
        RowError: it is clearly meant as messages, but is broken.
    """
    value = _notation(text)
    if isinstance(value, Mapping):
        inner = next(
            (value[name] for name in ("messages", "conversations") if isinstance(value.get(name), list)), None
        )
        value = [value] if inner is None else inner
    return value if isinstance(value, list) and value and all(map(_is_message, value)) else None


def is_blank(text: str) -> bool:
    """Tell whether text is invisible: only spaces, control and format characters."""
    visible = text.strip()
    if not visible or visible[0].isalnum():
        return not visible
    return all(unicodedata.category(c)[0] in "ZC" for c in visible)


def encodable(text: str) -> bool:
    """Tell whether text has no lone surrogate, which UTF-8 cannot encode."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _assistant_turn(item: Mapping[str, Any], position: int) -> AssistantTurn:
    reasoning = reasoning_beside(item) if item.keys() != _PLAIN_KEYS or isinstance(item["content"], list) else None
    is_alone = reasoning is not None and _first(item, _CONTENT_KEYS) is None
    text = "" if is_alone else sound(_content(item, position, []))
    return AssistantTurn(text, None if reasoning is None else sound(reasoning))


def _is_message(item: Any) -> bool:
    """Tell whether an object is clearly a message: it has a content, and a known role."""
    if not isinstance(item, Mapping) or not any(key in item for key in (*_CONTENT_KEYS, *_CALL_KEYS)):
        return False
    role = _first(item, _ROLE_KEYS)
    return isinstance(role, str) and _role_name(role) in ROLES


def _notation(text: str) -> Any:
    """Return the value of a text that begins like a list or an object, or None."""
    start = text.lstrip()
    return _json_or_python(start.rstrip()) if start[:1] in ("[", "{") else None


def _json_or_python(text: str) -> Any:
    """Return the value of JSON text, or of a Python list of objects; None if it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        is_python = text.startswith(("[{'", "{'")) and ("'role'" in text or "'from'" in text)
    if not is_python:
        return None
    try:
        return ast.literal_eval(text[:MAX_PYTHON_CHARS])
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        what = "the text reads like a list of messages in Python's notation and is none: write JSON"
        raise RowError("broken_messages", what) from error


def _items(given: Any) -> Sequence[Any]:
    """Return messages as a list of objects."""
    value: Any = given
    if isinstance(value, str):
        found = _json_or_python(value.strip())
        if not isinstance(found, list | Mapping):
            raise RowError("broken_messages", f"not a JSON list of messages: {printable(value, 40)}")
        value = found
    if isinstance(value, Mapping):
        return _of_object(value)
    if not isinstance(value, list):
        raise RowError("wrong_type", f"expected text or a list of messages, found {shown(value)}")
    if value and all(isinstance(item, str) and item.startswith("{") for item in value):
        value = list(map(_json_or_python, value))  # how `datasets` stores messages of different keys
    for position, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise RowError("broken_messages", f"message {position} is {type_name(item)}, not an object")
    messages: Sequence[Any] = value
    return messages


def _of_object(value: Mapping[str, Any]) -> Sequence[Any]:
    """Return the messages of a dict of lists, of one message, or of an object that contains a list of them."""
    for name in ("messages", "conversations"):
        if isinstance(value.get(name), list):
            return _items(value[name])
    lists = {key: column for key, column in value.items() if isinstance(column, list)}
    if any(key in lists for key in _ROLE_KEYS):
        if len({len(column) for column in lists.values()}) > 1:
            raise RowError("broken_messages", "lists of roles and contents of different lengths")
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    if any(isinstance(value.get(key), str) for key in _ROLE_KEYS):
        return [value]
    raise RowError("wrong_type", f"expected text or a list of messages, found {shown(value)}")


def _role(item: Mapping[str, Any], position: int) -> TurnRole:
    plain = item.get("role")
    if type(plain) is str and plain in ROLES:
        return ROLES[plain]
    found = _first(item, _ROLE_KEYS)
    name = _role_name(found) if isinstance(found, str) else ""
    if name in ROLES:
        return ROLES[name]
    raise RowError(
        "broken_messages",
        f"message {position} has the role {printable(repr(found), 40)}, not one of system, user, assistant, tool or "
        "their usual names",
    )


def _role_name(text: str) -> str:
    return text.strip().lower().replace("-", "_").replace(" ", "_")


def _content(item: Mapping[str, Any], position: int, notes: list[str]) -> str:
    """Return the text of a message; parts are joined if all of them are text."""
    plain = item.get("content")
    if isinstance(plain, str) and plain:
        return plain
    content = _first(item, _CONTENT_KEYS)
    if isinstance(content, str):
        return content
    if content is None:
        raise RowError("broken_messages", f"message {position} has no content")
    if isinstance(content, Mapping):
        content = content.get("parts", [content])
    if not isinstance(content, list):
        raise RowError("broken_messages", f"the content of message {position} is {shown(content)}, not text")
    return "".join(_part(part, position, notes) for part in content)


def _part(part: Any, position: int, notes: list[str]) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        kind, text = part.get("type"), part.get("text")
        if isinstance(text, str) and (kind is None or kind in _TEXT_PARTS):
            return text
        if isinstance(kind, str) and kind in REASONING_PARTS:
            notes.append(f"message_part_not_read:{kind}")
            return ""
        if isinstance(kind, str) and kind in _PART_REJECTS:
            what = f"message {position} holds a part of type '{kind}': prompts are text"
            raise RowError(_PART_REJECTS[kind], what)
        named = kind if isinstance(kind, str) else ", ".join(map(str, part))
        raise RowError(
            "broken_messages",
            f"the content of message {position} holds a part of type '{printable(named, 40)}', not text",
        )
    raise RowError("broken_messages", f"the content of message {position} holds {shown(part)}, not text")


def _first(item: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Return the first non-empty value, else the first present one, else None."""
    found = [item[key] for key in keys if key in item]
    return next((value for value in found if not is_missing(value)), next((v for v in found if v is not None), None))


def _calls(item: Any) -> bool:
    return any(not _says_nothing(item.get(key)) for key in _CALL_KEYS)


def _is_silent(item: Mapping[str, Any]) -> bool:
    """Tell whether an assistant turn has no text because it calls a tool."""
    return _calls(item) and is_missing(_first(item, _CONTENT_KEYS))


def _says_nothing(value: Any) -> bool:
    return is_missing(value) or value in ([], {}, False)


def _filled(text: str) -> str:
    if is_blank(text):
        raise RowError("empty_prompt", "nothing but blanks")
    return sound(text)
