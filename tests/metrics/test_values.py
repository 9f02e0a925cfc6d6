"""Values worked out by hand, in eight scripts; what is not defined is null, with its reason."""

from typing import Any

import pytest

from arbitrage.metrics.code_switch import CodeSwitchConfig
from arbitrage.metrics.compression import CompressionConfig
from arbitrage.metrics.distinct import DistinctConfig
from arbitrage.metrics.formatting import FormattingConfig
from arbitrage.metrics.hdd import HddConfig, hdd
from arbitrage.metrics.language_confusion import LanguageConfusionMetricConfig
from arbitrage.metrics.length import LengthConfig
from arbitrage.metrics.mtld import MtldConfig, mtld
from arbitrage.metrics.readability import ReadabilityConfig
from arbitrage.metrics.repetition import RepetitionMetricConfig
from arbitrage.metrics.script_share import ScriptShareConfig
from arbitrage.text.measured import Measured
from arbitrage.text.segmentation import split_sentences, split_words
from arbitrage.text.text import Text
from tests.support.prose import PROSE

TEXTS = {
    # language: text, characters, words, sentences, different words
    "en": ("The cat saw the dog. The dog ran!", 33, 8, 2, 5),
    "ru": ("Кот видит кота. Пёс спит.", 25, 5, 2, 5),
    "ar": ("أنا أحب القراءة. هل تحب القراءة؟", 32, 6, 2, 5),
    "hi": ("मैं भारत में रहता हूँ। भारत बड़ा है।", 36, 8, 2, 7),
    "zh": ("我爱北京天安门。我们去北京。", 14, 7, 2, 6),
    "ja": ("東京は大きい。東京に行く。", 13, 6, 2, 5),
    "th": ("ผมรักประเทศไทย", 14, 3, None, 3),
    "el": ("Η γάτα κοιμάται. Η γάτα τρώει.", 30, 6, 2, 4),
    "ko": ("나는 학교에 간다. 나는 집에 간다.", 20, 6, 2, 4),
}


def measure(config: Any, text: str, language: str = "en") -> Measured:
    [found] = config.build().measure([Text(text, language)])
    return found


@pytest.mark.parametrize("language", TEXTS)
def test_lengths_by_hand(language: str) -> None:
    text, characters, words, sentences, _ = TEXTS[language]
    assert measure(LengthConfig(unit="characters"), text, language).value == characters
    assert measure(LengthConfig(unit="words"), text, language).value == words
    wanted = Measured(float(sentences)) if sentences else Measured(reason="undefined_language")
    assert measure(LengthConfig(unit="sentences"), text, language) == wanted


@pytest.mark.parametrize("language", TEXTS)
def test_shares_of_different_words_by_hand(language: str) -> None:
    text, _, words, _, types = TEXTS[language]
    assert measure(DistinctConfig(n=1), text, language).value == pytest.approx(types / words)


def test_words_in_scripts_without_spaces() -> None:
    assert split_words("ผมรักประเทศไทย", "th") == ["ผม", "รัก", "ประเทศไทย"]
    assert split_words("我爱北京天安门", "zh") == ["我", "爱", "北京", "天安门"]
    assert split_words("東京に行く", "ja") == ["東京", "に", "行く"]


def test_words_that_are_elided_are_parted_where_that_is_written() -> None:
    assert split_words("L'homme qu’il aime aujourd'hui", "fr")[:5] == ["L", "homme", "qu", "il", "aime"]
    assert split_words("I don't know", "en") == ["I", "don't", "know"]


def test_sentences_do_not_end_after_titles_and_initials() -> None:
    assert len(split_sentences("Mr. Smith met J. K. Rowling. They spoke.", "en")) == 2
    assert len(split_sentences("Das gilt z. B. Herrn Dr. Müller. Er kam. Ja.", "de")) == 3
    assert len(split_sentences("one line\nanother line", "en")) == 2


def test_words_are_those_of_prose() -> None:
    text = "1. Use `print(x)` now.\n- See https://example.org/a/b\n```py\nprint(1)\n```"
    assert Text(text, "en").words == ["Use", "now", "See"]


