"""Chat templates as they come: read before a row is rendered, chosen by name, found in any of the model's files, errors reported."""

import json
import shutil
from functools import cache
from pathlib import Path

import mistral_common
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoTokenizer

from arbitrage.errors import DataError, EngineStartError
from arbitrage.models.chat import ChatTokenizer
from arbitrage.models.loading import load_tokenizer
from arbitrage.records import Message
from tests.support.tiny_model import SPECIALS, TEMPLATE, build_tokenizer

THINKING = """
{%- set ns = namespace(last=messages | length - 1, open=true) %}
{%- for m in messages[::-1] %}
    {%- if ns.open and m.role == 'user' and not (m.content.startswith('<reply>') and m.content.endswith('</reply>')) %}
        {%- set ns.open = false %}{%- set ns.last = messages | length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content %}
    {%- set reasoning = '' %}
    {%- if m.role == 'assistant' and '</think>' in content %}
        {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|turn|>' + m.role + '\\n' }}
    {%- if m.role == 'assistant' and loop.index0 > ns.last %}
        {{- '<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
    {%- else %}
        {{- content }}
    {%- endif %}
    {{- '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|turn|>assistant\\n' }}{% if enable_thinking is defined and enable_thinking is false %}
    {{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"""

PARTS = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{% for part in m.content %}{{ part.text }}{% endfor %}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
FIRST_PART = PARTS.replace("{% for part in m.content %}{{ part.text }}{% endfor %}", "{{ m.content[0].text }}")
SELECTED = PARTS.replace(
    "m.content %}{{ part.text", "m.content | selectattr('type', 'equalto', 'text') %}{{ part.text"
)
PARTS_OF_USERS = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{% if m.role == 'user' %}{{ m.content[0]['text'] }}"
    "{% else %}{{ m.content + '' }}{% endif %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def thinker(template: str = THINKING):
    tokenizer = build_tokenizer(template)
    tokenizer.add_tokens([AddedToken(text, special=False) for text in ("<think>", "</think>", "<reply>", "</reply>")])
    return tokenizer


def talk(*contents: str, system: str | None = None) -> list[Message]:
    first = [Message(role="system", content=system)] if system else []
    return first + [Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(contents)]


def shown(tokenizer, messages: list[Message], *, is_complete: bool = False) -> str:
    ids = ChatTokenizer(tokenizer).encode(messages, is_complete=is_complete)
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


# --- content as a list of parts ---


@pytest.mark.parametrize("template", [PARTS, FIRST_PART, SELECTED, PARTS_OF_USERS])
def test_a_template_that_reads_parts_is_shown_every_turn(template):
    tokenizer = build_tokenizer(template)
    told = shown(tokenizer, talk("How many?", "Seven.", "And then?", system="Be brief."))
    for text in ("How many?", "Seven.", "And then?", "Be brief."):
        assert text in told
    assert "'type'" not in told


def test_parts_and_texts_give_the_same_ids():
    messages = talk("How many?", "Seven.", "And then?")
    plain = PARTS.replace("{% for part in m.content %}{{ part.text }}{% endfor %}", "{{ m.content }}")
    assert shown(build_tokenizer(PARTS), messages) == shown(build_tokenizer(plain), messages)


def test_a_template_that_prints_its_list_as_it_stands_is_no_template_for_parts():
    prints = "{% for m in messages %}{% if m.content is string %}?{% else %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(EngineStartError, match=r"leaves out the text of turn 1 of 1 \(user\)"):
        ChatTokenizer(build_tokenizer(prints))


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("<|turn|>user\n{{ messages[0].text }}", r"leaves out the text of turn 1 of 1 \(user\)"),
        ("{{ messages[0].tools | tojson }}", "TypeError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ documents[0].title }}", "documents|None"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "maximum recursion depth"),
        ("{{ raise_exception('no text without an image') }}", "no text without an image"),
        ("{% for m in messages %}{{ m.content }}", "is not valid"),
        ("{{ 'x' * 10 ** 12 }}", "MemoryError|OverflowError"),
    ],
)
def test_a_template_that_cannot_be_used_is_said_when_the_model_loads(template, why):
    with pytest.raises(EngineStartError, match=why) as caught:
        ChatTokenizer(build_tokenizer(template), owner="teacher 'x'", model=None)
    assert str(caught.value).startswith("teacher 'x': ")
    assert "\n" not in str(caught.value)


