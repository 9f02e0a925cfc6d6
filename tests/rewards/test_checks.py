"""Text checks: each tells a good answer from a bad one, in several scripts, and abstains where it cannot know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.contracts.rewards import Scorable
from arbitrage.records import FinishReason
from arbitrage.rewards.text_checks import (
    EmptinessConfig,
    ExactConfig,
    RefusalConfig,
    RepetitionCheckConfig,
    TruncationConfig,
    fold,
    phrases,
)
from arbitrage.text.repetition import repeated_share
from tests.support.prose import PROSE
from tests.support.scoring import a_candidate, a_pair, a_prompt


def value_of(config: object, item: Scorable) -> float | None:
    return config.build().score_one(item).value  # type: ignore[attr-defined, no-any-return]


def error_of(config: object, item: Scorable) -> str | None:
    return config.build().score_one(item).error  # type: ignore[attr-defined, no-any-return]


def test_truncation() -> None:
    prompt = a_prompt()
    cut = Scorable(prompt=prompt, candidate=a_candidate(prompt, "It is", FinishReason.LENGTH))
    assert value_of(TruncationConfig(), cut) == 0.0
    assert value_of(TruncationConfig(), a_pair("It is red.")) == 1.0


@pytest.mark.parametrize("text", ["", " \n\t", "...", "—", "\u200b\u200f", "\x00", "。、"])
def test_texts_that_say_nothing(text: str) -> None:
    assert value_of(EmptinessConfig(), a_pair(text)) == 0.0


@pytest.mark.parametrize("text", ["4", "+", "👍", "أ", "は", " x "])
def test_texts_that_say_something(text: str) -> None:
    assert value_of(EmptinessConfig(), a_pair(text)) == 1.0


def test_emptiness_can_require_more() -> None:
    assert value_of(EmptinessConfig(min_characters=3), a_pair("a, b")) == 0.0
    assert value_of(EmptinessConfig(min_characters=3), a_pair("a, b, c")) == 1.0


@pytest.mark.parametrize("language", PROSE)
def test_prose_does_not_repeat_itself_and_loops_do(language: str) -> None:
    config = RepetitionCheckConfig()
    prose = value_of(config, a_pair(PROSE[language], language))
    assert prose is not None
    assert prose > 0.9
    sentence = PROSE[language][:60]
    joint = "" if language in ("zh", "th", "ja") else " "
    for loop in (
        joint.join([sentence] * 12),
        "\n".join([sentence] * 12),
        PROSE[language] + joint.join([sentence] * 8),
    ):
        looped = value_of(config, a_pair(loop, language))
        assert looped is not None
        assert looped < config.minimum


def test_repetition_abstains_on_short_answers() -> None:
    assert error_of(RepetitionCheckConfig(), a_pair("red red red")) == "too_short"
    assert error_of(RepetitionCheckConfig(), a_pair("红色红色")) == "too_short"


LOOPS = {
    "markup": "<h2>" * 96,
    "line breaks": "<br>\n" * 96,
    "full-width commas": "，" * 80,
    "emoji": "😂" * 70,
    "emoji with blanks": "👍 🏽 " * 40,
    "exclamation marks": "!" * 400,
    "zeros": "0" * 300,
    "dashes without end": "-" * 3000,
    "rules without end": "---\n" * 200,
    "one letter": "a" * 500,
    "one syllable": "ha" * 60,
    "short lines": "ok\n" * 100,
    "Han": "税金、" * 40,
    "Thai": "ดี" * 60,
    "table rows": "| a | b |\n" * 60,
    "LaTeX": "\\frac{1}{2}" * 30,
}


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS.keys())
def test_loops_of_anything_are_seen(text: str) -> None:
    found = value_of(RepetitionCheckConfig(), a_pair(text))
    assert found is not None
    assert found < 0.3


@pytest.mark.parametrize("language", PROSE)
@pytest.mark.parametrize(
    "unit", ["<h2>", "，", "and so on, and on, and on, ", "The answer is therefore 42, as said. ", "税金、"]
)
def test_a_loop_at_the_end_of_a_long_answer_is_seen(language: str, unit: str) -> None:
    good = "\n".join(f"{i}. {PROSE[language]} ({i * i})" for i in range(1, 4)) * 3
    cut_off = good + " " + (unit * 400)[: max(330, 17 * len(unit) - 2)]
    found = value_of(RepetitionCheckConfig(), a_pair(cut_off, language))
    assert found is not None
    assert found < RepetitionCheckConfig().minimum


NO_LOOPS = {
    "table": "| Year | Sales | Cost |\n|------|-------|------|\n"
    + "\n".join(f"| {1990 + i} | {i * 137 % 1000} | {i * 59 % 500} |" for i in range(20)),
    "table of ticks": "| Feature | A | B |\n|:---|:---:|:---:|\n"
    + "\n".join(f"| {name} | ✓ | ✗ |" for name in ["speed", "size", "price", "colour", "weight"]),
    "long rule": "Total: 5\n" + "-" * 80 + "\nDone",
    "ends on a rule": "A short text about the matter.\n\n" + "=" * 100,
    "contents": "Introduction" + "." * 60 + "1\nMethods" + "." * 65 + "14\nResults" + "." * 65 + "27",
    "code": "```c\n" + "\n".join(f"    {{{i}, {i * 7}, 0x{i * 31:02x}}}," for i in range(30)) + "\n};\n```",
    "closing braces": "```\nif a {\n    if b {\n        if c {\n            d();\n        }\n    }\n}\n```",
    "list": "\n".join(
        f"- {w}"
        for w in ["apples", "pears", "plums", "cherries", "figs", "dates", "limes", "kiwis", "nuts", "beans"] * 1
    ),
    "refrain": "\n\n".join(
        f"{verse}\nHey ho, the wind and the rain."
        for verse in (
            "At dawn the river runs below the hill,\nthe miller sleeps, the wheel stands still.",
            "At noon the children come with bread and wine\nand sit together underneath the pine.",
            "At dusk an old man carries home his nets,\nand all that he remembers he forgets.",
        )
    ),
    "song": "We walked along the shore till the lamps were lit,\nand sang of a ship and the captain of it.\n"
    + "La la la la la\n" * 3,
    "address": "https://example.org/articles/2024/05/a-long-way-home-from-the-mountains-to-the-sea?page=2&sort=asc",
    "base64": "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJ",
    "digits": "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706",
    "multiplication": "\n".join(f"7 × {i} = {7 * i}" for i in range(1, 13)),
    "dialogue": "\n".join(f"A: {q}\nB: Yes." for q in ("Hungry?", "Cold?", "Tired?", "Ready to go home now?")),
}


@pytest.mark.parametrize("text", NO_LOOPS.values(), ids=NO_LOOPS.keys())
def test_layout_is_no_loop(text: str) -> None:
    found = value_of(RepetitionCheckConfig(), a_pair(text))
    assert found is None or found >= RepetitionCheckConfig().minimum


def test_a_long_word_without_spaces_is_still_seen_through() -> None:
    assert value_of(RepetitionCheckConfig(), a_pair(("ha" * 2000 + " ") * 30)) == pytest.approx(0.0, abs=0.1)


def test_repeated_share_by_hand() -> None:
    assert repeated_share(list("abcd"), 2) == 0.0
    assert repeated_share(list("ababab"), 2) == pytest.approx(3 / 5)  # ab ba ab ba ab
    assert repeated_share(["a"], 4) == 0.0


@given(st.lists(st.text(min_size=1, max_size=8), max_size=80), st.integers(2, 5))
def test_repetition_is_a_share_and_doubling_a_text_never_helps(words: list[str], times: int) -> None:
    once = value_of(RepetitionCheckConfig(), a_pair(" ".join(words)))
    more = value_of(RepetitionCheckConfig(), a_pair(" ".join(words * times)))
    assert once is None or 0.0 <= once <= 1.0
    if once is not None:
        assert more is not None
        assert more <= once + 1e-9


REFUSALS = {
    "en": "I’m sorry, but I can’t help with that.",
    "de": "Es tut mir leid, aber ich kann diese Frage nicht beantworten.",
    "fr": "Je suis désolé, mais je ne peux pas répondre à cette question.",
    "es": "Lo siento, pero no puedo ayudarte con eso.",
    "pt": "Desculpe, mas não posso ajudar com isso.",
    "it": "Mi dispiace, ma non posso rispondere.",
    "nl": "Het spijt me, maar ik kan u hier niet mee helpen.",
    "pl": "Przykro mi, ale nie mogę w tym pomóc.",
    "ru": "Извините, но я не могу помочь с этим.",
    "uk": "Вибачте, але я не можу з цим допомогти.",
    "tr": "Üzgünüm, ancak bu konuda yardımcı olamam.",
    "ar": "عذرًا، لا أستطيع مساعدتك في ذلك.",
    "he": "אני מצטער, אבל אני לא יכול לעזור בכך.",
    "fa": "متأسفم، اما نمی‌توانم در این مورد کمک کنم.",
    "hi": "मुझे खेद है, लेकिन मैं इसमें मदद नहीं कर सकता।",
    "bn": "দুঃখিত, আমি এই বিষয়ে সাহায্য করতে পারব না।",
    "zh": "很抱歉，我无法回答这个问题。",
    "ja": "申し訳ありませんが、その質問にはお答えできません。",
    "ko": "죄송하지만 그 요청은 도와드릴 수 없습니다.",
    "th": "ขออภัย ฉันไม่สามารถช่วยเรื่องนี้ได้",
    "vi": "Xin lỗi, tôi không thể giúp bạn việc này.",
    "id": "Maaf, saya tidak dapat membantu Anda.",
    "sw": "Samahani, siwezi kukusaidia na hilo.",
}


@pytest.mark.parametrize("language", REFUSALS)
def test_refusals(language: str) -> None:
    assert value_of(RefusalConfig(), a_pair(REFUSALS[language], language)) == 0.0
    assert value_of(RefusalConfig(), a_pair(REFUSALS[language], "en")) == 0.0  # whatever the prompt's language


@pytest.mark.parametrize("language", PROSE)
def test_prose_is_no_refusal(language: str) -> None:
    assert value_of(RefusalConfig(), a_pair(PROSE[language], language)) == 1.0


def test_an_answer_after_an_apology_is_an_answer() -> None:
    assert value_of(RefusalConfig(), a_pair("I'm sorry, but I can't choose one. " + PROSE["en"] * 4)) == 1.0
    assert value_of(RefusalConfig(), a_pair("He wrote: 'red'. " + "x " * 80 + "I'm sorry, but I can't")) == 1.0


def test_phrases_are_written_as_texts_are_folded() -> None:
    assert len(phrases()) >= 14
    for language, found in phrases().items():
        assert len(found) == len(set(found)), language
        for phrase in found:
            assert phrase.rstrip() == " ".join(phrase.lower().split()), (language, phrase)
            assert value_of(RefusalConfig(), a_pair(fold(phrase.replace("…", " ")) + " x")) == 0.0


def test_exact() -> None:
    config = ExactConfig()
    assert value_of(config, a_pair("Red.", reference="red")) == 1.0
    assert value_of(config, a_pair("Blue", reference="red")) == 0.0
    assert value_of(config, a_pair("", reference="red")) == 0.0
    assert value_of(config, a_pair("KIRMIZI", "tr", reference="kırmızı")) == 1.0
    assert value_of(config, a_pair("KIRMIZI", "tr-TR", reference="kırmızı")) == 1.0
    assert value_of(config, a_pair("٧", "ar", reference="7")) == 1.0
    assert error_of(config, a_pair("Red.")) == "no_reference"
    assert not config.filter


@pytest.mark.parametrize(
    ("language", "answer", "reference"),
    [
        ("en", "She sells 16 - 3 - 4 = 9 eggs for $2 each, so she makes 9 * 2 = 18 dollars.", "18"),
        ("en", "The answer is **18**.", "18"),
        ("en", "so $\\boxed{18}$ as shown in step 3", "18"),
        ("en", "He runs 3 miles.\n#### 18", "18"),
        ("en", "18", "Janet has 16 eggs.\n#### 18"),
        ("fr", "Cela fait 18 250 euros.", "18250"),
        ("fr", "Cela fait 18\u202f250 euros.", "18250"),
        ("de", "Das sind 18.250 Euro.", "18250"),
        ("de", "Das sind 3,5 Liter.", "3.5"),
        ("en", "That is 1,234,567.5 in all.", "1234567.5"),
        ("hi", "कुल १,२३,४५६ रुपये", "123456"),
        ("ar", "الإجابة هي ١٨٬٢٥٠", "18250"),
        ("th", "คำตอบคือ ๑๘ บาท", "18"),
        ("bn", "উত্তর হল ১৮", "18"),
        ("zh", "所以答案是１８个。", "18"),
        ("ru", "Ответ: −3", "-3"),
        ("en", "exactly one half, that is 1/2", "0.5"),
        ("en", "about 1.5 × 10³ m", "1500"),
        ("en", "$18.00", "18"),
        ("en", "7", "7,0"),
    ],
)
def test_a_number_is_right_wherever_the_answer_ends_on_it(language: str, answer: str, reference: str) -> None:
    assert value_of(ExactConfig(), a_pair(answer, language, reference=reference)) == 1.0


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("18 or 19", "18"),
        ("18,000", "18"),
        ("GPT-4", "4"),
        ("-18", "18"),
        ("1234", "1.234"),
        ("no number at all", "18"),
        ("", "18"),
        ("The colour is red.", "red"),
    ],
)
def test_another_number_and_a_word_in_a_sentence_are_wrong(answer: str, reference: str) -> None:
    assert value_of(ExactConfig(), a_pair(answer, reference=reference)) == 0.0


@pytest.mark.parametrize(
    ("match", "answer", "reference", "is_right"),
    [
        ("whole", "It is 18", "18", False),
        ("whole", "18.", "18", True),
        ("last_number", "18 eggs", "18", True),
        ("last_number", "red", "red", False),
        ("contains", "The capital is Paris, of course.", "paris", True),
        ("contains", "The Parisians say so.", "Paris", False),
        ("contains", "法国的首都是巴黎。", "巴黎", True),
        ("contains", "It was 18, not 19.", "18", True),
        ("contains", "It was 180.", "18", False),
        ("final_answer", "I thought of Rome.\n**Answer:** Paris", "Paris", True),
        ("final_answer", "Ich dachte an Rom.\nAntwort: Paris.", "Paris", True),
        ("final_answer", "ローマではない。\n答え：パリ", "パリ", True),
        ("final_answer", "<answer>Paris</answer> as I said", "Paris", True),
        ("final_answer", "I thought of it.\n\nParis", "Paris", True),
        ("final_answer", "Paris\n\nI thought of Rome.", "Paris", False),
        ("final_answer", "Step 2: 7.\nAnswer: 18 eggs, see step 2", "18", False),
        ("final_answer", "Step 2: 7.\nAnswer: 18 eggs", "18", True),
    ],
)
def test_what_is_compared_can_be_chosen(match: str, answer: str, reference: str, is_right: bool) -> None:
    config = ExactConfig(match=match)  # type: ignore[arg-type]
    assert value_of(config, a_pair(answer, reference=reference)) == float(is_right)