def test_mtld_by_hand() -> None:
    # a b a b: the ratio falls to 2/3 < 0.72 at the third token. One factor, then 'b' alone is no part of one: 4 / 1.
    assert mtld(list("abab")) == pytest.approx(4.0)
    # a a: 1/2 at the second token, a factor; forwards and backwards: 6 tokens, 3 factors.
    assert mtld(list("aaaaaa")) == pytest.approx(2.0)
    # a b c a: 3/4 at the end, which is (1 − 0.75) / (1 − 0.72) of a factor.
    assert mtld(list("abca")) == pytest.approx(4 / (0.25 / 0.28))


def test_mtld_where_the_ratio_equals_the_threshold() -> None:
    tokens = [str(i) for i in range(18)] + ["0"] * 7  # 18 types of 25 tokens: 0.72 exactly, forwards
    forwards_below = 25 / ((1 - 18 / 25) / (1 - 0.72))
    assert mtld(tokens, at_or_below=True) == mtld(tokens)  # a whole factor either way: 0.28 / 0.28
    assert forwards_below == pytest.approx(25.0)


@pytest.mark.parametrize(("text", "reason"), [("", "no_text"), ("...", "no_text"), ("too short", "too_short")])
def test_diversity_of_next_to_nothing_is_null(text: str, reason: str) -> None:
    assert measure(MtldConfig(), text).reason == reason
    assert measure(HddConfig(), text).reason == reason


def test_mtld_of_a_text_that_repeats_nothing_is_null() -> None:
    words = " ".join(f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(60))
    assert measure(MtldConfig(), words) == Measured(reason="too_short")


def test_hdd_by_hand() -> None:
    # Draw 2 of a a b: 'a' is missed never (C(1,2) = 0), 'b' with chance C(2,2)/C(3,2) = 1/3: (1 + 2/3) / 2.
    assert hdd(["a", "a", "b"], draws=2) == pytest.approx((1 + 2 / 3) / 2)


def test_readability_by_hand() -> None:
    # 10 words, 2 sentences, 3 words of 7 letters and more (elephant, yesterday, village).
    text = "The elephant left us yesterday. No one in the village."
    assert measure(ReadabilityConfig(formula="lix"), text).value == pytest.approx(10 / 2 + 100 * 3 / 10)
    assert measure(ReadabilityConfig(formula="rix"), text).value == pytest.approx(3 / 2)
    # By the patterns yes-ter-day has three syllables, ele-phant and vil-lage two.
    assert measure(ReadabilityConfig(formula="gunning_fog"), text).value == pytest.approx(0.4 * (5 + 10))


@pytest.mark.parametrize("language", ["zh", "ja", "th", "ar", "hi", "ko", "vi", "tr", "sw"])
@pytest.mark.parametrize("formula", ["lix", "rix", "gunning_fog", "flesch"])
def test_readability_is_null_where_no_formula_holds(language: str, formula: Any) -> None:
    found = measure(ReadabilityConfig(formula=formula, min_words=1), TEXTS.get(language, TEXTS["en"])[0], language)
    assert found == Measured(reason="undefined_language")


def test_readability_in_further_languages_on_request() -> None:
    text = "Ala ma kota, a kot ma Alę. Przyjaciele przyjechali wczoraj wieczorem do Warszawy."
    assert measure(ReadabilityConfig(formula="lix", also=("pl",)), text, "pl").value is not None
    assert measure(ReadabilityConfig(formula="flesch", also=("pl",)), text, "pl").reason == "undefined_language"


def test_reading_ease_falls_as_sentences_get_harder() -> None:
    easy = "The cat sat on the mat. The dog saw the cat. It ran to the door."
    hard = (
        "Notwithstanding considerable institutional opposition, representatives subsequently renegotiated agreements."
    )
    metric = ReadabilityConfig(formula="flesch", min_words=5)
    assert measure(metric, easy).value > 80 > 0 > measure(metric, hard).value


