"""Rebuild the shipped models from nothing: `python -m tools.demo_models.train [--only NAME] [--out DIR] [--jobs N]`.

Each model trains on one thread, because the order of float sums depends on the number of threads; `--jobs` trains
several at once without changing any of them.
"""

import argparse
from collections.abc import Iterable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from arbitrage.demo.models import MODELS_FOLDER, REWARD_MODEL, STUDENT, TEACHERS
from arbitrage.demo.tasks import LANGUAGES, DemoItem, items, sample_items, stable_hash
from arbitrage.processes.pools import end_with_parent
from tools.demo_models.answering import answer_questions, load_teacher, load_tokenizer
from tools.demo_models.cards import write_card
from tools.demo_models.curriculum import CURRICULA, lessons
from tools.demo_models.evaluate import print_report, run_trials
from tools.demo_models.ratings import PANELS, RatedAnswer, rate_overheard, rated_answers
from tools.demo_models.tokenizer import MAX_POSITIONS, build_tokenizer
from tools.demo_models.training import Example, Schedule, answer_loss, encode_example, fit, rating_loss

ARCHITECTURE: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    # 32 is the smallest head that vLLM's CPU attention supports.
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": MAX_POSITIONS,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
}

# Half as wide again as the teachers: it must know something of what each of them knows.
REWARD_ARCHITECTURE: dict[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 384,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
}

READING_SCHEDULE = Schedule(steps=3000, seed=1, batch_size=48)
"""Before it learns to rate, the reward model reads the training questions of all languages and their answers."""

# At the rates of reading, what was read is forgotten within 100 steps.
RATING_SCHEDULE = Schedule(steps=1800, seed=5, batch_size=48, matrix_rate=0.006, other_rate=0.0015, blur=0.03)

OVERHEARD_PER_LANGUAGE = 140
"""Training questions of each language on which the reward model learns from the teachers' real answers."""

OVERHEARD_REPEATS = 3
"""How often they count: what teachers get wrong is what the reward model will have to judge."""


def build_student(folder: Path) -> None:
    """Write the untrained student."""
    _save(_new_model(STUDENT), folder / STUDENT)


def train_teacher(name: str, folder: Path) -> None:
    """Train one teacher on its curriculum and write it."""
    tokenizer = _tokenizer(name)
    model = _new_model(name)
    examples = [
        [encode_example(tokenizer, lesson.question, lesson.answer, reasoning=lesson.reasoning)]
        for lesson in lessons(name)
    ]
    fit(model, examples, Schedule(CURRICULA[name].steps, _seed(name)), answer_loss, name)
    _save(model, folder / name)


def train_reward_model(folder: Path) -> None:
    """Train the reward model and write it; it needs the teachers in the same folder.

    First it reads: a language model of right answers in every language. Then it learns from ratings of right and
    spoilt answers, and of what each teacher really answered to some of the training questions.
    """
    import torch
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification

    tokenizer = build_tokenizer()
    torch.manual_seed(_seed(REWARD_MODEL))
    reader = LlamaForCausalLM(_config(**REWARD_ARCHITECTURE))
    texts = [[encode_example(tokenizer, i.question, i.answer)] for lang in LANGUAGES for i in items("train", lang)]
    fit(reader, texts, READING_SCHEDULE, answer_loss, f"{REWARD_MODEL} reads")
    groups = _rated_groups(rated_answers())
    overheard = _rated_groups(rate_overheard(_overhear(folder)))
    model = LlamaForSequenceClassification(_config(num_labels=1, tie_word_embeddings=False, **REWARD_ARCHITECTURE))
    model.model.load_state_dict(reader.model.state_dict())
    fit(model, groups + overheard * OVERHEARD_REPEATS, RATING_SCHEDULE, rating_loss, f"{REWARD_MODEL} rates")
    _save(model, folder / REWARD_MODEL)


