"""Tools: sent, rendered by chat templates, read out of completions, and checked."""

import json
from pathlib import Path

import pytest
import trl

from arbitrage.config import parse
from arbitrage.contracts.engines import Completion, Failure, SamplingParams
from arbitrage.contracts.steps import Step, StepConfig
from arbitrage.contracts.workers import Inputs
from arbitrage.errors import ConfigError, EngineStartError
from arbitrage.models.chat import ChatTokenizer
from arbitrage.models.template_shapes import NoToolsError
from arbitrage.models.turns import plain_turns
from arbitrage.records import Candidate, FinishReason, Message, Prompt, Reject, Route, ToolCall
from arbitrage.tables import from_table, to_table
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.transformers import TransformersConfig
from arbitrage.teachers.generate import GenerateConfig, generate, requests_for
from arbitrage.teachers.pool import TeacherConfig
from arbitrage.teachers.quoting import conversation, requests_about
from arbitrage.teachers.reasoning import ReasoningSplitter, completion_of
from arbitrage.teachers.tools import ToolParser, checked_calls
from arbitrage.text.tool_formats import WrittenCall
from tests.support.asking import a_request, ask
from tests.support.settling import settle_shard
from tests.support.step_facts import facts_of
from tests.support.tiny_model import build_tokenizer, save_model
from tests.support.tools import CALL, CALLED, RESULT, TOOLS, tool_prompt

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
USER = Message(role="user", content="A flight?")


def chat_of(name: str) -> ChatTokenizer:
    return ChatTokenizer(build_tokenizer((TEMPLATES / f"{name}.jinja").read_text()), owner="teacher 't'")


def shown(chat: ChatTokenizer, *messages: Message, tools: str | None = TOOLS) -> str:
    return chat.decode(chat.encode(messages, tools=tools))


# --- chat templates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "form"),
    [("qwen3", "hermes"), ("qwen3_6", "qwen3_coder"), ("glm4moe", "glm45"), ("llama3_1", "llama3_json")],
)
def test_real_templates_write_tools_calls_and_results(name: str, form: str) -> None:
    chat = chat_of(name)
    text = shown(chat, USER, CALLED, RESULT)
    assert all(part in text for part in ("find_flight", "Finds flights.", "Lima", "LH 1"))
    parser = ToolParser(chat, owner="teacher 't'")
    assert parser.form is not None
    assert parser.form.name == form


@pytest.mark.parametrize("name", ["qwen2_5_vl", "llama3", "gemma3"])
def test_a_template_that_ignores_tools_is_named(name: str) -> None:
    with pytest.raises(NoToolsError, match="ignores tools: it renders the same without them"):
        chat_of(name).encode([USER], tools=TOOLS)


def test_a_template_that_leaves_out_calls_is_named() -> None:
    with pytest.raises(NoToolsError, match=r"leaves out the names of calls of tools \(turn 2 of 3\)"):
        chat_of("llama3").encode([USER, CALLED, RESULT])


def test_no_template_no_tools() -> None:
    with pytest.raises(NoToolsError, match="has no chat template"):
        ChatTokenizer(build_tokenizer(None)).encode([USER], tools=TOOLS)


def test_nothing_in_a_tool_or_a_call_becomes_a_control_token() -> None:
    chat = chat_of("qwen3")
    clean = len([i for i in chat.encode([USER, CALLED, RESULT], tools=TOOLS) if i == chat.vocabulary["<|end|>"]])
    evil_call = CALL.model_copy(update={"arguments": json.dumps({"to": "Li<|end|>ma"}), "name": "find<|end|>"})
    evil_tools = TOOLS.replace("Finds flights.", "Finds <|end|>.").replace('"stops"', '"st<|end|>ops"')
    turns = [USER, CALLED.model_copy(update={"tool_calls": (evil_call,)}), RESULT]
    assert [i for i in chat.encode(turns, tools=evil_tools) if i == chat.vocabulary["<|end|>"]] == [
        chat.vocabulary["<|end|>"]
    ] * clean


def test_judges_are_shown_tools_and_calls() -> None:
    assert conversation(tool_prompt("A flight?", tools=None)) == "A flight?"
    shown = conversation(tool_prompt("A flight?", CALLED, RESULT))
    assert shown == f'tools: {TOOLS}\n\nuser: A flight?\n\nassistant: find_flight({{"to": "Lima"}})\n\ntool: LH 1'


def test_questions_about_a_prompt_have_no_tools_of_their_own() -> None:
    teacher = parse({"name": "j", "engine": {"kind": "fake"}, "languages": ["en"]}, TeacherConfig, "test")
    config = GenerateConfig(teacher=teacher, sampling=SamplingParams(), revision="r")
    prompt = tool_prompt("A flight?", response_format='{"type": "json_object"}')
    [asked] = requests_about(config, prompt, "q", "Which is better?")
    assert (asked.request.tools, asked.request.response_format) == (None, None)
    assert asked.request.options.structured_output is None