REPEATED = {
    # 24 words (units) and more, the second half a repetition of the first
    "en": ("one two three four five six seven eight nine ten eleven twelve " * 2, 24 - 3, 12),
    "zh": ("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏" * 2, 48 - 7, 24),
    "th": ("กขคงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝ" * 2, 52 - 7, 26),
}


@pytest.mark.parametrize("language", REPEATED)
def test_repetition_by_hand(language: str) -> None:
    text, num_ngrams, num_different = REPEATED[language]
    found = measure(RepetitionMetricConfig(of="ngrams"), text, language)
    assert found.value == pytest.approx(1 - num_different / num_ngrams)


def test_repeated_lines_and_compression() -> None:
    line = "The same line once again.\n"
    assert measure(RepetitionMetricConfig(of="lines"), line * 4).value == pytest.approx(3 / 4)
    assert measure(RepetitionMetricConfig(of="lines"), "short\n" * 4).reason == "too_short"
    assert measure(CompressionConfig(), line * 40).value > 10
    assert measure(CompressionConfig(), "\n".join(PROSE.values())).value < 3
    assert measure(CompressionConfig(), "short").reason == "too_short"


@pytest.mark.parametrize("language", PROSE)
def test_text_in_its_language_and_script(language: str) -> None:
    text = PROSE[language]
    assert measure(ScriptShareConfig(), text, language).value == 1.0
    assert measure(LanguageConfusionMetricConfig(), text, language).value == 1.0
    assert measure(CodeSwitchConfig(), text, language).value == 0.0


@pytest.mark.parametrize("language", [tag for tag in PROSE if tag != "en"])
def test_half_english_is_half_faithful_and_switches_code(language: str) -> None:
    text = f"{PROSE[language]}\n{PROSE['en']}"
    assert 0.2 < measure(LanguageConfusionMetricConfig(), text, language).value < 0.8
    assert 0.2 < measure(CodeSwitchConfig(), text, language).value <= 0.5
    assert 0.1 < measure(ScriptShareConfig(), text, language).value < 0.8


def test_all_in_the_wrong_language_is_unfaithful_but_switches_nothing() -> None:
    assert measure(LanguageConfusionMetricConfig(), PROSE["en"], "zh").value == 0.0
    assert measure(CodeSwitchConfig(), PROSE["en"], "zh").value == 0.0


@pytest.mark.parametrize("config", [LanguageConfusionMetricConfig(), ScriptShareConfig(), CodeSwitchConfig()])
def test_an_unknown_language_is_null(config: Any) -> None:
    assert measure(config, PROSE["en"], "und") == Measured(reason="unknown_language")


ANSWER = """# Title

Some **bold** words.

1. first
2. second
- third

| a | b |
```py
x = 1
```
"""


@pytest.mark.parametrize(
    ("aspect", "value"),
    [
        ("lists", 3 / 6),
        ("headings", 1 / 6),
        ("tables", 1 / 6),
        ("bold", 1 / 6),
        ("markdown", 9 / 9),
        ("code", 11 / 61),
        ("emoji", 0.0),
    ],
)
def test_layout_by_hand(aspect: Any, value: float) -> None:
    assert measure(FormattingConfig(aspect=aspect), ANSWER).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "emoji", "visible"),
    [("hi 👍🏽", 2, 4), ("ok 👩‍💻!", 3, 6), ("🇩🇪", 2, 2), ("1️⃣", 3, 3), ("❤️", 2, 2), ("© 2024 ™ 1 # *", 0, 9)],
)
def test_emoji_by_hand(text: str, emoji: int, visible: int) -> None:
    assert measure(FormattingConfig(aspect="emoji"), text).value == pytest.approx(emoji / visible)


@pytest.mark.parametrize("text", ["- item", "* item", "3) item", "• item", "①项目", "2、项目"])
def test_items_of_lists(text: str) -> None:
    assert measure(FormattingConfig(aspect="lists"), text).value == 1.0


@pytest.mark.parametrize("text", ["-5 degrees", "*emphasis* only", "1984 was a year", "3.14 is pi", "– dash"])
def test_what_is_no_item_of_a_list(text: str) -> None:
    assert measure(FormattingConfig(aspect="lists"), text).value == 0.0
