"""How models write calls of tools, and the one way to read them out of a completion's text.

    <tool_call>{"name": "find_flight", "arguments": {"to": "Lima"}}</tool_call>

Arguments are returned as they stand, checked by nobody yet.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from arbitrage.errors import closest, did_you_mean


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as a model wrote it.

    Attributes:
        name: the tool's name; empty where it gave none.
        arguments: as text, JSON where all is well.
        is_typed: the arguments have the types that the model meant; else all values are texts, to be read by the
            tool's schema.
    """

    name: str
    arguments: str
    is_typed: bool = True


@dataclass(frozen=True, slots=True)
class ParsedCalls:
    """A completion's parts.

    Attributes:
        text: what stands around the calls.
        calls: in their order.
        is_open: the completion ends inside a call.
    """

    text: str
    calls: tuple[WrittenCall, ...] = ()
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """The calls of a family of models.

    Attributes:
        name: as configs name it.
        marks: tokens that must stay in the text for it to be read.
        signs: a chat template that writes such calls holds one of these.
        parse: reads a text.
    """

    name: str
    marks: tuple[str, ...]
    signs: tuple[str, ...]
    parse: Callable[[str], ParsedCalls]


def parse_calls(text: str, form: ToolFormat) -> ParsedCalls:
    """Read the calls out of a text; a text without calls is returned as it is."""
    found = form.parse(text)
    return found if found.calls or found.is_open else ParsedCalls(text)


def _between(text: str, start: str, end: str, read: Callable[[str], list[WrittenCall]]) -> ParsedCalls:
    """Read calls between marks."""
    if start not in text:
        return ParsedCalls(text)
    around, rest = text.split(start, 1)
    pieces, calls = [around], list[WrittenCall]()
    for block in rest.split(start):
        inside, closed, after = block.partition(end)
        if not closed:
            return ParsedCalls(_joined(pieces), tuple(calls), is_open=True)
        calls += read(inside.strip())
        pieces.append(after)
    return ParsedCalls(_joined(pieces), tuple(calls))


def _joined(pieces: list[str]) -> str:
    return "\n".join(piece.strip() for piece in pieces if piece.strip())