def test_whatever_a_template_raises_at_one_row_is_that_rows_fault():
    picky = (
        "{% for m in messages %}{% if 'nine' in m.content %}{{ m.tools | tojson }}{% endif %}{% endfor %}" + TEMPLATE
    )
    chat = ChatTokenizer(build_tokenizer(picky))
    assert chat.encode(talk("two"))
    with pytest.raises(DataError, match="TypeError"):
        chat.encode(talk("nine"))


def test_a_turn_that_a_template_would_leave_out_is_a_bad_row():
    last_only = "<|turn|>user\n{{ messages[-1].content }}<|end|>\n"
    chat = ChatTokenizer(build_tokenizer(last_only))
    assert chat.encode(talk("How many?"))
    with pytest.raises(DataError, match=r"leaves out the text of turn 1 of 3 \(user\)"):
        chat.encode(talk("How many?", "Seven.", "And then?"))


def test_a_template_that_demands_a_system_turn_is_usable_with_one():
    demanding = "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}" + TEMPLATE
    chat = ChatTokenizer(build_tokenizer(demanding))
    assert chat.encode(talk("Hello?", system="Be brief."))
    with pytest.raises(DataError, match="system first"):
        chat.encode(talk("Hello?"))


def test_a_later_system_turn_is_folded_where_only_the_first_is_known():
    first_only = (
        "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('no') }}{% endif %}"
        "{% endfor %}" + TEMPLATE
    )
    later = [*talk("Hi", "Ho", system="One."), Message(role="system", content="Two."), *talk("Go")]
    assert "<|turn|>system\nOne.<|end|>" in shown(build_tokenizer(first_only), later)
    assert "<|turn|>user\nTwo.\n\nGo<|end|>" in shown(build_tokenizer(first_only), later)


def test_a_template_that_writes_the_date_says_so():
    dated = build_tokenizer("{{ strftime_now('%Y') }} " + TEMPLATE)
    assert ChatTokenizer(dated).format().writes_date
    assert not ChatTokenizer(build_tokenizer()).format().writes_date


def test_a_reward_models_template_must_show_the_answer():
    asks = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(EngineStartError, match=r"reward 'rm': .*turn 2 of 2 \(assistant\)"):
        ChatTokenizer(build_tokenizer(asks), owner="reward 'rm'", judges_answers=True)


def test_the_renderers_own_arguments_cannot_be_given():
    with pytest.raises(EngineStartError, match=r"template_options\.tokenize cannot be set"):
        ChatTokenizer(build_tokenizer(), {"tokenize": True})


# --- several templates, and their files ---

NAMED = {"rag": "RAG {{ messages[0].content }}", "tool_use": "TOOL {{ messages[0].content }}"}


def test_of_named_templates_the_default_is_taken():
    tokenizer = build_tokenizer(None)
    tokenizer.chat_template = NAMED | {"default": "DEFAULT {{ messages[0].content }}"}
    assert shown(tokenizer, talk("x")) == "DEFAULT x"
    rag = ChatTokenizer(tokenizer, {"chat_template": "rag"}).encode(talk("x"))
    assert tokenizer.decode(rag) == "RAG x"


@pytest.mark.parametrize(("options", "names"), [({}, "rag, tool_use"), ({"chat_template": "rga"}, "rag, tool_use")])
def test_named_templates_without_the_one_wanted_are_listed(options, names):
    tokenizer = build_tokenizer(None)
    tokenizer.chat_template = NAMED
    with pytest.raises(EngineStartError, match=names):
        ChatTokenizer(tokenizer, options)


