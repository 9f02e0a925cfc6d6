"""Reasoning left in an answer is found in every form, and an answer that speaks of it is left alone."""

import pytest
from pydantic import ValidationError

from arbitrage.contracts.rewards import Scorable
from arbitrage.records import Score
from arbitrage.rewards.language_confusion import ReasoningLanguageConfig
from arbitrage.rewards.text_checks import ReasoningLeftConfig
from arbitrage.text.reasoning import find_reasoning
from tests.support.scoring import a_pair

THOUGHT = "The user wants the capital of France. I know it is Paris."
LEFT = {
    "pair": f"<think>{THOUGHT}</think>\n\nParis.",
    "pair on one line": f"<think>{THOUGHT}</think>Paris.",
    "no opening tag": f"{THOUGHT}\n</think>\n\nParis.",
    "no opening tag, one line": f"{THOUGHT}</think>Paris.",
    "no opening tag, blanks": f"{THOUGHT} </think> Paris.",
    "unfinished": f"<think>\n{THOUGHT}",
    "unfinished, one line": f"<think>{THOUGHT}",
    "empty pair": "<think>\n\n</think>\n\nParis.",
    "closing tag first": "</think>\n\nParis.",
    "after a greeting": f"Sure!\n\n<think>\n{THOUGHT}\n</think>\n\nParis.",
    "capitals": f"<THINK>{THOUGHT}</THINK>Paris.",
    "thinking": f"<thinking>\n{THOUGHT}\n</thinking>\n\nParis.",
    "seed": f"<seed:think>{THOUGHT}</seed:think>Paris.",
    "attribute": f'<think time="3">{THOUGHT}</think>Paris.',
    "Magistral": f"[THINK]{THOUGHT}[/THINK]Paris.",
    "Magistral, no opening": f"{THOUGHT}[/THINK]Paris.",
    "gpt-oss": f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>Paris.",
    "gpt-oss, glued": f"analysis{THOUGHT}assistantfinalParis.",
    "Command A": f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>Paris.",
    "Kimi": f"◁think▷{THOUGHT}◁/think▷Paris.",
    "OpenThinker": f"<|begin_of_thought|>\n{THOUGHT}\n<|end_of_thought|>\n\nParis.",
    "MedGemma": f"<unused94>thought\n{THOUGHT}<unused95>Paris.",
    "reasoning": f"<reasoning>\n{THOUGHT}\n</reasoning>\n<answer>Paris</answer>",
    "thought": f"<thought>{THOUGHT}</thought>Paris.",
    "other script": "用户想知道法国的首都，我知道是巴黎。</think>巴黎。",
    "code within": f"<think>\n{THOUGHT}\n```\nprint(1)\n```\n</think>\nParis.",
    "control token before": f"<|start|><think>{THOUGHT}</think>Paris.",
}
SPEAKS = {
    "plain": "Paris.",
    "comparison": "If a < b and b > c, think again.",
    "inline code": "DeepSeek writes `<think>` before and `</think>` after its reasoning.",
    "fenced": "Like this:\n```\n<think>\nI should say hello to the user.\n</think>\nHello\n```\nThat is all.",
    "quoted": 'The tag "<think>" opens the reasoning, and "</think>" ends it.',
    "guillemets": "La balise «<think>» ouvre le raisonnement, «</think>» le ferme.",
    "in a sentence": "Models put their thoughts between <think> and </think> tags.",
    "closing in a sentence": "Reasoning ends with </think> in most of them.",
    "ellipsis": "Wrap it in <think>…</think> first.",
    "HTML": "<html><body><think>A custom element holds this text.</think></body></html>",
    "XML": '<?xml version="1.0"?>\n<dialogue>\n<thought>I wonder what he is up to.</thought>\n</dialogue>',
    "XML without a head": "<scene>\n<thinking>I wonder what he is up to.</thinking>\n<say>Hello</say>\n</scene>",
    "XML within": "Here is the document:\n\n<analysis>\n  <item>The sales grew in spring.</item>\n</analysis>\n",
    "quotation": "They printed:\n\n> <think> let me see what this is about\n\nand stopped.",
}


