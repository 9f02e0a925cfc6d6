"""Calls of tools as models write them, and texts that only look like calls."""

import json

import pytest

from arbitrage.text.tool_formats import FORMATS, ParsedCalls, parse_calls, tool_format_named, tool_format_of

ONE = '{"name": "find", "arguments": {"to": "Lima"}}'
LIMA = [("find", {"to": "Lima"})]

READ = [
    ("hermes", f"<tool_call>\n{ONE}\n</tool_call>", "", LIMA),
    ("hermes", f"Ich suche.\n<tool_call>{ONE}</tool_call>\n<tool_call>{ONE}</tool_call>", "Ich suche.", LIMA * 2),
    ("hermes", f"<tool_call>[{ONE}, {ONE}]</tool_call> Fertig.", "Fertig.", LIMA * 2),
    ("hermes", '<tool_call>{"name": "find", "arguments": "{\\"to\\": \\"Lima\\"}"}</tool_call>', "", LIMA),
    ("hermes", '<tool_call>{"name": "find"}</tool_call>', "", [("find", {})]),
    ("hermes", "Kein Aufruf, {}.", "Kein Aufruf, {}.", []),
    (
        "qwen3_coder",
        "<tool_call>\n<function=find>\n<parameter=to>\nLima\n</parameter>\n<parameter=by>\n3\n</parameter>\n</function>\n"
        "</tool_call>",
        "",
        [("find", {"to": "Lima", "by": "3"})],
    ),
    (
        "glm45",
        "<tool_call>find\n<arg_key>to</arg_key>\n<arg_value>Lima</arg_value>\n</tool_call>",
        "",
        LIMA,
    ),
    ("glm45", "<tool_call>find</tool_call>", "", [("find", {})]),
    ("llama3_json", '<|python_tag|>{"name": "find", "parameters": {"to": "Lima"}}', "", LIMA),
    ("llama3_json", '{"name": "find", "parameters": {"to": "Lima"}}; ' + ONE, "", LIMA * 2),
    ("llama3_json", '{"to": "Lima"}', '{"to": "Lima"}', []),
    ("llama3_json", 'Der Name: {"name": "find"}', 'Der Name: {"name": "find"}', []),
    ("llama3_json", "{ein Text in Klammern}", "{ein Text in Klammern}", []),
    ("mistral", f"[TOOL_CALLS][{ONE}]", "", LIMA),
    ("mistral", f"[TOOL_CALLS] [{ONE}, {ONE}]", "", LIMA * 2),
    ("mistral", 'Gut.[TOOL_CALLS]find[ARGS]{"to": "Lima"}[TOOL_CALLS]find[ARGS]{}', "Gut.", [*LIMA, ("find", {})]),
    ("mistral", '[TOOL_CALLS]find[CALL_ID]abc123456[ARGS]{"to": "Lima"}', "", LIMA),
    ("mistral", '[TOOL_CALLS]find{"to": "Lima"}', "", LIMA),
]


@pytest.mark.parametrize(("name", "text", "rest", "calls"), READ)
def test_calls_are_taken_out_of_the_text(
    name: str, text: str, rest: str, calls: list[tuple[str, dict[str, str]]]
) -> None:
    found = parse_calls(text, FORMATS[name])
    assert (found.text, [(c.name, json.loads(c.arguments)) for c in found.calls]) == (rest, calls)
    assert not found.is_open


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", f"<tool_call>{ONE}"),
        ("hermes", f"<tool_call>{ONE}</tool_call><tool_call>{ONE[:9]}"),
        ("qwen3_coder", "<tool_call><function=find><parameter=to>Li"),
        ("glm45", "<tool_call>find<arg_key>to"),
        ("llama3_json", '{"name": "find", "parameters": {"to"'),
        ("llama3_json", "<|python_tag|>{"),
        ("mistral", f"[TOOL_CALLS][{ONE}"),
        ("mistral", "[TOOL_CALLS]find[ARGS]{"),
        ("mistral", "[TOOL_CALLS]"),
    ],
)
def test_a_call_that_does_not_end_is_open(name: str, text: str) -> None:
    assert parse_calls(text, FORMATS[name]).is_open


def test_what_is_no_json_is_a_call_without_a_name() -> None:
    [call] = parse_calls("<tool_call>find(Lima)</tool_call>", FORMATS["hermes"]).calls
    assert (call.name, call.arguments) == ("", "find(Lima)")


def test_a_text_without_calls_keeps_its_white_space() -> None:
    for form in FORMATS.values():
        assert parse_calls("  a\n\nb ", form) == ParsedCalls("  a\n\nb ")


def test_formats_by_name() -> None:
    assert tool_format_named("qwen3_xml") is FORMATS["qwen3_coder"]
    with pytest.raises(ValueError, match=r"'hermess' is no format of tool calls .did you mean .hermes."):
        tool_format_named("hermess")


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("<tool_call>{{ x }}</tool_call>", "hermes"),
        ("<tool_call><function={{ x }}>", "qwen3_coder"),
        ("<tool_call>{{ x }}<arg_key>", "glm45"),
        ("[TOOL_CALLS]{{ x }}", "mistral"),
        ('{{ \'{"name": "\' + tool_call.name }}', "llama3_json"),
        ("{{ messages }}", None),
    ],
)
def test_formats_by_what_the_template_writes(template: str, name: str | None) -> None:
    assert tool_format_of(template) is (FORMATS[name] if name else None)
