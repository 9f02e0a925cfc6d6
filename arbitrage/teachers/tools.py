"""Calls of tools in completions: read out of the text of models in this process, and checked wherever they come from.

A call is checked against the prompt's tools: its name is one of them, its arguments are a JSON object that fits the
tool's schema.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from arbitrage.contracts.engines import Completion, Failure, GenerationRequest, StructuredOutput
from arbitrage.errors import EngineStartError
from arbitrage.inputs.rows import printable
from arbitrage.inputs.tools import call_id, read_arguments
from arbitrage.models.chat import ChatTokenizer
from arbitrage.records import FinishReason, ToolCall
from arbitrage.text.tool_formats import (
    ParsedCalls,
    ToolFormat,
    WrittenCall,
    parse_calls,
    tool_format_named,
    tool_format_of,
)


class ToolParser:
    """Reads the calls of one model that runs in this process.

    Args:
        chat: the model's tokenizer.
        parser: a format's name, `auto` (the one that the chat template writes), or `none` (calls stay in the text).
        owner: what an error begins with.

    Raises:
        EngineStartError: neither vocabulary nor template has the marks of the format named.
    """

    def __init__(self, chat: ChatTokenizer, parser: str = "auto", owner: str = "") -> None:
        self.is_off = parser == "none"
        self.form = None if self.is_off else tool_format_of(chat.template)
        if parser not in ("auto", "none"):
            self.form = tool_format_named(parser)
            first = self.form.marks[0]
            if not any(sign in chat.template or sign in chat.vocabulary for sign in (first, *self.form.signs)):
                raise EngineStartError(
                    f"{owner}: tool_parser is '{parser}', but neither the vocabulary nor the chat template of its "
                    f"model has {first}; say auto, none, or the format of its family"
                )
        marks = self.form.marks if self.form else ()
        self.kept = frozenset(chat.vocabulary[mark] for mark in marks if mark in chat.vocabulary)

    def problem(self, request: GenerationRequest) -> Failure | None:
        """Return the Failure of a request whose calls could not be read."""
        if request.tools is None or self.is_off or self.form is not None:
            return None
        why = "its chat template writes calls of tools in no known form; name the teacher's tool_parser"
        return Failure(request.candidate_id, "tools_unsupported", why)

    def parse(self, text: str) -> ParsedCalls:
        """Return a completion's text and calls."""
        return ParsedCalls(text) if self.form is None else parse_calls(text, self.form)


def parser_of(name: str) -> ToolFormat | None:
    """Return the format by which an endpoint's text is read; None where its server does that."""
    return None if name in ("auto", "none") else tool_format_named(name)


def unfinished_call(candidate_id: str, finish: FinishReason) -> Failure:
    """Return the Failure of a completion that ends inside a call."""
    why = "max_tokens ended it inside a call; raise it" if finish is FinishReason.LENGTH else "it ends inside a call"
    return Failure(candidate_id, "tool_call_unfinished", why)


def checked_calls(request: GenerationRequest, completion: Completion) -> tuple[ToolCall, ...] | Failure:
    """Return a completion's calls as records hold them, or why one of them is none."""
    first = sum(len(message.tool_calls) for message in request.messages)
    tools = _parameters(request.tools or "[]")
    calls = []
    for number, written in enumerate(completion.tool_calls, start=first):
        found = _checked(request.candidate_id, written, tools, call_id(number))
        if isinstance(found, Failure):
            is_cut = completion.finish_reason is FinishReason.LENGTH and found.reason == "tool_arguments_invalid"
            return unfinished_call(request.candidate_id, FinishReason.LENGTH) if is_cut else found
        calls.append(found)
    return tuple(calls)


def _checked(candidate_id: str, written: WrittenCall, tools: Mapping[str, Any], own_id: str) -> ToolCall | Failure:
    name = printable(written.name, 60)
    if written.name not in tools:
        what = f"it calls '{name}'" if name else f"it calls a tool without a name: {printable(written.arguments, 60)}"
        return Failure(candidate_id, "tool_unknown", f"{what}; the prompt's tools are {', '.join(tools)}"[:300])
    schema = tools[written.name]
    try:
        arguments = read_arguments(written.arguments)
        if not written.is_typed:
            arguments = read_arguments(_typed(json.loads(arguments), schema))
    except (ValueError, RecursionError) as error:
        why = f"the arguments of '{name}' are no JSON object: {printable(str(error), 120)}"
        return Failure(candidate_id, "tool_arguments_invalid", why)
    if (problem := _mismatch(json.loads(arguments), schema)) is not None:
        return Failure(candidate_id, "tool_arguments_invalid", f"the arguments of '{name}' do not fit: {problem}")
    return ToolCall(id=own_id, name=written.name, arguments=arguments)


def _typed(arguments: Mapping[str, str], schema: Any) -> dict[str, Any]:
    """Read values that the model wrote as bare text: JSON, except where the schema wants text."""
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    properties: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    return {key: _value(text, properties.get(key)) for key, text in arguments.items()}


def _value(text: str, schema: Any) -> Any:
    if isinstance(schema, Mapping) and schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _mismatch(arguments: Any, schema: Any) -> str | None:
    """Return how arguments break a schema, or None."""
    if schema is None:
        return None
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        error = best_match(Draft202012Validator(schema).iter_errors(arguments))
    except Unresolvable as unresolved:
        return printable(f"the schema refers to what is not there: {unresolved}", 120)
    except RecursionError:
        return "the schema has no end"
    if error is None:
        return None
    place = ".".join(map(str, error.absolute_path))
    return printable(f"{place}: {error.message}" if place else error.message, 200)


@lru_cache(maxsize=64)  # the samples of a prompt follow each other
def _parameters(tools: str) -> Mapping[str, Any]:
    """Return the schema of each tool's arguments; None for a tool that declares none."""
    declared: Sequence[Any] = json.loads(tools)
    return {tool["function"]["name"]: tool["function"].get("parameters") for tool in declared}


@lru_cache(maxsize=64)
def structured_output_of(response_format: str) -> StructuredOutput:
    """Return the structured output that a prompt's response format asks for."""
    found = json.loads(response_format)
    schema = found["json_schema"]["schema"] if found["type"] == "json_schema" else {"type": "object"}
    return StructuredOutput(json_schema=schema)
