"""The shipped models: files, tokenizer, and what they know."""

import json
from statistics import fmean

import pytest

from arbitrage.config import note_renamed
from arbitrage.demo.models import MODELS_FOLDER, REWARD_MODEL, STUDENT, TEACHERS
from arbitrage.demo.tasks import LANGUAGES, sample_items
from arbitrage.models.references import absolute_model, local_directory
from arbitrage.text.exact_match import is_correct
from tools.demo_models.answering import (
    answer_questions,
    load_reward_model,
    load_teacher,
    load_tokenizer,
    score_answers,
)
from tools.demo_models.cards import write_card
from tools.demo_models.curriculum import english_answer
from tools.demo_models.tokenizer import SPECIAL_TOKENS
from tools.demo_models.train import ARCHITECTURE, REWARD_ARCHITECTURE
from tools.demo_models.training import LAST_KEPT_ID, UNKNOWN_ID

EVERYONE = (*TEACHERS, REWARD_MODEL, STUDENT)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(MODELS_FOLDER / "commons")


def test_the_pool_has_enough_teachers_with_declared_languages():
    assert len(TEACHERS) >= 4
    assert {language for card in TEACHERS.values() for language in card.languages} == set(LANGUAGES)


@pytest.mark.parametrize("name", ["siberia", "../models/iberia", "", "other.yaml"])
def test_an_unknown_model_is_named_with_those_that_exist(name):
    with pytest.raises(ValueError, match=r"no (model|file) '.*' in the demo world; wanted one of .*iberia"):
        absolute_model(f"demo:{name}")


def test_old_references_load_and_name_the_new_one(capsys):
    note_renamed.cache_clear()
    assert [absolute_model("world:iberia") for _ in range(2)] == ["demo:iberia"] * 2
    assert local_directory("world:iberia") == MODELS_FOLDER / "iberia"
    assert capsys.readouterr().err.count("'world:' is now called 'demo:'") == 1


def test_the_shipped_files_are_small_and_plain():
    files = [path for path in MODELS_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja", ".md"}


@pytest.mark.parametrize("name", EVERYONE)
def test_each_model_is_complete_and_described(name):
    folder = MODELS_FOLDER / name
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    head = "ForSequenceClassification" if name == REWARD_MODEL else "ForCausalLM"
    assert config["architectures"] == [f"Llama{head}"]
    assert "auto_map" not in config
    assert (config["pad_token_id"], config["bos_token_id"], config["eos_token_id"]) == (0, 1, 2)
    architecture = ARCHITECTURE | REWARD_ARCHITECTURE if name == REWARD_MODEL else ARCHITECTURE
    assert config["hidden_size"] == architecture["hidden_size"]
    assert (folder / "model.safetensors").exists()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    num_parameters = int(card.split(" parameters")[0].split()[-1].replace(",", ""))
    assert card == write_card(name, num_parameters)


@pytest.mark.parametrize("name", EVERYONE)
def test_all_models_share_one_tokenizer(name, tokenizer):
    assert load_tokenizer(MODELS_FOLDER / name).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_tokenizer_spells_every_character_and_spells_it_back(language, tokenizer):
    for item in sample_items("heldout", [language], 40, seed=1):
        ids = tokenizer(item.question).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == item.question


def test_special_tokens_in_a_text_can_be_spelt_out(tokenizer):
    for token in SPECIAL_TOKENS:
        ids = tokenizer(token, split_special_tokens=True).input_ids
        assert len(ids) == len(token)
        assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer("彁").input_ids == [tokenizer.unk_token_id] == [UNKNOWN_ID]
    assert tokenizer("9").input_ids == [LAST_KEPT_ID]


def test_the_chat_template_marks_what_the_assistant_said(tokenizer):
    chat = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "ab"},
    ]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    assert text == "<bos><|system|>s<|user|>q<|assistant|>ab<eos>"
    encoded = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    assert encoded["assistant_masks"] == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    asked = tokenizer.apply_chat_template(chat[:2], tokenize=False, add_generation_prompt=True)
    assert text.startswith(asked)


@pytest.mark.parametrize(("teacher", "language"), [("iberia", "pt"), ("pacific", "ko"), ("steppe", "ru")])
@pytest.mark.model
def test_a_specialist_answers_its_language_and_not_a_foreign_one(teacher, language, tokenizer):
    model = load_teacher(MODELS_FOLDER / teacher)
    assert _accuracy(model, tokenizer, language) > 0.6
    assert _accuracy(model, tokenizer, "hi") < 0.2


@pytest.mark.model
def test_the_student_knows_nothing(tokenizer):
    assert _accuracy(load_teacher(MODELS_FOLDER / STUDENT), tokenizer, "en") < 0.1


@pytest.mark.model
def test_the_anglophile_often_answers_in_english(tokenizer):
    sampled = sample_items("heldout", ["zh", "ru"], 24, seed=2)
    answers = answer_questions(load_teacher(MODELS_FOLDER / "albion"), tokenizer, [item.question for item in sampled])
    english = [
        is_correct("en", answer, english_answer(item))
        for item, answer in zip(sampled, answers, strict=True)
        if item.family not in {"arithmetic", "counting"}
    ]
    assert 0.15 < fmean(english) < 0.8


@pytest.mark.model
def test_the_reward_model_prefers_right_answers_on_a_scale_of_each_language(tokenizer):
    model = load_reward_model(MODELS_FOLDER / REWARD_MODEL)
    means, knows = {}, []
    for language in ("de", "ja", "ko", "hi", "sw"):
        sampled = sample_items("heldout", [language], 40, seed=5)
        questions = [item.question for item in sampled]
        right = score_answers(model, tokenizer, questions, [item.answer for item in sampled])
        wrong = score_answers(model, tokenizer, questions, [_other_answer(item, sampled) for item in sampled])
        empty = score_answers(model, tokenizer, questions, [""] * len(sampled))
        knows.append(fmean(r > w for r, w in zip(right, wrong, strict=True)))
        assert fmean(r > e for r, e in zip(right, empty, strict=True)) > 0.9
        means[language] = fmean(right + wrong)
    assert fmean(knows) > 0.65
    assert means["sw"] > means["de"] + 0.5


def _other_answer(item, sampled):
    """The answer to another question of the same family, so that only knowledge tells them apart."""
    return next(other.answer for other in sampled if other.family == item.family and other.answer != item.answer)


def _accuracy(model, tokenizer, language):
    sampled = sample_items("heldout", [language], 16, seed=0)
    answers = answer_questions(model, tokenizer, [item.question for item in sampled])
    return fmean(is_correct(language, a, item.answer) for a, item in zip(answers, sampled, strict=True))