def test_a_template_of_ones_own_takes_the_place_of_none():
    tokenizer = build_tokenizer(None)
    assert not ChatTokenizer(tokenizer).has_template
    mine = ChatTokenizer(tokenizer, {"chat_template": "Q: {{ messages[0].content }}\nA:"})
    assert mine.has_template
    assert tokenizer.decode(mine.encode(talk("x"))) == "Q: x\nA:"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("chat_template.jinja", TEMPLATE),
        ("chat_template.json", json.dumps({"chat_template": TEMPLATE})),
        ("processor_config.json", json.dumps({"processor_class": "X", "chat_template": TEMPLATE})),
        ("chat_template.json", json.dumps({"chat_template": [{"name": "default", "template": TEMPLATE}]})),
    ],
)
def test_a_template_in_a_processors_file_is_found(tmp_path: Path, name: str, written: str):
    build_tokenizer(None).save_pretrained(tmp_path)
    (tmp_path / name).write_text(written)
    tokenizer = load_tokenizer(str(tmp_path), None, "teacher 'x'")
    chat = ChatTokenizer(tokenizer, model=str(tmp_path))
    assert chat.has_template
    assert chat.encode(talk("x")) == ChatTokenizer(build_tokenizer()).encode(talk("x"))


def test_named_template_files_are_found(tmp_path: Path):
    build_tokenizer(TEMPLATE).save_pretrained(tmp_path)
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text(NAMED["rag"])
    tokenizer = load_tokenizer(str(tmp_path), None, "teacher 'x'")
    assert ChatTokenizer(tokenizer).encode(talk("x")) == ChatTokenizer(build_tokenizer()).encode(talk("x"))
    assert tokenizer.decode(ChatTokenizer(tokenizer, {"chat_template": "rag"}).encode(talk("x"))) == "RAG x"


@pytest.mark.parametrize("written", ["{", "[]", '{"chat_template": 5}', '{"chat_template": [1]}', "\udcff" * 3])
def test_a_broken_processor_file_is_one_sentence(tmp_path: Path, written: str):
    build_tokenizer(None).save_pretrained(tmp_path)
    (tmp_path / "chat_template.json").write_bytes(written.encode("utf-8", "surrogateescape"))
    with pytest.raises(EngineStartError, match="chat"):
        ChatTokenizer(AutoTokenizer.from_pretrained(tmp_path), model=str(tmp_path))


# --- what a template looks for ---


def test_old_reasoning_is_stripped_as_the_templates_maker_meant():
    tokenizer = thinker()
    messages = talk("How many?", "<think>\nLet me count.\n</think>\n\nSeven.", "And then?")
    turns = [{"role": m.role, "content": m.content} for m in messages]
    expected = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert ChatTokenizer(tokenizer).encode(messages) == expected
    assert "count" not in shown(tokenizer, messages)


def test_the_reasoning_of_the_answer_to_be_judged_stays():
    tokenizer = thinker()
    messages = talk("How many?", "<think>\nLet me count.\n</think>\n\nSeven.")
    turns = [{"role": m.role, "content": m.content} for m in messages]
    expected = tokenizer.apply_chat_template(turns)["input_ids"]
    assert ChatTokenizer(tokenizer).encode(messages, is_complete=True) == expected


def test_what_a_user_says_does_not_act_on_the_templates_search():
    tokenizer = thinker()
    messages = talk("How many?", "<think>\nx\n</think>\n\nSeven.", "<reply>ignore that</reply>")
    assert "<reply>ignore that</reply>" in shown(tokenizer, messages)
    assert tokenizer.convert_tokens_to_ids("<reply>") not in ChatTokenizer(tokenizer).encode(messages)
    assert "x\n" not in shown(tokenizer, messages)  # the user's turn still counts as one


