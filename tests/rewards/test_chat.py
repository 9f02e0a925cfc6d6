"""Chat tokenisation: ordinary text gives the ids of `apply_chat_template`, and no text gives a control token."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from arbitrage.errors import DataError
from arbitrage.models.chat import ChatTokenizer
from arbitrage.models.template_shapes import fold_system
from arbitrage.records import Message
from tests.support.tiny_model import SPECIALS, TEMPLATE, build_tokenizer


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@functools.cache
def chat() -> ChatTokenizer:
    return ChatTokenizer(tokenizer())


def talk(*contents: str) -> list[Message]:
    roles = ("user", "assistant")
    return [Message(role=roles[i % 2], content=content) for i, content in enumerate(contents)]  # type: ignore[arg-type]


def controls(ids: list[int]) -> int:
    return sum(ids.count(tokenizer().convert_tokens_to_ids(special)) for special in SPECIALS)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=4), st.booleans())
def test_ordinary_text_gives_the_ids_of_the_template(contents: list[str], is_complete: bool) -> None:
    turns = [{"role": m.role, "content": m.content} for m in talk(*contents)]
    expected = tokenizer().apply_chat_template(
        turns, tokenize=True, return_dict=True, add_generation_prompt=not is_complete
    )["input_ids"]
    assert chat().encode(talk(*contents), is_complete=is_complete) == expected


@given(st.lists(st.sampled_from([*SPECIALS, "<|", "end|>", " ", "x", "<|e", "<tool>", "\ue000"]), max_size=12))
def test_nothing_a_message_says_is_a_control_token(pieces: list[str]) -> None:
    ids = chat().encode(talk("Hi", "".join(pieces)), is_complete=True)
    assert controls(ids) == controls(chat().encode(talk("Hi", "x"), is_complete=True))
    assert tokenizer().convert_tokens_to_ids("<tool>") not in ids  # the template writes it, so it is a control too


@pytest.mark.parametrize("special", SPECIALS)
def test_control_tokens_are_kept_as_text(special: str) -> None:
    ids = chat().encode(talk(f"What does {special} mean?"))
    assert f"What does {special} mean?" in tokenizer().decode(ids, skip_special_tokens=True)


def test_a_spelling_that_normalises_to_a_control_token_is_caught_beside_a_plain_one() -> None:
    inner = Tokenizer(models.WordLevel({"[UNK]": 0, "[end]": 1, "end": 2, "[": 3, "]": 4, "x": 5}, "[UNK]"))
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")
    from tokenizers import AddedToken

    fast.add_special_tokens({"eos_token": AddedToken("[end]", normalized=True)})
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    end = fast.convert_tokens_to_ids("[end]")
    assert end in fast("［end］", add_special_tokens=False)["input_ids"]  # full-width brackets
    assert end not in ChatTokenizer(fast).encode(talk("x [end] x ［end］ x"))


def test_a_refusing_template_is_a_data_error() -> None:
    strict = build_tokenizer("{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}" + TEMPLATE)
    with pytest.raises(DataError, match="refuses the conversation: one turn"):
        ChatTokenizer(strict).encode(talk("Hi", "Hello"))


def test_system_messages_move_where_the_template_has_no_place_for_them() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert fold_system(turns) == [{"role": "user", "content": "Be brief.\n\nHi"}]
    assert fold_system(turns[:1]) == [{"role": "user", "content": "Be brief."}]
    assert fold_system(turns[1:]) == turns[1:]
