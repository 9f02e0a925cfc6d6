"""Real TRL trainers take two optimiser steps on the exported files as they are written."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, Trainer
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from arbitrage.export.export import export_run
from tests.support.export_runs import make_run, plain_case
from tests.support.tiny_model import save_model

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(120)]

SHARED = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "use_cpu": True,
    "max_length": 96,
    "bf16": False,
    "gradient_checkpointing": False,
    "seed": 3,
}


@dataclass(frozen=True)
class Bench:
    """An exported run and a tiny model."""

    export: Path
    model: Path
    out: Path

    def args(self, config: type, **more: object) -> Any:
        return config(output_dir=str(self.out), **(SHARED | more))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("trainers")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run = make_run(root / "run", plain_case())
    export_run(run, "trl", test_fraction=0.2)
    yield Bench(run / "export", save_model(root / "model"), root / "out")
    torch.set_num_threads(threads)


def train(trainer: Trainer) -> None:
    """Take two steps: every loss is finite, and the parameters have moved."""
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert trainer.state.global_step == 2
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    moved = [name for name, p in trainer.model.named_parameters() if name in before and not p.equal(before[name])]
    assert len(moved) > len(before) // 2
    assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_sft_trains_on_answers_alone(bench: Bench) -> None:
    rows = load_dataset(str(bench.export / "sft"), split="train")
    trainer = SFTTrainer(str(bench.model), args=bench.args(SFTConfig), train_dataset=rows)
    train(trainer)
    tokenizer = AutoTokenizer.from_pretrained(bench.model)
    learnt = {}
    for row in trainer.train_dataset:
        labels = [label for label in row["labels"] if label != -100]
        learnt[tokenizer.decode(row["input_ids"])] = tokenizer.decode(labels)
    [(text, answer)] = [(t, a) for t, a in learnt.items() if "sw right 1<" in t]
    assert "sw 1?" in text
    assert answer.startswith("sw right 1")


def test_dpo_trains_on_all_languages(bench: Bench) -> None:
    data = load_dataset(str(bench.export / "preference"))
    model = AutoModelForCausalLM.from_pretrained(bench.model)
    trainer = DPOTrainer(
        model,
        args=bench.args(DPOConfig, eval_strategy="steps", eval_steps=2),
        train_dataset=data["train"],
        eval_dataset=data["test"],
        processing_class=AutoTokenizer.from_pretrained(bench.model),
    )
    assert len(trainer.train_dataset) == 22
    train(trainer)
    [first, *_] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert first == pytest.approx(math.log(2), abs=1e-3)  # before the first step, policy and reference agree


def test_dpo_learns_the_chosen_side(bench: Bench) -> None:
    rows = load_dataset(str(bench.export / "preference"), "sw", split="train")
    trainer = DPOTrainer(str(bench.model), args=bench.args(DPOConfig, max_steps=8, beta=1.0), train_dataset=rows)
    trainer.train()
    margins = [entry["rewards/margins"] for entry in trainer.state.log_history if "rewards/margins" in entry]
    assert margins[0] == pytest.approx(0, abs=1e-3)
    assert margins[-1] > 0.5


def test_reward_model_trains_without_a_margin(bench: Bench) -> None:
    rows = load_dataset(str(bench.export / "preference"), split="train")
    model = AutoModelForSequenceClassification.from_pretrained(bench.model, num_labels=1)
    with torch.no_grad():
        model.score.weight.zero_()  # scores all alike: the loss is ln 2 unless some column adds a margin
    trainer = RewardTrainer(
        model,
        args=bench.args(RewardConfig, max_length=256),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(bench.model),
    )
    assert "margin" not in trainer.train_dataset.column_names
    train(trainer)
    [first, *_] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert first == pytest.approx(math.log(2), abs=1e-3)


@pytest.mark.parametrize("language", ["ar", "no"])
def test_one_language_streams(bench: Bench, language: str) -> None:
    rows = load_dataset(str(bench.export / "sft"), language, split="train", streaming=True)
    train(SFTTrainer(str(bench.model), args=bench.args(SFTConfig), train_dataset=rows))
