"""Language fidelity: the right language passes, English fails, and what cannot be told is left alone."""

from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from arbitrage.prose import count_words, prose
from arbitrage.rewards.fidelity import FidelityConfig, judge_fidelity
from arbitrage.scripts import scripts_of_language
from arbitrage.world.tasks import LANGUAGES, items
from tests.support.scoring import a_pair
from tests.test_checks import PROSE

MTBENCH = Path(__file__).parents[2] / "shared/data/mtbench_multilingual/model_answers_6models.parquet"

LATIN = {
    "de": "Der Fluss entspringt in den Bergen und fließt durch drei Länder, bevor er das Meer erreicht.",
    "fr": "La rivière prend sa source dans les montagnes et traverse trois pays avant de rejoindre la mer.",
    "sw": "Mto huu unaanzia milimani na kupita katika nchi tatu kabla ya kufika baharini kwa utulivu.",
    "tr": "Nehir dağlardan doğar ve denize ulaşmadan önce üç ülkeden geçerek uzun bir yol alır.",
}


@pytest.mark.parametrize("language", [*PROSE, *LATIN])
def test_the_right_language_passes_and_english_fails(language: str) -> None:
    right = judge_fidelity((PROSE | LATIN)[language], language)
    assert right.value is not None
    assert right.value > 0.95
    if language != "en":
        assert judge_fidelity(PROSE["en"], language).value == 0.0
        assert judge_fidelity((PROSE | LATIN)[language], "en").value == 0.0


@pytest.mark.parametrize(
    ("language", "answer"),
    [("ru", "red"), ("th", "red"), ("zh", "red"), ("ja", "Red"), ("ar", "Red."), ("hi", "two"), ("en", "красный")],
)
def test_one_word_of_the_wrong_script_fails(language: str, answer: str) -> None:
    assert judge_fidelity(answer, language).value == 0.0


@pytest.mark.parametrize(
    ("language", "answer"), [("es", "red"), ("sw", "kirmizi"), ("ru", "красный"), ("zh", "红色"), ("ar", "أحمر")]
)
def test_one_word_of_a_shared_script_is_left_alone(language: str, answer: str) -> None:
    assert judge_fidelity(answer, language).error == "too_short"


@pytest.mark.parametrize(("language", "answer"), [("th", "สีแดง"), ("ja", "あか"), ("ko", "빨강"), ("el", "κόκκινο")])
def test_one_word_of_a_script_of_its_own_passes(language: str, answer: str) -> None:
    assert judge_fidelity(answer, language).value == 1.0


@pytest.mark.parametrize(
    "answer", ["42", "", "…", "```python\nprint('hello world')\n```", '{"name": "value"}', "$x^2$"]
)
def test_texts_without_language_are_left_alone(answer: str) -> None:
    assert judge_fidelity(answer, "ru").error == "no_text"


@pytest.mark.parametrize("language", ["und", "zxx"])
def test_an_unknown_prompt_language_is_left_alone(language: str) -> None:
    assert judge_fidelity(PROSE["en"], language).error == "unknown_language"


def test_half_an_answer_gets_half_the_value() -> None:
    half = judge_fidelity(PROSE["ru"] + "\n" + PROSE["en"], "ru")
    assert half.value == pytest.approx(0.5, abs=0.1)
    assert half.value < FidelityConfig().minimum


def test_code_addresses_and_names_count_nowhere() -> None:
    text = (
        PROSE["ru"] + "\n\n```python\nfor word in words_of_the_book:\n    print(word.upper(), sep=', ')\n```\n"
        "Подробнее: https://example.org/the/long/road/home или пишите на someone@example.org. "
        "Это умеют Python, GPT-4 и New York Times, если вызвать `sorted(words)`."
    )
    assert judge_fidelity(text, "ru").value == 1.0