def _of_json(text: str) -> list[WrittenCall]:
    """Read one call in JSON, or a list of them; what is no JSON is one call without a name."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return [WrittenCall("", text)]
    return [_of_object(each) for each in (found if isinstance(found, list) else [found])]


def _of_object(value: Any) -> WrittenCall:
    call = value.get("function", value) if isinstance(value, dict) else value
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return WrittenCall("", json.dumps(value, ensure_ascii=False))
    arguments: Any = next((call[key] for key in ("arguments", "parameters") if key in call), {})
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return WrittenCall(call["name"], written)


def _hermes(text: str) -> ParsedCalls:
    return _between(text, "<tool_call>", "</tool_call>", _of_json)


_PARAMETER: Final = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_FUNCTION: Final = re.compile(r"<function=([^>\n]+)>(.*?)</function>", re.DOTALL)


def _qwen3_coder(text: str) -> ParsedCalls:
    return _between(text, "<tool_call>", "</tool_call>", _of_elements)


def _of_elements(text: str) -> list[WrittenCall]:
    """Read `<function=name><parameter=key>value</parameter></function>`."""
    found = _FUNCTION.search(text)
    if found is None:
        return [WrittenCall("", text)]
    arguments: dict[str, str] = {key.strip(): value for key, value in _PARAMETER.findall(found[2])}
    return [WrittenCall(found[1].strip(), json.dumps(arguments, ensure_ascii=False), is_typed=False)]


_ARGUMENT: Final = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)


def _glm(text: str) -> ParsedCalls:
    return _between(text, "<tool_call>", "</tool_call>", _of_keys)


def _of_keys(text: str) -> list[WrittenCall]:
    """Read `name<arg_key>key</arg_key><arg_value>value</arg_value>`."""
    name = text.partition("<arg_key>")[0].strip()
    arguments: dict[str, str] = {key.strip(): value for key, value in _ARGUMENT.findall(text)}
    return [WrittenCall(name, json.dumps(arguments, ensure_ascii=False), is_typed=False)]


def _llama(text: str) -> ParsedCalls:
    """Read a completion that is nothing but JSON objects, one behind the other or after a semicolon."""
    rest = text.strip().removeprefix("<|python_tag|>").strip()
    if not rest.startswith("{"):
        return ParsedCalls(text)
    calls, decoder = list[WrittenCall](), json.JSONDecoder()
    while rest:
        try:
            found, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            is_call = bool(calls) or "<|python_tag|>" in text or re.match(r'\{\s*"name"\s*:', rest) is not None
            return ParsedCalls("", tuple(calls), is_open=True) if is_call else ParsedCalls(text)
        if not isinstance(found, dict) or not isinstance(found.get("name"), str):
            return ParsedCalls(text)  # JSON of the answer's own
        calls.append(_of_object(found))
        rest = rest[end:].strip().removeprefix(";").strip()
    return ParsedCalls("", tuple(calls))


_MISTRAL_CALL: Final = re.compile(r"\s*([\w.-]+)(?:\[CALL_ID\][\w-]*)?\[ARGS\](.*)", re.DOTALL)


def _mistral(text: str) -> ParsedCalls:
    """Read `[TOOL_CALLS][{…}]`, or `[TOOL_CALLS]name[ARGS]{…}` for each call, as newer models write."""
    if "[TOOL_CALLS]" not in text:
        return ParsedCalls(text)
    around, *blocks = text.split("[TOOL_CALLS]")
    calls = list[WrittenCall]()
    for block in blocks:
        named = _MISTRAL_CALL.fullmatch(block) or re.fullmatch(r"\s*([\w.-]+)\s*(\{.*)", block, re.DOTALL)
        body = (named[2] if named else block).strip()
        try:
            value, _ = json.JSONDecoder().raw_decode(body)
        except (ValueError, RecursionError):
            return ParsedCalls(around.strip(), tuple(calls), is_open=True)
        if named:
            calls.append(WrittenCall(named[1], json.dumps(value, ensure_ascii=False)))
        else:
            calls += [_of_object(each) for each in (value if isinstance(value, list) else [value])]
    return ParsedCalls(around.strip(), tuple(calls))


HERMES: Final = ToolFormat("hermes", ("<tool_call>", "</tool_call>"), ("<tool_call>",), _hermes)

_FORMATS: Final = (
    ToolFormat("qwen3_coder", ("<tool_call>", "</tool_call>"), ("<function=",), _qwen3_coder),
    ToolFormat(
        "glm45",
        ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
        ("<arg_key>",),
        _glm,
    ),
    HERMES,
    ToolFormat("mistral", ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"), ("[TOOL_CALLS]",), _mistral),
    ToolFormat("llama3_json", ("<|python_tag|>",), ("<|python_tag|>", '{"name": "\' + tool_call.name'), _llama),
)

FORMATS: Final[Mapping[str, ToolFormat]] = {each.name: each for each in _FORMATS}

_ALIASES: Final = {
    "qwen3_xml": "qwen3_coder",
    "glm47": "glm45",
    "llama4_json": "llama3_json",
}
"""Names of vLLM's `--tool-call-parser` for the same formats."""


def tool_format_named(name: str) -> ToolFormat:
    """Return a format by its name, or by the name of vLLM's `--tool-call-parser`.

    Raises:
        ValueError: there is none of that name.
    """
    found = FORMATS.get(_ALIASES.get(name, name))
    if found is None:
        hint = did_you_mean(closest(name, [*FORMATS, *_ALIASES]))
        raise ValueError(f"'{name}' is no format of tool calls{hint}; there are auto, none, {', '.join(FORMATS)}")
    return found


def tool_format_of(template: str) -> ToolFormat | None:
    """Return the format that a chat template writes; None where it is none of these."""
    return next((each for each in _FORMATS if any(sign in template for sign in each.signs)), None)
