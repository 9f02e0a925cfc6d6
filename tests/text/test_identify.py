"""Language identification: tags, tolerance, texts it refuses, and accuracy on real sentences."""

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbitrage.languages import normalise_tag
from arbitrage.text.identify import find_contradiction, identify, is_identifiable, is_same_language
from arbitrage.text.scripts import count_scripts, scripts_of_language
from tests.support.paths import SHARED

NTREX = SHARED / "data/ntrex128/ntrex_first500.parquet"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The river rises in the mountains and winds through three countries.", "en"),
        ("Der Fluss entspringt in den Bergen und fließt durch drei Länder.", "de"),
        ("Река берёт начало в горах и течёт через три страны, прежде чем достигает моря.", "ru"),
        ("הנהר נובע בהרים וזורם דרך שלוש מדינות לפני שהוא מגיע לים.", "he"),
        ("这条河发源于高山，流经三个国家，最后注入大海。", "zh"),
        ("這條河發源於高山，流經三個國家，最後注入大海。", "zh-Hant"),
        ("แม่น้ำสายนี้ไหลจากภูเขาผ่านสามประเทศก่อนลงสู่ทะเล", "th"),
        ("Mto huu unaanzia milimani na kupita katika nchi tatu kabla ya kufika baharini.", "sw"),
    ],
)
def test_sentences(text: str, language: str) -> None:
    found = identify(text)
    assert (found.language, found.is_reliable) == (language, True)
    assert found.confidence > 0.9


@pytest.mark.parametrize("text", ["", "  ", "42", "…!?", "\x00\x01"])
def test_nothing_to_identify(text: str) -> None:
    assert (identify(text).language, identify(text).is_reliable) == ("und", False)


@given(st.text())
def test_no_text_is_refused_and_every_answer_is_a_tag(text: str) -> None:
    found = identify(text)
    assert found.language == "und" or normalise_tag(found.language) == found.language
    assert 0.0 <= found.confidence <= 1.0


@pytest.mark.parametrize("code", [0x0, 0xB, 0x85, 0xFDD0, 0xFFFE, 0x1FFFE, 0x10FFFF, 0xD800])
def test_characters_that_the_detector_refuses_do_no_harm(code: int) -> None:
    assert identify(f"Der Fluss entspringt in{chr(code)}den Bergen und fließt durch drei Länder.").language == "de"


@pytest.mark.parametrize(
    ("one", "other"),
    [("nb", "no"), ("nn", "nb"), ("zh-TW", "zh"), ("yue", "zh-Hant"), ("hr", "sr-Latn"), ("id", "ms"), ("fil", "tl"),
     ("arz", "ar"), ("pt-BR", "pt"), ("prs", "fa"), ("swh", "sw")],
)  # fmt: skip
def test_near_relatives_are_one(one: str, other: str) -> None:
    assert is_same_language(one, other)
    assert is_same_language(other, one)


@pytest.mark.parametrize(("one", "other"), [("da", "no"), ("es", "pt"), ("und", "und"), ("hi", "ur"), ("nl", "af")])
def test_others_are_not(one: str, other: str) -> None:
    assert not is_same_language(one, other)


def test_contradiction() -> None:
    english = "The river rises in the mountains and winds through three countries."
    german = "Der Fluss entspringt in den Bergen und fließt durch drei Länder."
    assert find_contradiction(english, "en") is None
    assert find_contradiction(english, "mas").language == "en"  # type: ignore[union-attr]
    assert find_contradiction(german, "mas") is None
    assert find_contradiction(german, "en").language == "de"  # type: ignore[union-attr]
    assert not is_identifiable("mas")
    assert is_identifiable("zh-TW")


def test_scripts() -> None:
    assert count_scripts("Red 红色 あか アカ красный 42!") == {"Latn": 3, "Hani": 2, "Hira": 2, "Kana": 2, "Cyrl": 7}
    assert count_scripts("हिन्दी") == {"Deva": 6}  # vowel signs belong to their word
    assert scripts_of_language("ja") == {"Hani", "Hira", "Kana"}
    assert scripts_of_language("sr") == {"Cyrl", "Latn"}
    assert scripts_of_language("sr-Latn") == {"Latn"}
    assert scripts_of_language("und") == frozenset() or "Latn" in scripts_of_language("und")


@pytest.mark.skipif(not NTREX.is_file(), reason="the NTREX sentences are not here")
def test_accuracy_on_real_sentences() -> None:
    table = pq.read_table(NTREX)
    right = false_alarms = total = 0
    for name, text in list(zip(table.column("lang").to_pylist(), table.column("text").to_pylist(), strict=True))[::5]:
        tag = normalise_tag(name)
        if tag is None or name == "nso" or not is_identifiable(tag):  # that file is really Sesotho
            continue
        total += 1
        right += is_same_language(tag, identify(text).language)
        false_alarms += find_contradiction(text, tag) is not None
    assert total > 10_000
    assert right / total > 0.97
    assert false_alarms / total < 0.005