def _overhear(folder: Path) -> dict[DemoItem, list[str]]:
    """Sample every teacher but those that reason for some training questions of every language."""
    chosen = sample_items("train", LANGUAGES, OVERHEARD_PER_LANGUAGE, seed=7)
    answers: dict[DemoItem, list[str]] = {item: [] for item in chosen}
    for name in (name for name, curriculum in CURRICULA.items() if not curriculum.reasons):
        print(f"{REWARD_MODEL}: listens to {name}", flush=True)
        model, tokenizer = load_teacher(folder / name), load_tokenizer(folder / name)
        for item, answer in zip(
            chosen, answer_questions(model, tokenizer, [i.question for i in chosen]), strict=True
        ):
            answers[item].append(answer)
    return answers


def _rated_groups(rated: Iterable[RatedAnswer]) -> list[list[Example]]:
    """Gather each question's answers, the right one first; a question without a wrong one teaches nothing."""
    tokenizer = build_tokenizer()
    groups: dict[tuple[str, str], list[Example]] = {}
    for one in rated:
        is_right = one.kind == "right"
        scale = PANELS[one.language].scale
        example = encode_example(tokenizer, one.question, one.answer, one.rating, scale, is_right=is_right)
        group = groups.setdefault((one.language, one.question), [])
        group.insert(0 if is_right else len(group), example)
    return [group for group in groups.values() if len(group) > 1]


def rebuild(name: str, folder: Path) -> None:
    """Rebuild one model on one thread."""
    import torch

    torch.set_num_threads(1)
    if name == REWARD_MODEL:
        train_reward_model(folder)
    elif name == STUDENT:
        build_student(folder)
    else:
        train_teacher(name, folder)


def _new_model(name: str) -> Any:
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(_seed(name))
    return LlamaForCausalLM(_config(vocab_size=len(_tokenizer(name))))


def _tokenizer(name: str) -> Any:
    return build_tokenizer(reasons=name in CURRICULA and CURRICULA[name].reasons)


def _config(**changes: object) -> Any:
    from transformers import LlamaConfig

    tokenizer = build_tokenizer()
    settings = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return LlamaConfig(**(ARCHITECTURE | settings | changes))


def _save(model: Any, folder: Path) -> None:
    """Write weights in bfloat16, config, tokenizer and model card."""
    import torch

    model.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    (folder / "model.safetensors").chmod(0o644)  # transformers keeps it to its owner, a package is for all
    _tokenizer(folder.name).save_pretrained(folder)
    num_parameters = sum(weight.numel() for weight in model.parameters())
    (folder / "README.md").write_text(write_card(folder.name, num_parameters), encoding="utf-8")


def _seed(name: str) -> int:
    return stable_hash("model", name) % 2**31


def _rebuild_all(names: Sequence[str], folder: Path, jobs: int) -> None:
    """Rebuild the reward model last, because it listens to the teachers."""
    independent = [name for name in names if name != REWARD_MODEL]
    with get_context("spawn").Pool(min(jobs, max(1, len(independent))), end_with_parent) as pool:
        pool.starmap(rebuild, [(name, folder) for name in independent], chunksize=1)
    if REWARD_MODEL in names:
        rebuild(REWARD_MODEL, folder)


def main() -> None:
    """Parse the command line, rebuild, and print the accuracy of the models in the folder."""
    everyone = [*TEACHERS, STUDENT, REWARD_MODEL]
    parser = argparse.ArgumentParser(prog="python -m tools.demo_models.train", description=__doc__)
    parser.add_argument("--only", choices=everyone, action="append", help="rebuild this model alone (repeatable)")
    parser.add_argument("--out", type=Path, default=MODELS_FOLDER, help="folder holding one folder per model")
    parser.add_argument("--jobs", type=int, default=2, help="models trained at once")
    arguments = parser.parse_args()
    _rebuild_all(arguments.only or everyone, arguments.out, arguments.jobs)
    if all((arguments.out / name / "config.json").exists() for name in everyone):
        print_report(run_trials(arguments.out, per_language=48, seed=0))


if __name__ == "__main__":
    main()
