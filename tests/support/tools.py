"""A tool, prompts that have it, and conversations that call it."""

import json

from arbitrage.records import Message, Prompt, ToolCall, prompt_id_of

FLIGHT = {
    "type": "function",
    "function": {
        "name": "find_flight",
        "description": "Finds flights.",
        "parameters": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "stops": {"type": "integer"}},
            "required": ["to"],
            "additionalProperties": False,
        },
    },
}
TOOLS = json.dumps([FLIGHT])

CALL = ToolCall(id="call00000", name="find_flight", arguments='{"to": "Lima"}')
CALLED = Message(role="assistant", content="", tool_calls=(CALL,))
RESULT = Message(role="tool", content="LH 1", tool_call_id="call00000", name="find_flight")


def tool_prompt(
    text: str,
    *later: Message,
    tools: str | None = TOOLS,
    response_format: str | None = None,
    language: str = "en",
) -> Prompt:
    """Return a prompt that begins with a user's text."""
    messages = (Message(role="user", content=text), *later)
    return Prompt(
        prompt_id=prompt_id_of(language, messages, tools, response_format),
        language=language,
        messages=messages,
        source="tests",
        source_id=text,
        tools=tools,
        response_format=response_format,
    )
