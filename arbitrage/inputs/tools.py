"""Tools in foreign rows: their declarations, their calls, their results, and the form asked of a response.

Declarations are read in OpenAI's form, as bare functions (LLaMA-Factory's `tools` column) and in Anthropic's form;
records hold them in OpenAI's. Ids of calls are replaced by ours, nine letters and digits long, which is all that
templates of Mistral's models take.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from arbitrage.inputs.rows import RowError, printable
from arbitrage.inputs.values import is_missing, shown, sound
from arbitrage.records import ToolCall, canonical_json
from arbitrage.text.tool_formats import HERMES, parse_calls

_ARGUMENTS: Final = ("arguments", "parameters", "args", "input")
_SCHEMAS: Final = ("parameters", "input_schema", "inputSchema")


def read_tools(value: Any) -> str | None:
    """Return declared tools as records hold them; None where there are none.

    Raises:
        RowError: it is no list of tools, two have one name, or a schema is none.
    """
    found = _parsed(value)
    if is_missing(found) or found in ([], {}, False):
        return None
    if isinstance(found, Mapping):
        found = [found]
    if not isinstance(found, list):
        raise RowError("tools_invalid", f"expected a list of tools, found {shown(value)}")
    tools = [_tool(each, position) for position, each in enumerate(found)]
    names = [tool["function"]["name"] for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RowError("tools_invalid", f"two tools have the name '{printable(twice, 60)}'")
    return _stored(tools, "tools_invalid")


def read_response_format(value: Any) -> str | None:
    """Return the form asked of a response as records hold it; None where any text will do.

    Raises:
        RowError: it is none of OpenAI's forms, or its schema is none.
    """
    found = _parsed(value)
    if is_missing(found) or found in ([], {}):
        return None
    kind = found.get("type") if isinstance(found, Mapping) else None
    if kind not in ("text", "json_object", "json_schema"):
        wanted = "{type: json_schema, json_schema: {schema: …}} or {type: json_object}"
        raise RowError("response_format_invalid", f"expected {wanted}, found {shown(value)}")
    if kind == "text":
        return None
    if kind == "json_object":
        return canonical_json({"type": "json_object"})
    inner = found.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    problem = "there is none" if schema is None else schema_problem(schema)
    if problem is not None or not isinstance(inner, Mapping):
        raise RowError("response_format_invalid", f"json_schema.schema is no JSON Schema: {problem}")
    return _stored(
        {"type": kind, "json_schema": {"name": "response", **_without_nulls(inner)}}, "response_format_invalid"
    )


def schema_problem(schema: Any) -> str | None:
    """Return why a value is no JSON Schema, or None."""
    from jsonschema import Draft202012Validator, SchemaError

    if not isinstance(schema, Mapping | bool):
        return f"it is {shown(schema)}"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path))
        return printable(f"{place}: {error.message}" if place else error.message, 200)
    except RecursionError:
        return "it is nested too deeply"
    return None


@dataclass
class CallLinks:
    """Calls of one conversation, and which of them have results."""

    _num_calls: int = 0
    _ids: dict[str, str] = field(default_factory=dict)  # given → ours
    _open: list[ToolCall] = field(default_factory=list)

    def calls_of(self, item: Mapping[str, Any], position: int) -> tuple[ToolCall, ...]:
        """Return the calls in the fields of a message.

        Raises:
            RowError: a call has no name, or its arguments are no JSON object.
        """
        found = item.get("tool_calls")
        found = _json_in(found) if isinstance(found, str) else found
        listed = found if isinstance(found, list) else [found]
        calls = [each for each in (*listed, item.get("function_call")) if not _says_nothing(each)]
        return self.add(calls, position)

    def calls_in(self, text: str, position: int) -> tuple[ToolCall, ...]:
        """Return the calls that are the text of a message: ShareGPT's turns of `function_call`.

        Raises:
            RowError: it is neither JSON nor marked as calls are.
        """
        found = _json_in(text)
        if found is None:
            parsed = parse_calls(text, HERMES)
            found = [] if parsed.is_open else [{"name": c.name, "arguments": c.arguments} for c in parsed.calls]
        calls = found if isinstance(found, list) else [found]
        if not calls:
            raise RowError("tool_calls", f"message {position} calls a tool, and is no JSON: {printable(text, 60)}")
        return self.add(calls, position)

    def marked_in(self, text: str, position: int) -> tuple[str, tuple[ToolCall, ...]]:
        """Return the text and the calls of an assistant's turn that marks calls in its text; it has a result."""
        parsed = parse_calls(text, HERMES)
        calls = [] if parsed.is_open else [{"name": c.name, "arguments": c.arguments} for c in parsed.calls]
        return (parsed.text, self.add(calls, position)) if calls else (text, ())

    def add(self, calls: Sequence[Any], position: int) -> tuple[ToolCall, ...]:
        """Return calls with ids of ours."""
        found = []
        for each in calls:
            call = _call(each, position, call_id(self._num_calls))
            self._num_calls += 1
            given = each.get("id") if isinstance(each, Mapping) else None
            if isinstance(given, str) and given:
                self._ids[given] = call.id
            found.append(call)
        self._open += found
        return tuple(found)

    def answered(self, item: Mapping[str, Any], position: int) -> ToolCall:
        """Return the call that a tool's result answers: by its id, else by the tool's name, else the first open one.

        Raises:
            RowError: there is none.
        """
        given, name = item.get("tool_call_id"), item.get("name")
        wanted = self._ids.get(given) if isinstance(given, str) and given else None
        has_id, has_name = isinstance(given, str) and given != "", isinstance(name, str) and name != ""
        for call in self._open:
            if call.id == wanted if has_id else (not has_name or call.name == name):
                self._open.remove(call)
                return call
        named = f" '{printable(given, 40)}'" if has_id and isinstance(given, str) else ""
        raise RowError(
            "tool_result_without_call", f"message {position} is the result of a call{named} that is not there"
        )