def test_a_search_by_a_name_is_found():
    template = "{% set close = '</think>' %}{% for m in messages %}<|turn|>{{ m.content.split(close)[-1] }}<|end|>{% endfor %}"
    tokenizer = thinker(template)
    assert shown(tokenizer, talk("a", "b</think>c", "d")) == "<|turn|>a<|end|><|turn|>c<|end|><|turn|>d<|end|>"


def test_hard_coded_lengths_still_fit():
    template = (
        "{% for m in messages %}<|turn|>{% if '</think>' in m.content %}"
        "{{ m.content[m.content.index('</think>') + 8:] }}{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}"
    )
    assert "<|turn|>c<|end|>" in shown(thinker(template), talk("a", "b</think>c", "d"))


CONTROLS = (*SPECIALS, "<think>", "</think>", "<reply>", "</reply>")
pieces = st.lists(
    st.sampled_from(
        [*CONTROLS, "<", "</", "<thi", "nk>", "think>", "</thi", "<|e", "nd|>", "\n", " ", "x", "\ue000"]
    ),
    max_size=10,
).map("".join)

DELETING = (
    "{% for m in messages %}<|turn|>{{ m.role }} {{ m.content.replace('</think>', '').replace('<think>', '') }}"
    "<|end|>{% endfor %}"
)
JOINING = (
    "{% for m in messages %}<|turn|>{{ m.role }} {{ m.content.split('</think>')[0] + m.content.split('</think>')[-1] }}"
    "<|end|>{% endfor %}"
)
KEEPING = (
    "{% for m in messages %}<|turn|>{% if '</think>' in m.content %}!{% endif %}{{ m.content }}<|end|>{% endfor %}"
)
PARTED = "{% for m in messages %}<|turn|>{{ m.content.partition('</think>') | join('') }}<|end|>{% endfor %}"


@cache  # training a tokenizer for each example would take nearly all of the time
def thinking_chat(template: str) -> tuple[ChatTokenizer, set[int]]:
    tokenizer = thinker(template)
    controls = {tokenizer.convert_tokens_to_ids(text) for text in CONTROLS if text in SPECIALS or text in template}
    return ChatTokenizer(tokenizer), controls


@pytest.mark.parametrize("template", [THINKING, DELETING, JOINING, KEEPING, PARTED])
@given(pieces, pieces, pieces)
def test_no_control_token_comes_out_of_a_message(template, first, second, third):
    chat, controls = thinking_chat(template)

    def count(*contents: str) -> list[int]:
        return [i for i in chat.encode(talk(*contents)) if i in controls]

    assert count(first, second, third) == count("x", "x", "x")


# --- Mistral's own tokenizers ---


@pytest.fixture(scope="module")
def mistral(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("mistral")
    shutil.copy(Path(mistral_common.__file__).parent / "data" / "tekken_240911.json", directory / "tekken.json")
    config = {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def test_a_mistral_tokenizer_writes_its_own_format(mistral: Path):
    tokenizer = load_tokenizer(str(mistral), None, "teacher 'x'")
    chat = ChatTokenizer(tokenizer, model=str(mistral))
    assert chat.has_template
    ids = chat.encode(talk("Hi [INST] </s>", system="Be brief."))
    assert [i for i in ids if i in tokenizer.all_special_ids] == tokenizer.convert_tokens_to_ids(
        ["<s>", "[INST]", "[/INST]"]
    )
    assert "Hi [INST] </s>" in chat.decode(ids)
    done = chat.encode(talk("Hi", "Ho"), is_complete=True)
    assert done[-1] == tokenizer.eos_token_id
    assert "Ho" in chat.decode(done)


def test_a_conversation_that_mistral_refuses_is_a_bad_row(mistral: Path):
    chat = ChatTokenizer(load_tokenizer(str(mistral), None, "teacher 'x'"))
    with pytest.raises(DataError, match="refuses the conversation"):
        chat.encode(talk("Hi", "Ho"))
