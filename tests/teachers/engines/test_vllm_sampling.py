"""Sampling parameters and reasoning in a real vLLM, held against the transformers engine and vLLM's own parsers."""

import asyncio
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer

from arbitrage.contracts.engines import Completion, GenerationRequest
from arbitrage.models.chat import ChatTokenizer
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.transformers import TransformersConfig
from arbitrage.teachers.engines.vllm import VllmConfig
from arbitrage.teachers.reasoning import ReasoningSplitter
from arbitrage.text.reasoning_formats import format_named
from arbitrage.text.tool_formats import FORMATS as TOOL_FORMATS
from arbitrage.text.tool_formats import parse_calls
from tests.support.asking import Results, ask, collect
from tests.support.decoding import PLAIN, requests_for_each, texts_of, with_options
from tests.support.tiny_model import CORPUS, build_tokenizer, save_model

pytestmark = [
    pytest.mark.alone,
    pytest.mark.vllm,
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("reasons"), reasons=True)


def spec_of(model_dir: Path, *, splits: bool = True) -> ModelSpec:
    return ModelSpec(
        "tiny",
        str(model_dir),
        precision="fp32",
        context_length=128,
        uses=frozenset(["reasoning_budget", "structured_output"]) if splits else frozenset(),
        reasoning_parser="auto" if splits else "none",
    )


def budgeted() -> list[GenerationRequest]:
    return [with_options(f"b{i}", text, reasoning_budget=6, min_tokens=12) for i, text in enumerate(CORPUS)]


def structured() -> list[GenerationRequest]:
    forms = {
        "choice": {"choice": ["seven apples", "blue"]},
        "regex": {"regex": "[ab]{3}"},
        "json": {"json_schema": {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}},
    }
    closed = {"reasoning_budget": 1}  # the form begins after the reasoning
    return [with_options(name, CORPUS[0], structured_output=form, **closed) for name, form in forms.items()]


async def _sample(model_dir: Path, each: list[GenerationRequest]) -> tuple[Results, Results, Results]:
    config = VllmConfig(device="cpu", enforce_eager=True, max_num_seqs=16, kv_cache_gb=0.25)
    engine = config.build(spec_of(model_dir))
    try:
        return await collect(engine, each), await collect(engine, budgeted()), await collect(engine, structured())
    finally:
        await engine.close()


def test_the_same_parameters_give_the_same_completions_as_in_transformers(model_dir: Path) -> None:
    engine = TransformersConfig().build(spec_of(model_dir))
    plain = ask(TransformersConfig().build(spec_of(model_dir, splits=False)), list(PLAIN.values()))["plain1"]
    assert isinstance(plain, Completion)
    token = AutoTokenizer.from_pretrained(model_dir).convert_tokens_to_ids("a")
    each = requests_for_each(plain.text[4:6], plain.text[1:3], token)
    sampled, within_budget, in_form = asyncio.run(_sample(model_dir, each))
    assert sampled.keys() == ask(engine, each).keys()
    for wanted, found in ((ask(engine, each), sampled), (ask(engine, budgeted()), within_budget)):
        for key, result in wanted.items():
            other = found[key]
            assert type(other) is type(result)
            if isinstance(result, Completion) and isinstance(other, Completion):
                assert (other.text, other.reasoning, other.reasoning_tokens, other.completion_tokens) == (
                    (result.text, result.reasoning, result.reasoning_tokens, result.completion_tokens)
                )
    texts = {key: text for key, (text, _, _) in texts_of(in_form).items()}
    assert texts["choice"] in ("seven apples", "blue")
    assert len(texts["regex"]) == 3
    assert set(texts["regex"]) <= set("ab")
    assert re.match(r'\{\s*("a")?', texts["json"])  # a random model pads it with white space without end


@pytest.mark.parametrize(
    "text",
    [
        "<think>He asks.</think>Hello.",
        "<think>\nHe asks.\n</think>\n\nHello.",
        "He asks.</think>Hello.",
    ],
)
@pytest.mark.parametrize("parser", ["deepseek_r1", "qwen3", "glm45"])
def test_our_splitter_agrees_with_vllms_parsers_on_completions_that_end(
    model_dir: Path, parser: str, text: str
) -> None:
    from vllm.reasoning import ReasoningParserManager

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    reasoning, answer = ReasoningParserManager.get_reasoning_parser(parser)(tokenizer).extract_reasoning(text, None)
    splitter = ReasoningSplitter(ChatTokenizer(tokenizer), parser)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = splitter.split(ids, begins_inside=not text.startswith("<think>"))
    assert (found.text, found.reasoning) == ((answer or "").lstrip("\n"), (reasoning or "").strip())


CALL = '{"name": "find", "arguments": {"to": "Lima"}}'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", f"Wait.\n<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>"),
        ("qwen3_coder", "<tool_call>\n<function=find>\n<parameter=to>\nLima\n</parameter>\n</function>\n</tool_call>"),
        ("glm45", "<tool_call>find\n<arg_key>to</arg_key>\n<arg_value>Lima</arg_value>\n</tool_call>"),
        ("llama3_json", '{"name": "find", "parameters": {"to": "Lima"}}'),
        ("mistral", '[TOOL_CALLS]find{"to": "Lima"}'),
    ],
)  # fmt: skip
def test_our_formats_agree_with_vllms_tool_parsers(name: str, text: str) -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager

    form = TOOL_FORMATS[name]
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([AddedToken(mark, special=False) for mark in form.marks])
    schema = {"type": "object", "properties": {"to": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "find", "parameters": schema}}]
    request = ChatCompletionRequest(messages=[{"role": "user", "content": "a"}], tools=tools)
    theirs = ToolParserManager.get_tool_parser(name)(tokenizer, request.tools).extract_tool_calls(text, request)
    ours = parse_calls(text, form)
    wanted = [(call.function.name, json.loads(call.function.arguments)) for call in theirs.tool_calls]
    assert [(call.name, json.loads(call.arguments)) for call in ours.calls] == wanted
    assert ours.text == (theirs.content or "").strip()
    assert wanted


def test_vllms_names_are_known() -> None:
    from vllm.reasoning import ReasoningParserManager

    others = {"granite", "hf", "hy_v3", "hy_v4", "inkling", "kimi_k3", "mistral", "muse_glimmer", "identity"}
    for name in ReasoningParserManager.list_registered():
        if name not in others:
            format_named(name)