def test_code_switching_costs_words() -> None:
    mixed = "Я думаю, что this is really хорошая идея, because это помогает people учиться faster каждый день."
    found = judge_fidelity(mixed, "ru").value
    assert found is not None
    assert 0.3 < found < 0.8


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("nb", "Elva renner gjennom tre land før den når havet, og om våren flommer den over engene."),
        ("id", "Sungai itu mengalir melalui tiga negara sebelum sampai ke laut yang luas dan dalam sekali."),
        ("ms", "Sungai itu mengalir melalui tiga negara sebelum sampai ke laut yang luas dan dalam sekali."),
        ("hr", "Rijeka teče kroz tri zemlje prije nego što stigne do mora, a u proljeće poplavi livade."),
        ("sr-Latn", "Reka teče kroz tri zemlje pre nego što stigne do mora, a u proleće poplavi livade."),
        ("sr", "Река тече кроз три земље пре него што стигне до мора, а у пролеће поплави ливаде."),
        ("zh-TW", "這條河發源於高山，流經三個國家，最後注入大海。河水灌溉田野，推動磨坊。"),
        ("fil", "Ang ilog ay dumadaloy sa tatlong bansa bago ito makarating sa malawak na dagat."),
    ],
)
def test_near_relatives_are_no_failure(prompt: str, answer: str) -> None:
    assert judge_fidelity(answer, prompt).value == 1.0


def test_of_a_language_nobody_can_identify_only_english_fails() -> None:
    maasai = "Etii enkare naipirta oltoi le nkiteng o nkera kumok naapuo aaitobir enkop ang pooki."
    assert judge_fidelity(maasai, "mas").value == 1.0
    assert judge_fidelity(PROSE["en"], "mas").value == 0.0


def test_translations_are_exempt() -> None:
    config = FidelityConfig()
    item = a_pair(PROSE["en"], "ru", task="translation")
    assert config.build().score_one(item).error == "exempt"
    assert config.build().score_one(a_pair(PROSE["en"], "ru")).value == 0.0


def test_an_unclosed_code_block_is_code_to_the_end() -> None:
    assert prose("Так:\n```\nprint(1)\n").split() == ["Так:"]


def test_words_by_hand() -> None:
    words = count_words("Я использую Python 3 и the old one, x = 5.", scripts_of_language("ru"))
    assert words.by_script == {"Cyrl": 3.0, "Latn": 3.0}  # 'the old one'; a name and a symbol count nowhere
    assert count_words("我用Python写代码", scripts_of_language("zh")).by_script == {"Hani": 2.5}


@pytest.mark.skipif(not MTBENCH.is_file(), reason="the multilingual MT-bench answers are not here")
def test_real_answers_of_six_models() -> None:
    """The answers that 0.8 rejects, and what was written about the models: one answers in English by habit."""
    failed: dict[tuple[str, str], int] = defaultdict(int)
    total: dict[tuple[str, str], int] = defaultdict(int)
    minimum = FidelityConfig().minimum
    for row in pq.read_table(MTBENCH).to_pylist():
        key = (row["model"], row["lang"])
        value = judge_fidelity(row["turns"][0], row["lang"]).value
        total[key] += 1
        failed[key] += value is not None and value < minimum
    english = [failed[key] for key in total if key[1] == "en"]
    assert sum(english) <= 2  # of 480 English answers to English questions: one is half Chinese
    confused = "lightblue__suzume-llama-3-8B-multilingual-orpo-borda-half"
    for language in ("de", "fr", "ja", "zh"):
        assert failed[confused, language] / total[confused, language] > 0.15
    others = [key for key in total if key[0] != confused and key[1] != "en"]
    assert sum(failed[key] for key in others) / sum(total[key] for key in others) < 0.04


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_right_answer_of_the_world_fails(language: str) -> None:
    answers = {item.answer for item in items("heldout", language)}
    values = {answer: judge_fidelity(answer, language).value for answer in answers}
    assert {
        answer for answer, value in values.items() if value is not None and value < FidelityConfig().minimum
    } == set()


@pytest.mark.parametrize("language", [tag for tag in LANGUAGES if "Latn" not in scripts_of_language(tag)])
def test_english_answers_of_the_world_fail_in_every_other_script(language: str) -> None:
    words = {item.answer for item in items("heldout", "en") if not item.answer.isdigit()}
    assert {judge_fidelity(word, language).value for word in words} == {0.0}
