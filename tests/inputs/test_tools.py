"""Tools in prompts: declarations, calls and results in the published forms, one reader; and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from arbitrage.records import Message, Prompt, ToolCall, prompt_id_of
from tests.support.jsonl import write_jsonl
from tests.support.reading import Reading, read

USER = {"role": "user", "content": "Ein Flug nach Lima?"}
SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}, "by": {"type": "integer"}}, "required": ["to"]}
FLIGHT = {"name": "find_flight", "description": "Sucht Flüge.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FLIGHT}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "x7", "type": "function", "function": {"name": "find_flight", "arguments": '{"to": "Lima"}'}}]}  # fmt: skip
RESULT = {"role": "tool", "tool_call_id": "x7", "content": "LH 1"}

CALLED = Message(
    role="assistant",
    content="",
    tool_calls=(ToolCall(id="call00000", name="find_flight", arguments='{"to": "Lima"}'),),
)
ANSWERED = Message(role="tool", content="LH 1", tool_call_id="call00000", name="find_flight")


def one(tmp_path: Path, row: dict[str, Any]) -> Reading:
    return read("jsonl", write_jsonl(tmp_path / "a.jsonl", [row]), identify="off")


def prompt_of(tmp_path: Path, row: dict[str, Any]) -> Prompt:
    [prompt] = one(tmp_path, row).prompts
    return prompt


def with_arguments(arguments: object) -> dict[str, Any]:
    return {**CALL, "tool_calls": [{"function": {"name": "find_flight", "arguments": arguments}}]}


CONVERSATIONS: dict[str, dict[str, Any]] = {
    "openai": {"messages": [USER, CALL, RESULT]},
    "arguments as an object": {"messages": [USER, with_arguments({"to": "Lima"}), {**RESULT, "tool_call_id": None}]},
    "cut after the result": {"messages": [USER, CALL, RESULT, {"role": "assistant", "content": "LH 1."}]},
    "old function_call": {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "find_flight", "arguments": '{"to":"Lima"}'}},
            {"role": "function", "name": "find_flight", "content": "LH 1"},
        ]
    },
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": USER["content"]},
            {"from": "function_call", "value": '{"name": "find_flight", "arguments": {"to": "Lima"}}'},
            {"from": "observation", "value": "LH 1"},
        ]
    },
    "hermes in the text": {
        "conversations": [
            {"from": "human", "value": USER["content"]},
            {"from": "gpt", "value": '<tool_call>\n{"name": "find_flight", "arguments": {"to": "Lima"}}\n</tool_call>'},
            {"from": "tool", "value": "<tool_response>\nLH 1\n</tool_response>"},
        ]
    },
    "json text": {"messages": json.dumps([USER, CALL, RESULT])},
}  # fmt: skip


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_calls_and_results_are_read_alike_in_every_form(tmp_path: Path, name: str) -> None:
    prompt = prompt_of(tmp_path, CONVERSATIONS[name])
    assert prompt.messages == (Message(role="user", content=str(USER["content"])), CALLED, ANSWERED)


def test_parallel_calls_are_answered_by_their_ids(tmp_path: Path) -> None:
    calls = [{"id": i, "function": {"name": "find_flight", "arguments": {"to": i}}} for i in ("Lima", "Rom")]
    results = [{"role": "tool", "tool_call_id": i, "content": i} for i in ("Rom", "Lima")]
    messages = [USER, {"role": "assistant", "content": "Zwei.", "tool_calls": calls}, *results]
    found = prompt_of(tmp_path, {"messages": messages}).messages
    assert [(m.content, m.tool_call_id) for m in found[2:]] == [("Rom", "call00001"), ("Lima", "call00000")]
    assert found[1].shown == 'Zwei.\nfind_flight({"to": "Lima"})\nfind_flight({"to": "Rom"})'


@pytest.mark.parametrize(
    "tools",
    [
        [TOOL],
        [FLIGHT],
        TOOL,
        json.dumps([TOOL]),
        json.dumps([FLIGHT]),
        [json.dumps(TOOL)],
        [{"name": "find_flight", "description": "Sucht Flüge.", "input_schema": SCHEMA}],
    ],
)
@pytest.mark.parametrize("column", ["tools", "functions"])
def test_declarations_have_one_form(tmp_path: Path, tools: object, column: str) -> None:
    prompt = prompt_of(tmp_path, {"prompt": "Ein Flug?", column: tools})
    assert json.loads(prompt.tools or "") == [TOOL]
    assert list(json.loads(prompt.tools or "")[0]["function"]["parameters"]["properties"]) == ["to", "by"]


@pytest.mark.parametrize("nothing", [None, [], "[]", "", {}])
def test_a_prompt_without_tools_keeps_its_id(tmp_path: Path, nothing: object) -> None:
    prompt = prompt_of(tmp_path, {"prompt": "Why?", "language": "en", "tools": nothing, "response_format": nothing})
    assert (prompt.tools, prompt.response_format) == (None, None)
    assert prompt.prompt_id == "11031462317aa5a823fe"


def test_tools_calls_and_formats_belong_to_the_id() -> None:
    user = Message(role="user", content="a")
    other = CALLED.model_copy(update={"tool_calls": (ToolCall(id="call00000", name="f", arguments="{}"),)})
    renamed = CALLED.model_copy(update={"tool_calls": (CALLED.tool_calls[0].model_copy(update={"id": "call00009"}),)})
    ids = [
        prompt_id_of("en", [user]),
        prompt_id_of("en", [user], "[1]"),
        prompt_id_of("en", [user], None, "[1]"),
        prompt_id_of("en", [user, CALLED]),
        prompt_id_of("en", [user, other]),
    ]
    assert len(set(ids)) == len(ids)
    assert prompt_id_of("en", [user, renamed]) == ids[3]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"type": "json_object"}, {"type": "json_object"}),
        ('{"type": "json_object"}', {"type": "json_object"}),
        ({"type": "text"}, None),
        (
            {"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": None}},
            {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}},
        ),
    ],
)
def test_response_formats(tmp_path: Path, given: object, stored: object) -> None:
    found = prompt_of(tmp_path, {"prompt": "Why?", "response_format": given}).response_format
    assert (None if found is None else json.loads(found)) == stored


PART = {"role": "user", "content": [{"type": "text", "text": "Was ist das?"}, {"type": "input_audio"}]}


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({"prompt": "a", "tools": "hammer, nail"}, "tools_invalid", "expected a list of tools"),
        ({"prompt": "a", "tools": [{"type": "function"}]}, "tools_invalid", "tool 0 has no name"),
        ({"prompt": "a", "tools": [FLIGHT, TOOL]}, "tools_invalid", "two tools have the name 'find_flight'"),
        ({"prompt": "a", "tools": [{**FLIGHT, "parameters": {"type": "thing"}}]}, "tools_invalid", "'find_flight' are no JSON Schema: type: 'thing'"),
        ({"prompt": "a", "tools": [{**FLIGHT, "parameters": [1]}]}, "tools_invalid", "no JSON Schema"),
        ({"prompt": "a", "tools": [{**FLIGHT, "description": "x" * 1_000_000}]}, "prompt_too_long", "tools of"),
        ({"prompt": "a", "response_format": "JSON"}, "response_format_invalid", "expected {type: json_schema"),
        ({"prompt": "a", "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 1}}}}, "response_format_invalid", "no JSON Schema"),
        ({"prompt": "a", "response_format": {"type": "json_schema"}}, "response_format_invalid", "there is none"),
        ({"messages": [USER, RESULT]}, "tool_result_without_call", "a call 'x7' that is not there"),
        ({"messages": [USER, CALL, {**RESULT, "tool_call_id": "y"}]}, "tool_result_without_call", "'y'"),
        ({"messages": [USER, CALL, RESULT, RESULT]}, "tool_result_without_call", "message 3"),
        ({"messages": [USER, with_arguments("{to"), RESULT]}, "tool_calls", "no JSON object"),
        ({"messages": [USER, with_arguments("[1]"), RESULT]}, "tool_calls", "they are list, not an object"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "f(x)"}, {"from": "observation", "value": "b"}]}, "tool_calls", "is no JSON: f(x)"),
        ({"messages": [{**USER, "tool_calls": CALL["tool_calls"]}]}, "tool_calls", "of the user calls a tool"),
        ({"messages": [PART]}, "audio_part", "'input_audio'"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "image_part", "'image'"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "video_part", "'video_url'"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "file_part", "'file'"),
    ],
)  # fmt: skip
def test_what_no_prompt_can_be_made_of_is_a_reject_of_its_own(
    tmp_path: Path, row: dict[str, Any], reason: str, detail: str
) -> None:
    [reject] = one(tmp_path, row).rejects
    assert reject.reason == reason
    assert detail in str(reject.detail)