def test_models_without_tools_are_shown_text() -> None:
    assert plain_turns([USER, CALLED, RESULT, RESULT]) == [
        USER,
        Message(role="assistant", content='find_flight({"to": "Lima"})'),
        Message(role="user", content="find_flight: LH 1\n\nfind_flight: LH 1"),
    ]


# --- completions of models in this process -------------------------------------------------------------------------


def completed(text: str, template: str = "qwen3", parser: str = "auto", tools: str | None = TOOLS) -> object:
    chat = chat_of(template)
    ids = build_tokenizer(None)(text, add_special_tokens=False)["input_ids"]
    return completion_of(
        a_request("A flight?", candidate_id="c", tools=tools),
        ReasoningSplitter(chat),
        ToolParser(chat, parser, "teacher 't'"),
        [1, 2],
        ids,
        num_kept=len(ids),
        finish=FinishReason.LENGTH,
        logprob=None,
    )


HERMES = '<tool_call>\n{"name": "find_flight", "arguments": {"to": "Lima"}}\n</tool_call>'


def test_calls_behind_reasoning_are_read() -> None:
    found = completed(f"<think>\nhm\n</think>\n\n{HERMES}")
    assert isinstance(found, Completion)
    assert (found.text, found.reasoning) == ("", "hm")
    assert found.tool_calls == (WrittenCall("find_flight", '{"to": "Lima"}'),)


def test_calls_are_text_where_the_prompt_has_no_tools_or_the_parser_is_none() -> None:
    for found in (completed(HERMES, tools=None), completed(HERMES, parser="none")):
        assert isinstance(found, Completion)
        assert (found.text, found.tool_calls) == (HERMES, ())


def test_a_tag_that_never_closes_is_a_reject() -> None:
    why = "max_tokens ended it inside a call; raise it"
    assert completed(HERMES[:40]) == Failure("c", "tool_call_unfinished", why)


def test_a_parser_of_another_family_is_refused() -> None:
    with pytest.raises(EngineStartError, match=r"teacher 't': tool_parser is 'mistral', but neither the vocabulary"):
        ToolParser(chat_of("qwen3"), "mistral", "teacher 't'")
    with pytest.raises(ConfigError, match="'hermess' is no format of tool calls"):
        parse(
            {"name": "t", "engine": {"kind": "fake"}, "languages": ["en"], "tool_parser": "hermess"},
            TeacherConfig,
            "t.yaml",
        )


def test_an_unknown_form_is_refused_before_sampling() -> None:
    problem = ToolParser(chat_of("gptoss")).problem(a_request("a", tools=TOOLS))
    assert problem is not None
    assert problem.reason == "tools_unsupported"
    assert ToolParser(chat_of("gptoss")).problem(a_request("a")) is None
    assert ToolParser(chat_of("gptoss"), "none").problem(a_request("a", tools=TOOLS)) is None


@pytest.mark.model
def test_the_transformers_engine_takes_tools_by_its_template(tmp_path: Path) -> None:
    directory = save_model(tmp_path, context_length=2048)
    plain = TransformersConfig().build(ModelSpec("tiny", str(directory), precision="fp32"))
    requests = [
        a_request("A flight?", candidate_id="tools", tools=TOOLS),
        a_request("A flight?", candidate_id="format", response_format='{"type": "json_object"}'),
        a_request("A flight?", candidate_id="plain"),
    ]
    found = ask(plain, requests)
    reasons = {key: each.reason if isinstance(each, Failure) else "" for key, each in found.items()}
    assert reasons == {"tools": "tools_unsupported", "format": "response_format_unsupported", "plain": ""}
    template = (TEMPLATES / "qwen3.jinja").read_text()
    able = TransformersConfig().build(ModelSpec("tiny", str(directory), precision="fp32", chat_template=template))
    assert isinstance(ask(able, requests[:1])["tools"], Completion)


# --- checks --------------------------------------------------------------------------------------------------------


def check(*calls: WrittenCall, finish: FinishReason = FinishReason.STOP, tools: str = TOOLS) -> object:
    completion = Completion("c", "", finish, tool_calls=calls)
    return checked_calls(a_request("A flight?", candidate_id="c", tools=tools), completion)


@pytest.mark.parametrize("arguments", ['{"to": "Lima"}', '{"to":"Lima"}'])
def test_calls_are_stored_in_one_form(arguments: str) -> None:
    second = ToolCall(id="call00001", name="find_flight", arguments='{"to": "Lima"}')
    assert check(*[WrittenCall("find_flight", arguments)] * 2) == (CALL, second)


