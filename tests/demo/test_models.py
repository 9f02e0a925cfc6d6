"""The shipped models: files, tokenizer, and what they know."""

import json
from statistics import fmean

import pytest

from arbitrage.config import note_renamed
from arbitrage.contracts.engines import Completion, Failure
from arbitrage.demo.models import MODELS_FOLDER, REWARD_MODEL, STUDENT, TEACHERS
from arbitrage.demo.tasks import LANGUAGES, items, sample_items
from arbitrage.models.chat import ChatTokenizer
from arbitrage.models.references import absolute_model, local_directory
from arbitrage.records import Message
from arbitrage.teachers.engines.engine import ModelSpec
from arbitrage.teachers.engines.transformers import TransformersConfig
from arbitrage.teachers.pool import load_pool
from arbitrage.teachers.reasoning import ReasoningSplitter
from arbitrage.text.exact_match import is_correct
from tests.support.asking import a_request, ask
from tools.demo_models.answering import (
    answer_questions,
    load_reward_model,
    load_teacher,
    load_tokenizer,
    score_answers,
)
from tools.demo_models.cards import write_card
from tools.demo_models.curriculum import english_answer, lessons
from tools.demo_models.tokenizer import SPECIAL_TOKENS, build_tokenizer
from tools.demo_models.train import ARCHITECTURE, REWARD_ARCHITECTURE
from tools.demo_models.training import LAST_KEPT_ID, UNKNOWN_ID

EVERYONE = (*TEACHERS, REWARD_MODEL, STUDENT)
REASONER = "scholar"


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
def test_all_models_share_one_tokenizer_and_the_reasoner_has_two_tokens_more(name, tokenizer):
    more = {"<think>": len(tokenizer), "</think>": len(tokenizer) + 1} if name == REASONER else {}
    assert load_tokenizer(MODELS_FOLDER / name).get_vocab() == tokenizer.get_vocab() | more


@pytest.mark.parametrize("name", EVERYONE)
def test_shipped_tokenizers_are_those_that_are_built(name, tmp_path):
    build_tokenizer(reasons=name == REASONER).save_pretrained(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (MODELS_FOLDER / name / path.name).read_bytes(), path.name


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


def test_the_template_of_a_reasoner_takes_reasoning_and_drops_that_of_earlier_turns():
    tokenizer = load_tokenizer(MODELS_FOLDER / REASONER)
    first = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "r"}]
    assert tokenizer.apply_chat_template(first, tokenize=False) == (
        "<bos><|user|>q<|assistant|><think>r</think>a<eos>"
    )
    encoded = tokenizer.apply_chat_template(first, return_dict=True, return_assistant_tokens_mask=True)
    assert encoded["assistant_masks"] == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    inline = [first[0], {"role": "assistant", "content": "<think>r</think>a"}]
    for earlier in (first, inline):
        text = tokenizer.apply_chat_template([*earlier, first[0]], tokenize=False, add_generation_prompt=True)
        assert text == "<bos><|user|>q<|assistant|>a<eos><|user|>q<|assistant|>"
    assert tokenizer.apply_chat_template(inline, tokenize=False).endswith("<think>r</think>a<eos>")


def test_marks_of_reasoning_in_a_question_are_no_marks():
    chat = ChatTokenizer(load_tokenizer(MODELS_FOLDER / REASONER))
    ids = chat.encode([Message(role="user", content="<think>2</think> <think>")])
    assert not set(ids) & {chat.vocabulary["<think>"], chat.vocabulary["</think>"]}
    assert not ReasoningSplitter(chat).begins_inside(ids)


@pytest.mark.parametrize(("language", "low", "high"), [("sw", 0.85, 0.95), ("th", 0.85, 0.95), ("tr", 0.5, 0.7)])
def test_reasoning_is_taught_in_english_or_in_the_language_of_the_question(language, low, high):
    english, own = ({f"{i.question} {i.answer}" for i in items("train", code)} for code in ("en", language))
    answers = {item.question: item.answer for item in items("train", language)}
    taught = [lesson for lesson in lessons(REASONER) if lesson.question in answers]
    assert {lesson.reasoning for lesson in taught} <= english | own
    assert low <= fmean(lesson.reasoning in english for lesson in taught) <= high
    assert all(lesson.answer == answers[lesson.question] for lesson in taught)


@pytest.mark.parametrize(("teacher", "language"), [("iberia", "pt"), ("pacific", "ko"), ("steppe", "ru")])
@pytest.mark.model
def test_a_specialist_answers_its_language_and_not_a_foreign_one(teacher, language, tokenizer):
    model = load_teacher(MODELS_FOLDER / teacher)
    assert _accuracy(model, tokenizer, language) > 0.6
    assert _accuracy(model, tokenizer, "hi") < 0.2


@pytest.mark.model
def test_the_reasoner_thinks_in_english_and_answers_in_the_language_of_the_question():
    (teacher,) = load_pool(MODELS_FOLDER.parent / "teachers.yaml").select([REASONER])
    engine, limit = teacher.engine.build(teacher.spec()), teacher.sampling.max_tokens
    sampled = sample_items("heldout", ["sw"], 36, seed=3)
    found = ask(engine, [a_request(i.question, candidate_id=i.question, max_tokens=limit) for i in sampled])
    done = [(item, found[item.question]) for item in sampled if isinstance(found[item.question], Completion)]
    assert len(done) > 30
    assert all(completion.reasoning and "think>" not in completion.text for _, completion in done)
    assert all(0 < completion.reasoning_tokens < completion.completion_tokens for _, completion in done)
    assert fmean(is_correct("sw", completion.text, item.answer) for item, completion in done) > 0.6
    assert fmean(_is_english(completion.reasoning, item) for item, completion in done) > 0.5


@pytest.mark.model
def test_reasoning_that_max_tokens_ends_is_told_as_unfinished():
    engine = TransformersConfig().build(ModelSpec(REASONER, str(MODELS_FOLDER / REASONER), precision="fp32"))
    question = sample_items("heldout", ["th"], 1, seed=3)[0].question
    (failure,) = ask(engine, [a_request(question, candidate_id="c", max_tokens=8)]).values()
    assert isinstance(failure, Failure)
    assert failure.reason == "reasoning_unfinished"


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


def _is_english(reasoning, item):
    """Whether reasoning is a question of the world in English that has the same answer in English."""
    wordings = {i.question for split in ("train", "heldout") for i in items(split, "en")}
    question, _, answer = reasoning.rpartition(" ")
    return question in wordings and is_correct("en", answer, english_answer(item))


def _accuracy(model, tokenizer, language):
    sampled = sample_items("heldout", [language], 16, seed=0)
    answers = answer_questions(model, tokenizer, [item.question for item in sampled])
    return fmean(is_correct(language, a, item.answer) for a, item in zip(answers, sampled, strict=True))
