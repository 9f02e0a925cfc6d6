"""Measure the shipped models on held-out questions: `python -m tools.demo_models.evaluate [--per-language N]`.

Prints exact accuracy per teacher and language, then what each arbitrage strategy would score on the same answers.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

from arbitrage.demo.models import MODELS_FOLDER, REWARD_MODEL, TEACHERS
from arbitrage.demo.tasks import LANGUAGES, DemoItem, sample_items
from arbitrage.text.exact_match import is_correct
from tools.demo_models.answering import (
    answer_questions,
    load_reward_model,
    load_teacher,
    load_tokenizer,
    score_answers,
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One held-out question with every teacher's answer, whether it is right, and its raw reward."""

    item: DemoItem
    answers: Mapping[str, str]
    is_right: Mapping[str, bool]
    rewards: Mapping[str, float]


def run_trials(models_folder: Path, per_language: int, seed: int) -> list[Trial]:
    """Ask every teacher every sampled held-out question of every language, and score all answers."""
    sampled = sample_items("heldout", LANGUAGES, per_language, seed)
    questions = [item.question for item in sampled]
    tokenizer = load_tokenizer(models_folder / REWARD_MODEL)
    referee = load_reward_model(models_folder / REWARD_MODEL)
    answers, rewards = {}, {}
    for teacher in TEACHERS:
        model = load_teacher(models_folder / teacher)
        answers[teacher] = answer_questions(model, load_tokenizer(models_folder / teacher), questions)
        rewards[teacher] = score_answers(referee, tokenizer, questions, answers[teacher])
    return [
        Trial(
            item=item,
            answers={teacher: texts[row] for teacher, texts in answers.items()},
            is_right={
                teacher: is_correct(item.language, texts[row], item.answer) for teacher, texts in answers.items()
            },
            rewards={teacher: scored[row] for teacher, scored in rewards.items()},
        )
        for row, item in enumerate(sampled)
    ]


def teacher_accuracy(trials: Sequence[Trial]) -> dict[str, float]:
    """Return each teacher's share of right answers."""
    return {teacher: fmean(trial.is_right[teacher] for trial in trials) for teacher in TEACHERS}


def strategy_accuracy(trials: Sequence[Trial]) -> dict[str, float]:
    """Return the share of right answers under each strategy; `declared_reward`: of declared teachers only."""
    return {
        "uniform": fmean(fmean(trial.is_right.values()) for trial in trials),
        "best_single": max(teacher_accuracy(trials).values()),
        "declared_reward": fmean(trial.is_right[_favourite(trial, only_declared=True)] for trial in trials),
        "reward": fmean(trial.is_right[_favourite(trial)] for trial in trials),
        "oracle": fmean(any(trial.is_right.values()) for trial in trials),
    }


def pairwise_accuracy(trials: Sequence[Trial]) -> float:
    """Return how often a right answer outscores a wrong one to the same question (0.5 if there is no such pair)."""
    wins = [
        trial.rewards[right] > trial.rewards[wrong]
        for trial in trials
        for right in TEACHERS
        for wrong in TEACHERS
        if trial.is_right[right] and not trial.is_right[wrong]
    ]
    return fmean(wins) if wins else 0.5


def print_report(trials: Sequence[Trial]) -> None:
    """Print one line per language and one for all of them together."""
    strategies = list(strategy_accuracy(trials))
    print(
        "      " + "".join(f"{name:>9}" for name in TEACHERS) + "  |" + "".join(f"{name:>16}" for name in strategies)
    )
    groups = {language: [t for t in trials if t.item.language == language] for language in LANGUAGES}
    for name, group in (*groups.items(), ("all", list(trials))):
        shares = "".join(f"{share:9.2f}" for share in teacher_accuracy(group).values())
        outcome = "".join(f"{share:16.2f}" for share in strategy_accuracy(group).values())
        print(f"{name:>5} {shares}  |{outcome}", flush=True)
    print("\nreward model: pairwise accuracy; mean and standard deviation of raw rewards")
    for language, group in groups.items():
        rewards = [reward for trial in group for reward in trial.rewards.values()]
        print(f"{language:>5} {pairwise_accuracy(group):6.2f} {fmean(rewards):8.2f} {pstdev(rewards):6.2f}")
    print(f"{'all':>5} {pairwise_accuracy(trials):6.2f}", flush=True)


def _favourite(trial: Trial, only_declared: bool = False) -> str:
    """Return the teacher whose answer scores best, by name among equals."""
    allowed = [
        teacher for teacher, card in TEACHERS.items() if not only_declared or trial.item.language in card.languages
    ]
    return max(sorted(allowed), key=lambda teacher: trial.rewards[teacher])


def main() -> None:
    """Parse the command line and print the report."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo_models.evaluate", description=__doc__)
    parser.add_argument("--models", type=Path, default=MODELS_FOLDER, help="folder holding one folder per model")
    parser.add_argument("--per-language", type=int, default=48, help="held-out questions per language")
    parser.add_argument("--seed", type=int, default=0, help="chooses the questions")
    arguments = parser.parse_args()
    print_report(run_trials(arguments.models, arguments.per_language, arguments.seed))


if __name__ == "__main__":
    main()