@pytest.mark.parametrize("text", LEFT.values(), ids=LEFT.keys())
def test_reasoning_is_found(text: str) -> None:
    assert find_reasoning(text)
    assert find_reasoning("\n " + text)
    assert ReasoningLeftConfig().build().score_one(a_pair(text)).value == 0.0


@pytest.mark.parametrize("text", SPEAKS.values(), ids=SPEAKS.keys())
def test_text_about_reasoning_is_not_left_reasoning(text: str) -> None:
    assert find_reasoning(text) is None
    assert find_reasoning(text, "What do <think> and </think>, `<thought>` and `<analysis>` mean?") is None
    assert ReasoningLeftConfig().build().score_one(a_pair(text)).value == 1.0


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("What is <think>?", "<think> and </think> are tags that reasoning models write around their thoughts."),
        ("What is <think>?", "<think> is a tag that reasoning models write."),
        (
            "Answer as <reasoning>…</reasoning><answer>…</answer>",
            f"<reasoning>{THOUGHT}</reasoning><answer>Paris</answer>",
        ),
    ],
)
def test_a_prompt_may_request_the_same_tag(prompt: str, text: str) -> None:
    assert find_reasoning(text, prompt) is None


@pytest.mark.parametrize("text", [LEFT["pair"], LEFT["no opening tag"], LEFT["after a greeting"]])
def test_reasoning_requested_by_a_prompt_is_reasoning(text: str) -> None:
    assert find_reasoning(text, "Think inside <think> and </think>, then answer. The capital of France?")


def test_the_word_think_in_a_prompt_names_no_tag() -> None:
    assert find_reasoning(LEFT["unfinished, one line"], "What do you think is the capital of France?")


ENGLISH = "The user asks about the capital of France. I should answer in the language of the question, and be brief."
FRENCH = "L'utilisateur demande quelle est la capitale de la France. Je dois répondre brièvement, en français."


def _reasoned(reasoning: str | None, expect: str, language: str = "fr") -> Score:
    pair = a_pair("Paris est la capitale de la France.")
    item = Scorable(
        pair.prompt.model_copy(update={"language": language}),
        pair.candidate.model_copy(update={"reasoning": reasoning}),
    )
    return ReasoningLanguageConfig(expect=expect).build().score_one(item)


@pytest.mark.parametrize(
    ("reasoning", "expect", "value"),
    [
        (FRENCH, "prompt", 1.0),
        (ENGLISH, "prompt", 0.0),
        (FRENCH, "en", 0.0),
        (ENGLISH, "en", 1.0),
        (ENGLISH, "eng", 1.0),
        (ENGLISH, "any", 1.0),
        (FRENCH, "any", 1.0),
    ],
)
def test_reasoning_is_checked_against_the_language_expected(reasoning: str, expect: str, value: float) -> None:
    assert _reasoned(reasoning, expect).value == value


@pytest.mark.parametrize("expect", ["prompt", "en", "any"])
@pytest.mark.parametrize("reasoning", [None, "", " \n"])
def test_without_reasoning_there_is_no_value(reasoning: str | None, expect: str) -> None:
    assert _reasoned(reasoning, expect).error == "no_reasoning"


def test_reasoning_that_cannot_be_told_has_a_reason() -> None:
    assert _reasoned("$x = 1$", "prompt").error == "no_text"
    assert _reasoned("Paris", "prompt").error == "too_short"
    assert _reasoned(ENGLISH, "prompt", "und").error == "unknown_language"
    assert _reasoned(ENGLISH, "en", "und").value == 1.0


def test_mixed_reasoning_passes_in_part() -> None:
    value = _reasoned(f"{FRENCH}\n\n{ENGLISH}", "prompt").value
    assert value is not None
    assert 0.3 < value < 0.7


def test_the_check_is_no_filter_unless_asked_and_names_itself() -> None:
    config = ReasoningLanguageConfig()
    assert (config.filter, config.expect, config.reward_name) == (False, "prompt", "reasoning-language@1")


@pytest.mark.parametrize("expect", ["english", "", "en_US.UTF-8", "prompts"])
def test_an_expectation_that_is_no_language_is_refused(expect: str) -> None:
    with pytest.raises(ValidationError, match="is not one of prompt, any, and no BCP-47 tag"):
        ReasoningLanguageConfig(expect=expect)
