"""Sampling parameters in the transformers engine: each against its definition on a real, tiny model."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from arbitrage.config import parse
from arbitrage.contracts.engines import Completion, DecodingOptions, Failure, SamplingParams
from arbitrage.errors import ConfigError, EngineStartError
from arbitrage.records import FinishReason
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.transformers import TransformersConfig, TransformersEngine
from arbitrage.teachers.pool import TeacherConfig
from tests.support.asking import Results, a_request, ask
from tests.support.decoding import PLAIN, with_options
from tests.support.tiny_model import CORPUS, save_model

pytestmark = pytest.mark.model

TEXT = CORPUS[0]
BUDGETED = frozenset(["reasoning_budget"])


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(model_dir: Path) -> TransformersEngine:
    return TransformersConfig().build(ModelSpec("tiny", str(model_dir), precision="fp32"))


@pytest.fixture(scope="module")
def plain(engine: TransformersEngine) -> Results:
    return ask(engine, list(PLAIN.values()))


@pytest.fixture(scope="module")
def token(model_dir: Path) -> int:
    """Return the id of "a"."""
    return int(AutoTokenizer.from_pretrained(model_dir).convert_tokens_to_ids("a"))


def one(engine: TransformersEngine, text: str = TEXT, **options: object) -> Completion:
    found = ask(engine, [with_options("c", text, **options)])["c"]
    assert isinstance(found, Completion)
    return found


def first_logits(model_dir: Path, text: str) -> tuple[list[int], torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)["input_ids"]
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(model_dir)(torch.tensor([ids])).logits[0, -1]
    return ids, logits.clone()


def test_top_k_1_is_greedy_at_any_temperature(engine: TransformersEngine, plain: Results) -> None:
    requests = [
        a_request(
            text, candidate_id=f"plain{i}", temperature=3.0, seed=i, max_tokens=24, options=DecodingOptions(top_k=1)
        )
        for i, text in enumerate(CORPUS)
    ]
    assert ask(engine, requests) == plain


@pytest.mark.parametrize(("options", "num_kept"), [({"top_k": 3}, 3), ({"min_p": 0.8}, None)])
def test_only_likely_tokens_are_drawn(
    engine: TransformersEngine, model_dir: Path, options: dict[str, float], num_kept: int | None
) -> None:
    _, logits = first_logits(model_dir, TEXT)
    probs = torch.softmax(logits.double() / 2.0, -1)
    likely = probs >= (probs.sort(descending=True).values[num_kept - 1] if num_kept else 0.8 * probs.max())
    lowest = logits.double().log_softmax(-1)[likely].min().item()
    requests = [
        a_request(
            TEXT,
            candidate_id=f"{i}",
            seed=i,
            temperature=2.0,
            max_tokens=1,
            options=parse(options, DecodingOptions, ""),
        )
        for i in range(200)
    ]
    drawn = {round(r.cumulative_logprob, 3) for r in ask(engine, requests).values() if isinstance(r, Completion)}
    assert min(drawn) >= lowest - 1e-2
    assert len(drawn) == int(likely.sum())


def test_a_repetition_penalty_divides_what_prompt_and_completion_hold(
    engine: TransformersEngine, model_dir: Path
) -> None:
    ids, logits = first_logits(model_dir, TEXT)
    seen = torch.tensor(sorted(set(ids)))
    logits[seen] = torch.where(logits[seen] > 0, logits[seen] / 5.0, logits[seen] * 5.0)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    found = ask(
        engine, [a_request(TEXT, candidate_id="c", max_tokens=1, options=DecodingOptions(repetition_penalty=5.0))]
    )
    assert found["c"].text == tokenizer.decode([int(logits.argmax())], skip_special_tokens=True).rstrip("\ufffd")


def test_penalties_change_what_is_repeated(engine: TransformersEngine, token: int) -> None:
    bias = {"logit_bias": {token: 12.0}}
    plain, present, frequent = (
        one(engine, **bias, **more).text.count("a")
        for more in ({}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0})
    )
    assert plain >= present > frequent > 0


def test_texts_and_tokens_end_a_completion(engine: TransformersEngine, plain: Results, token: int) -> None:
    whole = plain["plain0"].text
    found = one(engine, stop=(whole[5:8],))
    assert found.text == whole[: whole.find(whole[5:8])]
    assert found.finish_reason is FinishReason.STOP
    assert found.completion_tokens < plain["plain0"].completion_tokens
    bias = {"logit_bias": {token: 100.0}}
    ended = one(engine, **bias, stop_token_ids=(token,))
    assert (ended.text, ended.finish_reason, ended.completion_tokens) == ("", FinishReason.STOP, 1)
    assert one(engine, **bias).finish_reason is FinishReason.LENGTH


def test_min_tokens_puts_the_end_off(engine: TransformersEngine, plain: Results) -> None:
    assert plain["plain1"].completion_tokens < 20
    found = one(engine, CORPUS[1], min_tokens=20)
    assert found.completion_tokens >= 20
    assert found.text.startswith(plain["plain1"].text)


def test_bad_words_are_not_written(engine: TransformersEngine, plain: Results) -> None:
    bad = "The"
    assert bad in plain["plain0"].text
    assert bad not in one(engine, bad_words=(bad,)).text


def test_requests_of_other_parameters_do_not_touch_each_other(engine: TransformersEngine, plain: Results) -> None:
    mixed = ask(engine, [*PLAIN.values(), with_options("other", TEXT, logit_bias={65: 100.0})])
    assert {key: mixed[key] for key in plain} == plain


def teacher(model: Path, **more: object) -> TeacherConfig:
    raw = {
        "name": "t",
        "model": str(model),
        "engine": {"kind": "transformers"},
        "languages": ["en"],
        "precision": "fp32",
    }
    return parse(raw | more, TeacherConfig, "teachers.yaml")


def test_the_makers_values_are_read_when_wanted_and_never_else(model_dir: Path, tmp_path: Path) -> None:
    own = save_model(tmp_path / "own")
    (own / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.6, "top_k": 1, "top_p": 0.8}')
    text = a_request(TEXT, candidate_id="c", temperature=2.0, seed=3, max_tokens=24)
    engines = [TransformersConfig().build(ModelSpec("t", str(path), precision="fp32")) for path in (own, model_dir)]
    assert ask(engines[0], [text]) == ask(engines[1], [text])  # top_k 1 of the file is not applied
    resolved = teacher(own, sampling="maker").resolved_sampling(SamplingParams(n=2, top_p=0.7))
    assert (resolved.temperature, resolved.top_p, resolved.top_k) == (0.6, 0.7, 1)
    asked_by_run = teacher(own).resolved_sampling(parse({"maker": True, "top_k": None}, SamplingParams, "run"))
    assert (asked_by_run.temperature, asked_by_run.top_k) == (0.6, None)
    assert teacher(own).resolved_sampling(SamplingParams()).top_k is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no generation_config.json"),
        ("[1]", "expected an object"),
        ('{"temperature": "hot"}', "temperature: expected a number, found 'hot'"),
        ('{"top_p": 7}', "sampling: top_p: input should be less than or equal to 1"),
        ("{", "cannot be read"),
    ],
)
def test_a_makers_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    own = save_model(tmp_path / "own")
    (own / "generation_config.json").unlink(missing_ok=True)
    if content is not None:
        (own / "generation_config.json").write_text(content)
    with pytest.raises(ConfigError, match=said):
        teacher(own, sampling="maker").resolved_sampling(SamplingParams())


def test_what_an_engine_cannot_do_is_an_error_that_names_it(model_dir: Path) -> None:
    wanted = parse({"structured_output": {"choice": ["a", "b"]}}, SamplingParams, "run.yaml")
    with pytest.raises(ConfigError, match=r"its engine 'transformers' cannot do sampling.structured_output"):
        teacher(model_dir).resolved_sampling(wanted)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"structured_output": {"json_schema": {"type": "objekt"}}},
            "json_schema is no JSON Schema: 'objekt' is not",
        ),
        ({"structured_output": {"regex": "("}}, "regex is no regular expression"),
        ({"structured_output": {}}, "give one of json_schema, regex and choice, not none"),
        ({"structured_output": {"regex": "a", "choice": ["a"]}}, "not regex and choice"),
        ({"reasoning_budget": 0}, "reasoning_budget"),
        ({"reasoning_budget": 5, "reasoning_effort": "none"}, "leave one of them out"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"logit_bias": {"a": 1.0}}, "logit_bias"),
        ({"top_k": 0}, "top_k"),
    ],
)
def test_parameters_that_cannot_be_are_refused(raw: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(raw, SamplingParams, "run.yaml")


@pytest.fixture(scope="module")
def reasoning_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("reasons"), reasons=True)


def reasoner(directory: Path, **more: object) -> TransformersEngine:
    return TransformersConfig().build(ModelSpec("tiny", str(directory), precision="fp32", **more))


def test_reasoning_that_the_template_opens_and_the_budget_ends(reasoning_dir: Path) -> None:
    engine = reasoner(reasoning_dir, uses=BUDGETED)
    found = ask(
        engine, [with_options(f"{i}", text, reasoning_budget=6, min_tokens=12) for i, text in enumerate(CORPUS)]
    )
    completions = [each for each in found.values() if isinstance(each, Completion)]
    assert completions
    for each in completions:  # the newline after the mark counts, too, and the closing mark is one more
        assert (each.reasoning_tokens, each.completion_tokens) == (6, each.completion_tokens)
        assert each.completion_tokens > 6
        assert "<think>" not in each.text + str(each.reasoning)


def test_reasoning_without_an_end_is_a_reject(reasoning_dir: Path) -> None:
    found = ask(reasoner(reasoning_dir), [with_options("c", TEXT, min_tokens=24)])["c"]
    assert isinstance(found, Failure)
    assert found.reason == "reasoning_unfinished"
    assert (
        found.detail == "max_tokens ended the reasoning after 24 tokens; raise it, or set sampling.reasoning_budget"
    )


def test_with_parser_none_nothing_is_split(reasoning_dir: Path) -> None:
    found = ask(reasoner(reasoning_dir, reasoning_parser="none"), [with_options("c", TEXT, min_tokens=24)])["c"]
    assert isinstance(found, Completion)
    assert found.reasoning is None
    assert found.text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"reasoning_parser": "mistral"},
            r"reasoning_parser is 'mistral', but neither the vocabulary nor the chat template",
        ),
        ({"uses": BUDGETED}, "sampling.reasoning_budget needs a model whose reasoning stands between"),
        ({"reasoning_effort": "high"}, "its chat template takes no reasoning_effort"),
    ],
)
def test_what_a_model_does_not_have_is_named(model_dir: Path, more: dict[str, object], said: str) -> None:
    with pytest.raises(EngineStartError, match=said):
        reasoner(model_dir, **more)


FEW_SHOT = "{% for m in messages %}Q: {{ m.content }}\nA:{% endfor %}"


def test_a_base_model_takes_a_template_of_the_users_own(model_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "few_shot.jinja"
    file.write_text(FEW_SHOT)
    base = teacher(model_dir, chat_template=str(file))
    file.unlink()  # nodes need not have it
    again = parse(json.loads(base.model_dump_json()), TeacherConfig, "run.json")
    assert again.identity() == base.identity() != teacher(model_dir).identity()
    engine = TransformersConfig().build(again.spec())
    found = ask(engine, [with_options("c", "How many?", logit_bias={220: 3.0})])["c"]
    assert isinstance(found, Completion)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    assert found.prompt_tokens == len(tokenizer("Q: How many?\nA:", add_special_tokens=False)["input_ids"])
    assert found.text == found.text.strip()


def test_a_template_that_cannot_be_read_or_applied_is_named(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"chat_template: .*nowhere.jinja cannot be read"):
        teacher(model_dir, chat_template=str(tmp_path / "nowhere.jinja"))
    remote = {"kind": "openai", "base_url": "http://localhost:1/v1"}
    with pytest.raises(ConfigError, match="engine 'openai' cannot apply a chat_template"):
        teacher(model_dir, chat_template=FEW_SHOT, engine=remote, precision="bf16")
