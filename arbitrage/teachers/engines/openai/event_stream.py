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
    for key in ("tool_calls", "function_call", "refusal"):
        if delta.get(key):
            message[key] = delta[key]
    for key in ("finish_reason", "error"):
        if piece.get(key):
            choice[key] = piece[key]
