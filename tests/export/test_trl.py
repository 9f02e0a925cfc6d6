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
from tests.support.reasoned import CASES, THOUGHT, reasoned_case, template
from tests.support.tiny_model import build_tokenizer, save_model

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


@pytest.fixture(scope="module")
def reasoned(tmp_path_factory: pytest.TempPathFactory, bench: Bench) -> dict[str, Bench]:
    """Runs of which all rows or some have reasoning, exported with either key."""
    root = tmp_path_factory.mktemp("reasoned")
    model = save_model(root / "model", context_length=1024)
    for kind in ("all", "mixed"):
        run = make_run(root / kind, reasoned_case(CASES[kind]))
        for key in ("reasoning_content", "thinking"):
            export_run(run, "trl", out=root / f"{kind}-{key}", reasoning=key)  # type: ignore[arg-type]
    names = [f"{kind}-{key}" for kind in ("all", "mixed") for key in ("reasoning_content", "thinking")]
    return {name: Bench(root / name, model, root / "out") for name in names}


def tokenizer_with(name: str) -> Any:
    return build_tokenizer(template(name))


REASONING_MODELS = [("qwen3", "reasoning_content"), ("gptoss", "thinking"), ("lfm2_2_5", "thinking")]


@pytest.mark.parametrize("kind", ["all", "mixed"])
@pytest.mark.parametrize(("name", "key"), REASONING_MODELS)
@pytest.mark.parametrize("streaming", [False, True])
def test_sft_learns_reasoning(reasoned: dict[str, Bench], kind: str, name: str, key: str, streaming: bool) -> None:
    bench, tokenizer = reasoned[f"{kind}-{key}"], tokenizer_with(name)
    rows = load_dataset(str(bench.export / "sft"), split="train", streaming=streaming)
    args = bench.args(SFTConfig, max_length=1000, per_device_train_batch_size=1)
    trainer = SFTTrainer(str(bench.model), args=args, train_dataset=rows, processing_class=tokenizer)
    learnt = [
        tokenizer.decode([token for token, mask in zip(row["input_ids"], _mask(row), strict=True) if mask])
        for row in trainer.train_dataset
    ]
    assert sum(THOUGHT in text for text in learnt) == (3 if kind == "all" else 1)
    assert sorted(text.split("right ")[1].split("<")[0] for text in learnt) == ["one", "three", "two"]
    train(trainer)


def _mask(row: dict[str, Any]) -> list[bool]:
    return (
        [label != -100 for label in row["labels"]] if "labels" in row else [bool(m) for m in row["completion_mask"]]
    )


def test_the_cards_snippet_keeps_the_empty_chain_out_of_the_loss(reasoned: dict[str, Bench]) -> None:
    bench, tokenizer = reasoned["mixed-reasoning_content"], tokenizer_with("qwen3")
    snippet = (bench.export / "sft" / "README.md").read_text().split("```python\n")[-1].split("```")[0]
    found: dict[str, Any] = {"rows": load_dataset(str(bench.export / "sft"), split="train")}
    exec(snippet, found)
    args = bench.args(SFTConfig, max_length=1000)
    trainer = SFTTrainer(str(bench.model), args=args, train_dataset=found["rows"], processing_class=tokenizer)
    learnt = sorted(
        tokenizer.decode([token for token, mask in zip(row["input_ids"], _mask(row), strict=True) if mask])
        for row in trainer.train_dataset
    )
    assert [text.startswith("<think>") for text in learnt] == [True, False, False]
    train(trainer)


@pytest.mark.parametrize("kind", ["all", "mixed"])
@pytest.mark.parametrize(("name", "key"), REASONING_MODELS)
def test_dpo_compares_reasoning(reasoned: dict[str, Bench], kind: str, name: str, key: str) -> None:
    bench, tokenizer = reasoned[f"{kind}-{key}"], tokenizer_with(name)
    rows = load_dataset(str(bench.export / "preference"), split="train")
    args = bench.args(DPOConfig, max_length=1000)
    trainer = DPOTrainer(str(bench.model), args=args, train_dataset=rows, processing_class=tokenizer)
    sides = {
        side: sum(
            any(thought in tokenizer.decode(row[f"{side}_ids"]) for thought in (THOUGHT, "lost"))
            for row in trainer.train_dataset
        )
        for side in ("chosen", "rejected")
    }
    assert sides == ({"chosen": 3, "rejected": 3} if kind == "all" else {"chosen": 1, "rejected": 1})
    train(trainer)


def test_reward_models_take_pairs_with_reasoning(reasoned: dict[str, Bench]) -> None:
    bench, tokenizer = reasoned["mixed-thinking"], tokenizer_with("gptoss")
    rows = load_dataset(str(bench.export / "preference"), split="train")
    model = AutoModelForSequenceClassification.from_pretrained(bench.model, num_labels=1)
    args = bench.args(RewardConfig, max_length=1000)
    train(RewardTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer))
