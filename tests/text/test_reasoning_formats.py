"""Reasoning is taken out of a completion's text by its format's marks, and nothing else is."""

import pytest

from arbitrage.text.reasoning_formats import FORMATS, SplitText, format_named, format_of, split_text

THINK = FORMATS["think"]


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("think", "<think>\nSie fragt.\n</think>\n\nHallo.", SplitText("Hallo.", "Sie fragt.")),
        ("think", "  \n<think>x</think>  Hallo.", SplitText("  Hallo.", "x")),
        ("think", "<think></think>Hallo.", SplitText("Hallo.", None)),
        ("think", "<think>\nwithout an end", SplitText("", "without an end", is_open=True)),
        ("think", "x</think>\nHallo.", SplitText("Hallo.", "x")),
        ("think", "Hallo.", SplitText("Hallo.")),
        ("think", "Write `</think>` after it.", SplitText("Write `</think>` after it.")),
        ("think", "```xml\n<think>x</think>\n```", SplitText("```xml\n<think>x</think>\n```")),
        ("think", "<think>a</think>Hallo: </think>!", SplitText("Hallo: </think>!", "a")),
        ("mistral", "[THINK]plan[/THINK]Bonjour", SplitText("Bonjour", "plan")),
        ("gemma", "<|channel>thought\nplan<channel|>Ciao", SplitText("Ciao", "plan")),
        ("cohere", "<|START_THINKING|>p<|END_THINKING|><|START_RESPONSE|>Hi<|END_RESPONSE|>", SplitText("Hi", "p")),
        ("seed", "<seed:think>p</seed:think>你好", SplitText("你好", "p")),
        ("kimi", "◁think▷p◁/think▷你好", SplitText("你好", "p")),
        ("hunyuan", "<think>\np\n</think>\n<answer>\n你好\n</answer>", SplitText("你好", "p")),
        (
            "harmony",
            "<|channel|>analysis<|message|>p<|end|><|start|>assistant<|channel|>final<|message|>Hola",
            SplitText("Hola", "p"),
        ),
        ("harmony", "<|channel|>analysis<|message|>p", SplitText("", "p", is_open=True)),
        ("harmony", "<|channel|>analysis<|message|>p<|end|><|start|>assistant", SplitText("", "p", is_open=True)),
        ("harmony", "<|channel|>final<|message|>Hola<|return|>", SplitText("Hola")),
        (
            "harmony",
            "<|channel|>analysis<|message|>p<|end|><|start|>assistant<|channel|>commentary<|message|>q<|end|>"
            "<|start|>assistant<|channel|>final <|constrain|>json<|message|>{}",
            SplitText("{}", "p\n\nq"),
        ),
        ("harmony", "Hola", SplitText("Hola")),
    ],
)
def test_each_format_is_split(name: str, text: str, wanted: SplitText) -> None:
    assert split_text(text, FORMATS[name]) == wanted


def test_where_the_template_opens_the_reasoning_decides() -> None:
    speaks_of_it = "The tag </think> ends it."
    assert split_text(speaks_of_it, THINK, begins_inside=False) == SplitText(speaks_of_it)
    assert split_text("a `</think>` b", THINK, begins_inside=True) == SplitText("` b", "a `")
    assert split_text("never ends", THINK, begins_inside=True) == SplitText("", "never ends", is_open=True)


def test_formats_are_known_by_the_names_that_vllm_gives_them() -> None:
    assert format_named("qwen3") is THINK
    assert format_named("openai_gptoss") is FORMATS["harmony"]
    with pytest.raises(ValueError, match=r"'qwen33' is no reasoning format .did you mean 'qwen3'"):
        format_named("qwen33")


@pytest.mark.parametrize(
    ("vocabulary", "template", "wanted"),
    [
        (("<think>", "</think>"), "", "think"),
        ((), "{% if x %}<think>\n\n</think>{% endif %}", "think"),
        (("[THINK]", "[/THINK]"), "", "mistral"),
        (("<|channel|>", "<|message|>", "<|end|>", "<|start|>"), "", "harmony"),
        (("<|end|>",), "<|user|>{{ x }}<|end|>", None),
        (("<s>",), "{{ messages }}", None),
    ],
)
def test_a_model_s_own_files_tell_its_format(vocabulary: tuple[str, ...], template: str, wanted: str | None) -> None:
    found = format_of({token: i for i, token in enumerate(vocabulary)}, template)
    assert (found.name if found else None) == wanted


@pytest.mark.parametrize(
    "text", ["<think>" * 9_000, "</think>" * 8_000, "<|channel|>analysis<|message|>" * 2_000, "<" * 64_000]
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    for marks in FORMATS.values():
        split_text(text, marks)
