"""The demo world: lexicons, hold-out and checker."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from arbitrage.demo.lexicons import Lexicon, load_lexicon
from arbitrage.demo.models import TEACHERS
from arbitrage.demo.tasks import FAMILIES, LANGUAGES, items, sample_items, stable_hash
from arbitrage.text.exact_match import is_correct, normalise_answer
from tools.demo_models.curriculum import CURRICULA, answers_in, english_answer, lessons
from tools.demo_models.ratings import PANELS, rated_answers

SCRIPTS = {
    "ru": "CYRILLIC",
    "ar": "ARABIC",
    "hi": "DEVANAGARI",
    "zh": "CJK",
    "ko": "HANGUL",
    "th": "THAI",
    "en": "LATIN",
    "sw": "LATIN",
    "tr": "LATIN",
}

STABLE_HASH = 9841522478373724486
FIRST_SAMPLED = ["What is 4 minus 2?", "Write 3 in words."]


def test_the_world_is_wide_enough():
    assert len(LANGUAGES) >= 12
    assert len(FAMILIES) >= 6


@pytest.mark.parametrize("language", LANGUAGES)
def test_lexicons_are_valid_and_parallel(language):
    lexicon, english = load_lexicon(language), load_lexicon("en")
    assert lexicon.language == language
    assert list(lexicon.opposites.pairs) == list(english.opposites.pairs)
    assert list(lexicon.colours.things) == list(english.colours.things)
    assert list(lexicon.comparisons.animals) == list(english.comparisons.animals)
    assert list(lexicon.categories.words) == list(english.categories.words)
    assert len(set(lexicon.numbers.words)) == 13
    assert unicodedata.is_normalized("NFC", lexicon.model_dump_json())


@pytest.mark.parametrize("language", sorted(SCRIPTS))
def test_words_are_written_in_their_script(language):
    words = [word for pair in load_lexicon(language).opposites.pairs.values() for word in pair]
    letters = {char for word in words for char in word if unicodedata.category(char).startswith("L")}
    assert {unicodedata.name(letter).split()[0] for letter in letters} == {SCRIPTS[language]}


def test_a_lexicon_with_an_unknown_key_or_a_missing_form_is_refused():
    content = load_lexicon("en").model_dump()
    with pytest.raises(ValidationError, match="verbs"):
        Lexicon.model_validate(content | {"verbs": []})
    content["colours"]["things"]["snow"]["forms"] = {"of": "of snow"}
    with pytest.raises(ValidationError, match=r"colours\.things\.snow: no form"):
        Lexicon.model_validate(content)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_question_has_one_answer_and_one_split(language):
    train, heldout = items("train", language), items("heldout", language)
    questions = [item.question for item in (*train, *heldout)]
    assert len(questions) == len(set(questions))
    assert not {item.question for item in train} & {item.question for item in heldout}
    assert {item.family for item in heldout} == set(FAMILIES) == {item.family for item in train}
    assert 0.1 < len(heldout) / len(questions) < 0.35


@pytest.mark.parametrize("language", LANGUAGES)
def test_heldout_sums_and_comparisons_are_unseen_in_every_wording(language):
    for family in ("arithmetic", "counting", "comparisons"):
        train = {item.instance for item in items("train", language) if item.family == family}
        assert not train & {item.instance for item in items("heldout", language) if item.family == family}


@pytest.mark.parametrize("language", LANGUAGES)
def test_heldout_facts_are_known_in_another_wording(language):
    for family in ("numbers", "opposites", "colours", "weekdays", "months", "categories"):
        train = {item.instance for item in items("train", language) if item.family == family}
        assert {item.instance for item in items("heldout", language) if item.family == family} <= train


def test_the_split_does_not_move():
    assert stable_hash("heldout", "sw", 7) == stable_hash("heldout", "sw", "7") == STABLE_HASH
    assert [item.question for item in sample_items("heldout", ["en"], 2, seed=0)] == FIRST_SAMPLED


def test_a_sample_is_deterministic_and_spread_over_families():
    sampled = sample_items("heldout", ["th", "en"], 48, seed=3)
    assert sampled == sample_items("heldout", ["th", "en"], 48, seed=3)
    assert sampled != sample_items("heldout", ["th", "en"], 48, seed=4)
    assert [item.language for item in sampled] == ["th"] * 48 + ["en"] * 48
    per_family = [sum(item.family == family for item in sampled[:48]) for family in FAMILIES]
    assert max(per_family) - min(per_family) <= 1


def test_instances_mean_the_same_in_every_language():
    for item in items("train", "ja")[:400:37]:
        assert item.instance in answers_in("sw")
    (snow,) = {item.answer for item in items("train", "ru") if item.instance == "colours/snow"}
    assert snow == "белый"
    assert {english_answer(i) for i in items("train", "ru") if i.instance == "colours/snow"} == {"white"}


@pytest.mark.parametrize(
    ("language", "question", "answer"),
    [
        ("en", "Write 12 in words.", "twelve"),
        ("es", "¿Qué color tiene la nieve?", "blanco"),
        ("fr", "Soustrais 3 de 9.", "6"),
        ("de", "Was ist das Gegenteil von „groß“?", "klein"),
        ("pt", "Hoje é sexta-feira. Que dia será amanhã?", "sábado"),
        ("tr", "Hangi hayvan daha küçük, fare mi balina mı?", "fare"),
        ("ru", "Сегодня понедельник. Какой день был вчера?", "воскресенье"),
        ("ar", "اليوم هو السبت. أي يوم سيكون غدا؟", "الأحد"),
        ("hi", "अभी जनवरी है। 1 महीने बाद कौन सा महीना होगा?", "फ़रवरी"),
        ("zh", "这里有几个词：猫、猫、猫？", "3"),
        ("ja", "11はひらがなでどう書きますか？", "じゅういち"),
        ("ko", "지금은 1월입니다. 1개월 전은 몇 월이었습니까?", "12월"),
        ("th", "จงบอกสีของถ่านหิน", "สีดำ"),
        ("sw", "Kinyume cha “vita” ni nini?", "amani"),
    ],
)
def test_known_questions_have_the_right_answer(language, question, answer):
    everything = (*items("train", language), *items("heldout", language))
    assert {item.answer for item in everything if item.question == question} == {answer}


@pytest.mark.parametrize(
    ("language", "answer", "reference"),
    [
        ("en", " Twelve. ", "twelve"),
        ("es", "¡Blanco!", "blanco"),
        ("es", "dieciséis".encode().decode(), "dieciséis"),
        ("fr", "« Éléphant »", "éléphant"),
        ("de", "WEISS", "weiß"),
        ("de", "„klein“", "klein"),
        ("pt", "Segunda-Feira", "segunda-feira"),
        ("tr", "IRMAK", "ırmak"),
        ("tr", "İYİ", "iyi"),
        ("tr", "KIRMIZI", "kırmızı"),
        ("ru", "Зеленый", "зелёный"),
        ("ar", "اَلْحِصَان", "الحصان"),
        ("ar", "الحصـــان؟", "الحصان"),
        ("ar", "٣", "3"),
        ("hi", "३।", "3"),
        ("hi", "सफ़ेद", "सफ़ेद"),
        ("zh", "白色。", "白色"),
        ("zh", "３", "3"),
        ("ja", "１２月", "12月"),
        ("ja", "ﾈｽﾞﾐ", "ネズミ"),
        ("ko", "「흰색」", "흰색"),
        ("ko", unicodedata.normalize("NFD", "월요일"), "월요일"),
        ("th", "๓", "3"),
        ("th", "“สีน้ำเงิน”", "สีน้ำเงิน"),
        ("sw", "kumi  na\nmbili", "kumi na mbili"),
        ("ar", "\u200fأبيض\u200f", "أبيض"),
    ],
)
def test_right_answers_are_accepted(language, answer, reference):
    assert is_correct(language, answer, reference)


@pytest.mark.parametrize(
    ("language", "answer", "reference"),
    [
        ("es", "white", "blanco"),
        ("es", "branco", "blanco"),
        ("ru", "twelve", "двенадцать"),
        ("zh", "白", "白色"),
        ("ja", "白色", "白"),
        ("tr", "irmak", "ırmak"),
        ("tr", "IYI", "iyi"),
        ("de", "schon", "schön"),
        ("fr", "frere", "frère"),
        ("en", "", "two"),
        ("en", "...", "two"),
        ("en", "the answer is two", "two"),
        ("en", "two two", "two"),
        ("en", "-3", "3"),
        ("en", "3.5", "35"),
        ("hi", "दो", "तीन"),
        ("ar", "حصان", "الحصان"),
        ("ko", "월요일", "화요일"),
        ("th", "สีขา", "สีขาว"),
        ("sw", "kumi na", "kumi na mbili"),
    ],
)
def test_wrong_answers_are_refused(language, answer, reference):
    assert not is_correct(language, answer, reference)


@given(st.sampled_from(LANGUAGES), st.text())
def test_normalising_twice_changes_nothing(language, text):
    once = normalise_answer(language, text)
    assert normalise_answer(language, once) == once


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reference_answer_is_right_and_its_family_tells_answers_apart(language):
    for family in FAMILIES:
        answers = {item.answer for item in items("train", language) if item.family == family}
        assert len({normalise_answer(language, answer) for answer in answers}) == len(answers)
        assert all(is_correct(language, answer, answer) for answer in answers)


@pytest.mark.parametrize("teacher", sorted(CURRICULA))
def test_teachers_learn_from_the_training_split_alone(teacher):
    heldout = {item.question for language in LANGUAGES for item in items("heldout", language)}
    assert set(CURRICULA) == set(TEACHERS)
    assert not {lesson.question for lesson in lessons(teacher)} & heldout


def test_raters_see_the_training_split_alone_and_prefer_right_answers():
    heldout = {item.question for language in LANGUAGES for item in items("heldout", language)}
    rated = rated_answers()
    assert not {row.question for row in rated} & heldout
    by_kind = {kind: [row.rating for row in rated if row.kind == kind] for kind in {row.kind for row in rated}}
    means = {kind: sum(ratings) / len(ratings) for kind, ratings in by_kind.items()}
    assert means["right"] > means["english"] > means["near_miss"] > means["empty"]
    assert set(PANELS) == set(LANGUAGES)