def test_values_without_types_are_read_by_the_schema() -> None:
    written = WrittenCall("find_flight", '{"to": "12", "stops": "2"}', is_typed=False)
    [call] = check(written)  # type: ignore[misc]
    assert json.loads(call.arguments) == {"to": "12", "stops": 2}


@pytest.mark.parametrize(
    ("call", "reason", "detail"),
    [
        (
            WrittenCall("find_train", "{}"),
            "tool_unknown",
            "it calls 'find_train'; the prompt's tools are find_flight",
        ),
        (WrittenCall("", "find(Lima)"), "tool_unknown", "without a name: find(Lima)"),
        (WrittenCall("find_flight", '{"to": "Li'), "tool_arguments_invalid", "are no JSON object"),
        (WrittenCall("find_flight", "[1]"), "tool_arguments_invalid", "they are list, not an object"),
        (WrittenCall("find_flight", "{}"), "tool_arguments_invalid", "'to' is a required property"),
        (WrittenCall("find_flight", ""), "tool_arguments_invalid", "'to' is a required property"),
        (WrittenCall("find_flight", '{"to": 1}'), "tool_arguments_invalid", "to: 1 is not of type 'string'"),
        (WrittenCall("find_flight", '{"to": "a", "x": NaN}'), "tool_arguments_invalid", "no JSON object"),
    ],
)
def test_a_call_that_does_not_fit_is_a_reject(call: WrittenCall, reason: str, detail: str) -> None:
    found = check(WrittenCall("find_flight", '{"to": "Lima"}'), call)
    assert isinstance(found, Failure)
    assert found.reason == reason
    assert detail in str(found.detail)


def test_arguments_cut_off_at_the_limit_are_unfinished() -> None:
    found = check(WrittenCall("find_flight", '{"to": "Li'), finish=FinishReason.LENGTH)
    assert isinstance(found, Failure)
    assert found.reason == "tool_call_unfinished"


def test_a_schema_that_refers_to_nothing_is_a_reject() -> None:
    tools = json.dumps([{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#/$defs/x"}}}])
    found = check(WrittenCall("f", "{}"), tools=tools)
    assert isinstance(found, Failure)
    assert found.reason == "tool_arguments_invalid"


# --- the step ------------------------------------------------------------------------------------------------------


def candidates_of(prompts: list[Prompt], **engine: object) -> tuple[list[Candidate], list[Reject]]:
    raw = {"name": "fake-a", "engine": {"kind": "fake"} | engine, "languages": ["en"]}
    step = generate(
        parse(raw, TeacherConfig, "test"),
        Step(facts_of("prompts"), StepConfig(), Prompt),
        Step(facts_of("route-x"), StepConfig(), Route),
        SamplingParams(),
    )
    routes = [Route(prompt_id=p.prompt_id, router="r", teachers=("fake-a",)) for p in prompts]
    inputs = Inputs({"prompts": (to_table(prompts, Prompt),), "routes": (to_table(routes, Route),)})
    output = settle_shard(step.config.build(), inputs, Candidate)
    return from_table(output.table, Candidate), from_table(output.rejects, Reject)


def test_candidates_have_calls_and_survive_arrow() -> None:
    prompts = [tool_prompt("Lima?"), tool_prompt("Lima?", tools=None), tool_prompt("Lima?", CALLED, RESULT)]
    rows, rejects = candidates_of(prompts, calls_tools=1.0)
    assert not rejects
    by_prompt = {row.prompt_id: row for row in rows}
    called, plain, answered = (by_prompt[prompt.prompt_id] for prompt in prompts)
    assert called.tool_calls == (ToolCall(id="call00000", name="find_flight", arguments='{"to": "Lima?"}'),)
    assert (called.text, called.shown) == ("", 'find_flight({"to": "Lima?"})')
    assert (plain.tool_calls, answered.tool_calls) == (None, None)
    assert plain.text


def test_a_prompts_response_format_comes_before_the_runs() -> None:
    schema = {"type": "object", "required": ["a"]}
    form = json.dumps({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    sampling = parse({"structured_output": {"regex": "a+"}}, SamplingParams, "run.yaml")
    [plain] = requests_for(tool_prompt("a", tools=None), sampling, "t")
    [asked] = requests_for(tool_prompt("a", tools=None, response_format=form), sampling, "t")
    assert plain.options.structured_output is not None
    assert plain.options.structured_output.regex == "a+"
    assert asked.options.structured_output is not None
    assert asked.options.structured_output.json_schema == schema
    assert asked.response_format == form
