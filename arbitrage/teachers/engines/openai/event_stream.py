"""Parse server-sent events instead of one JSON object: some endpoints always stream.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Callable, Iterator
from typing import Any

from arbitrage.inputs.messages import REASONING_FIELDS


def is_stream(body: bytes) -> bool:
    """Tell whether a body is a stream of events."""
    return body[:64].lstrip().startswith((b"data:", b"event:", b": ", b":\n"))


def joined(body: bytes, parse: Callable[[bytes], object]) -> dict[str, Any]:
    """Return the chat completion assembled from the events; an error event is returned unchanged.

    Args:
        body: the whole stream.
        parse: parses one event's data.
    """
    message: dict[str, Any] = {"content": ""}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": None}
    answer: dict[str, Any] = {"choices": [choice], "usage": None}
    for event in _events(body):
        found = parse(event)
        if not isinstance(found, dict):
            continue
        if found.get("error") or found.get("object") == "error":
            return found
        answer["usage"] = found.get("usage") or answer["usage"]
        for piece in _pieces(found):
            _add(choice, message, piece)
    return answer


def _events(body: bytes) -> Iterator[bytes]:
    for line in body.splitlines():
        if line.startswith(b"data:") and (data := line[5:].strip()) and data != b"[DONE]":
            yield data


def _pieces(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    choices = found.get("choices")
    for piece in choices if isinstance(choices, list) else []:
        if isinstance(piece, dict) and piece.get("index", 0) == 0:
            yield piece


def _add(choice: dict[str, Any], message: dict[str, Any], piece: dict[str, Any]) -> None:
    delta = piece.get("delta", piece.get("message"))
    delta = delta if isinstance(delta, dict) else {}
    if isinstance(text := delta.get("content", piece.get("text")), str):
        message["content"] += text
    for key in REASONING_FIELDS:
        if isinstance(text := delta.get(key), str):
            message[key] = message.get(key, "") + text
    for key in ("function_call", "refusal"):
        if delta.get(key):
            message[key] = delta[key]
    for call in calls if isinstance(calls := delta.get("tool_calls"), list) else ():
        _add_call(message.setdefault("tool_calls", []), call)
    for key in ("finish_reason", "error"):
        if piece.get(key):
            choice[key] = piece[key]


def _add_call(calls: list[dict[str, Any]], piece: Any) -> None:
    """Add a piece of a call: its name comes first, its arguments in many pieces with the same index."""
    function = piece.get("function") if isinstance(piece, dict) else None
    function = function if isinstance(function, dict) else {}
    index = piece.get("index", len(calls)) if isinstance(piece, dict) else len(calls)
    if not isinstance(index, int) or not 0 <= index < len(calls):
        calls.append({"function": {"name": "", "arguments": ""}})
        index = len(calls) - 1
    for key in ("name", "arguments"):
        if isinstance(text := function.get(key), str):
            calls[index]["function"][key] += text
