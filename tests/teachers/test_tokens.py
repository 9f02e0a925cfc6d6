"""What a plan counts of a prompt: its text by the teacher's tokenizer, and what the chat template writes around it."""

import pytest

from arbitrage.models.chat import ChatTokenizer
from arbitrage.models.loading import load_tokenizer
from arbitrage.records import Message
from arbitrage.teachers.pool import TeacherConfig
from arbitrage.teachers.tokens import TOKENS_BEFORE_ANSWER, TOKENS_PER_TURN, template_tokens, tokens_per_character
from tests.support.tiny_model import save_model

TEXTS = ("How many?", "What colour is the sky, then?", "Seven apples and two more: how many are there in all?")


def teacher(model: str, **engine: object) -> TeacherConfig:
    return TeacherConfig.model_validate(
        {"name": "t", "model": model, "languages": ("en",), "engine": engine, "precision": "fp32"}
    )


def asked(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(texts))


@pytest.mark.model
def test_text_and_template_together_are_what_the_engine_reads(tmp_path):
    model = save_model(tmp_path)
    template = model / "chat_template.jinja"
    template.write_text("<|turn|>system\nYou are a helpful assistant, named Tiny.<|end|>\n" + template.read_text())
    local = teacher(str(model), kind="transformers")
    chat = ChatTokenizer(load_tokenizer(str(model), None, "t"))
    conversations = [asked(text) for text in TEXTS]
    real = sum(len(chat.encode(each)) for each in conversations)
    ratios, is_counted = tokens_per_character(local, {"en": list(TEXTS)})
    said = ratios["en"] * sum(map(len, TEXTS))
    assert is_counted
    assert said + len(TEXTS) * template_tokens(local, conversations) == pytest.approx(real)
    assert real > 2 * said  # what a plan without the template would leave out


def test_a_template_that_is_not_here_is_guessed_by_turns():
    endpoint = TeacherConfig.model_validate(
        {"name": "t", "model": "m", "languages": ("en",), "engine": {"kind": "openai", "base_url": "http://x/v1"}}
    )
    assert template_tokens(endpoint, [asked("a")]) == TOKENS_PER_TURN + TOKENS_BEFORE_ANSWER
    assert template_tokens(endpoint, [asked("a", "b", "c")]) == 3 * TOKENS_PER_TURN + TOKENS_BEFORE_ANSWER


def test_an_engine_without_a_model_writes_no_template():
    fake = TeacherConfig.model_validate({"name": "t", "languages": ("en",), "engine": {"kind": "fake"}})
    assert template_tokens(fake, [asked("a")]) == 0


@pytest.mark.model
def test_a_broken_tokenizer_leaves_a_guess(tmp_path):
    model = save_model(tmp_path)
    (model / "tokenizer.json").write_text("{")
    broken = teacher(str(model), kind="transformers")
    assert template_tokens(broken, [asked("a")]) == TOKENS_PER_TURN + TOKENS_BEFORE_ANSWER
    assert not tokens_per_character(broken, {"en": ["a"]})[1]