def call_id(number: int) -> str:
    """Return the id of a conversation's call."""
    return f"call{number:05d}"


def read_arguments(value: Any) -> str:
    """Return a call's arguments as records hold them: given as an object, or as its JSON, or missing.

    Raises:
        ValueError: they are neither.
    """
    if isinstance(value, str) and value.strip():
        value = json.loads(value)
    if is_missing(value):
        value = {}
    if not isinstance(value, Mapping):
        raise ValueError(f"they are {type(value).__name__}, not an object")
    return sound(canonical_json(value))


def _call(value: Any, position: int, own_id: str) -> ToolCall:
    inner = value.get("function") if isinstance(value, Mapping) else None
    call = inner if isinstance(inner, Mapping) else value
    name = call.get("name") if isinstance(call, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise RowError("tool_calls", f"message {position} calls a tool without a name")
    given = next((call[key] for key in _ARGUMENTS if key in call), None)
    try:
        return ToolCall(id=own_id, name=sound(name.strip()), arguments=read_arguments(given))
    except (ValueError, RecursionError) as error:
        what = f"message {position} calls '{printable(name, 40)}' with arguments that are no JSON object: {error}"
        raise RowError("tool_calls", printable(what, 200)) from error


def _tool(value: Any, position: int) -> dict[str, Any]:
    found = _json_in(value) if isinstance(value, str) else value
    inner = found.get("function") if isinstance(found, Mapping) else None
    function = inner if isinstance(inner, Mapping) else found
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str) or not name.strip():
        raise RowError("tools_invalid", f"tool {position} has no name: {shown(value)}")
    tool: dict[str, Any] = {"name": name.strip()}
    if isinstance(description := function.get("description"), str):
        tool["description"] = description
    schema = next((function[key] for key in _SCHEMAS if function.get(key) is not None), None)
    schema = _json_in(schema) if isinstance(schema, str) else schema
    if schema is not None:
        if (problem := schema_problem(schema)) is not None:
            raise RowError(
                "tools_invalid", f"the parameters of '{printable(name, 40)}' are no JSON Schema: {problem}"
            )
        tool["parameters"] = schema
    if isinstance(function.get("strict"), bool):
        tool["strict"] = function["strict"]
    return {"type": "function", "function": tool}


def _without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if inner is not None}


def _stored(value: Any, reason: Any) -> str:
    try:
        return sound(canonical_json(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise RowError(reason, printable(f"it cannot be written as JSON: {error}", 200)) from error


def _parsed(value: Any) -> Any:
    """Return what a text holds as JSON; a text that is none as it is."""
    if not isinstance(value, str) or value.strip() in ("", "null"):
        return None if isinstance(value, str) else value
    found = _json_in(value)
    return value if found is None else found


def _json_in(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _says_nothing(value: Any) -> bool:
    return is_missing(value) or value in ([], {}, False)
