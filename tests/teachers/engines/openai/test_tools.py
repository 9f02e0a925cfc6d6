"""Tools over OpenAI's protocol: what is sent, and what servers send back."""

import json
from typing import Any

import pytest
from aiohttp import web

from arbitrage.contracts.engines import Completion, Failure, SamplingParams
from arbitrage.records import FinishReason
from arbitrage.teachers.engines.engine import ModelSpec, Result
from arbitrage.teachers.engines.openai.config import OpenAIConfig
from arbitrage.teachers.generate import requests_for
from arbitrage.text.tool_formats import WrittenCall
from tests.support.asking import collect
from tests.support.mock_endpoint import serve
from tests.support.tools import CALLED, FLIGHT, RESULT, TOOLS, tool_prompt

FORM = {"type": "json_schema", "json_schema": {"name": "flight", "schema": {"type": "object"}, "strict": False}}
PROMPT = tool_prompt("A flight?", CALLED, RESULT, response_format=json.dumps(FORM))
LIMA = WrittenCall("find_flight", '{"to": "Lima"}')


async def sent(response: web.Response, *, tools: str | None = TOOLS, parser: str = "auto") -> tuple[Any, Result]:
    """Return what was sent, and the result."""

    async def behave(body: dict[str, Any], ordinal: int) -> web.Response:
        return response

    [request] = requests_for(PROMPT.model_copy(update={"tools": tools}), SamplingParams(), "t")
    async with serve(behave) as endpoint:
        engine = OpenAIConfig(base_url=endpoint.base_url, retry_for_s=0.1).build(
            ModelSpec("remote", "m", tool_parser=parser)
        )
        try:
            [result] = (await collect(engine, [request])).values()
        finally:
            await engine.close()
    return endpoint.bodies[0], result


def chat(content: str | None, finish: str, **message: object) -> web.Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return web.json_response({"choices": [choice]})


def calls(*arguments: object) -> list[dict[str, Any]]:
    return [{"id": "z", "type": "function", "function": {"name": "find_flight", "arguments": a}} for a in arguments]


async def test_tools_calls_results_and_the_response_format_are_sent() -> None:
    body, result = await sent(chat("LH 1.", "stop"))
    assert isinstance(result, Completion)
    assert body["tools"] == [FLIGHT]
    assert body["response_format"] == FORM
    call = {"id": "call00000", "type": "function", "function": {"name": "find_flight", "arguments": '{"to": "Lima"}'}}
    assert body["messages"] == [
        {"role": "user", "content": "A flight?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "LH 1", "tool_call_id": "call00000", "name": "find_flight"},
    ]


STREAM = [
    {"delta": {"role": "assistant", "tool_calls": [{"index": 0, "id": "z", "function": {"name": "find_flight", "arguments": ""}}]}},
    {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"to": '}}]}},
    {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '"Lima"}'}}]}, "finish_reason": "tool_calls"},
]  # fmt: skip
EVENTS = "".join(f"data: {json.dumps({'choices': [{'index': 0, **each}]})}\n\n" for each in STREAM)
HERMES = '<tool_call>{"name": "find_flight", "arguments": {"to": "Lima"}}</tool_call>'


@pytest.mark.parametrize(
    ("response", "parser", "text"),
    [
        (chat(None, "tool_calls", tool_calls=calls('{"to": "Lima"}')), "auto", ""),
        (chat("Moment.", "stop", tool_calls=calls('{"to": "Lima"}')), "auto", "Moment."),
        (chat(None, "tool_use", tool_calls=calls({"to": "Lima"})), "auto", ""),
        (chat(None, "function_call", function_call={"name": "find_flight", "arguments": '{"to": "Lima"}'}), "auto", ""),
        (web.Response(text=EVENTS, content_type="text/event-stream"), "auto", ""),
        (chat(f"Moment.\n{HERMES}", "stop"), "hermes", "Moment."),
    ],
)  # fmt: skip
async def test_calls_are_read_back(response: web.Response, parser: str, text: str) -> None:
    _, result = await sent(response, parser=parser)
    assert isinstance(result, Completion)
    assert (result.text, result.tool_calls, result.finish_reason) == (text, (LIMA,), FinishReason.STOP)


async def test_calls_that_nothing_asked_for_stay_a_reject() -> None:
    _, result = await sent(chat(None, "tool_calls", tool_calls=calls("{}")), tools=None)
    assert isinstance(result, Failure)
    assert result.reason == "tool_calls"


@pytest.mark.parametrize(
    ("response", "parser", "reason"),
    [
        (chat("", "tool_calls"), "auto", "tool_calls"),
        (chat(HERMES[:30], "length"), "hermes", "tool_call_unfinished"),
    ],
)
async def test_calls_that_are_not_there_or_do_not_end(response: web.Response, parser: str, reason: str) -> None:
    _, result = await sent(response, parser=parser)
    assert isinstance(result, Failure)
    assert result.reason == reason
