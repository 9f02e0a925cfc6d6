"""Train the tiny models of the world on a CPU: a causal language model and, from it, a scalar reward model.

Matrices are updated by Muon (https://kellerjordan.github.io/posts/muon), everything else by AdamW: at equal time on two
cores this reached held-out answers that AdamW alone reached in about twice the steps.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from arbitrage.world.muon import Muon

POOL_BATCHES = 32
"""Batches are cut from length-sorted pools of so many batches, so that padding stays below a tenth."""


@dataclass(frozen=True, slots=True)
class Example:
    """One training row as token ids; the loss covers the ids from `answer_start` on."""

    ids: tuple[int, ...]
    answer_start: int
    target: float = 0.0
    """The rating to predict (reward model only)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    seed: int
    batch_size: int = 48
    matrix_rate: float = 0.02
    other_rate: float = 0.003
    warmup_steps: int = 20


def encode_example(tokenizer: Any, question: str, answer: str, target: float = 0.0) -> Example:  # noqa: ANN401
    """Spell a question and its answer the way the chat template does, ending in <eos>."""
    turn = [{"role": "user", "content": question}]
    asked = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
    said = tokenizer(answer, add_special_tokens=False, split_special_tokens=True).input_ids
    return Example((*asked, *said, tokenizer.eos_token_id), len(asked), target)


def fit(
    model: Any,  # noqa: ANN401 - a transformers model
    examples: Sequence[Example],
    schedule: Schedule,
    loss_of: Callable[[Any, Sequence[Example]], Any],
    name: str,
) -> None:
    """Update the model in place for `schedule.steps` steps, printing a line every 100.

    Args:
        model: A freshly initialised or pre-trained transformers model in float32.
        examples: Drawn without replacement, pass after pass.
        schedule: Length, rates and seed.
        loss_of: Maps (model, batch) to a scalar tensor.
        name: Shown in progress lines.
    """
    optimizers = _build_optimizers(model, schedule)
    started, total = time.monotonic(), 0.0
    batches = _batches(examples, schedule)
    model.train()
    for step in range(schedule.steps):
        factor = _rate_factor(step, schedule)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        loss = loss_of(model, next(batches))
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        total += float(loss.detach())
        if (step + 1) % 100 == 0:
            elapsed_s = time.monotonic() - started
            print(f"{name}: step {step + 1}/{schedule.steps} loss {total / 100:.4f} {elapsed_s:.0f} s", flush=True)
            total = 0.0
    model.eval()


def answer_loss(model: Any, batch: Sequence[Example]) -> Any:  # noqa: ANN401
    """Mean cross-entropy over the answers' characters, their <eos> included."""
    import torch

    ids_BS = _pad(batch, model.config.pad_token_id)
    hidden_BSH = model.model(input_ids=ids_BS, use_cache=False).last_hidden_state
    rows, columns = [], []
    for row, example in enumerate(batch):
        positions = range(example.answer_start - 1, len(example.ids) - 1)
        columns.extend(positions)
        rows.extend([row] * len(positions))
    picked = (torch.tensor(rows), torch.tensor(columns))
    logits_AV = model.lm_head(hidden_BSH[picked])
    return torch.nn.functional.cross_entropy(logits_AV, ids_BS[picked[0], picked[1] + 1])


def rating_loss(model: Any, batch: Sequence[Example]) -> Any:  # noqa: ANN401
    """Mean squared error between the reward and the rating."""
    import torch

    rewards_B = score_batch(model, batch)
    targets_B = torch.tensor([example.target for example in batch])
    return torch.nn.functional.mse_loss(rewards_B, targets_B)


def score_batch(model: Any, batch: Sequence[Example]) -> Any:  # noqa: ANN401
    """Return the rewards of a batch, shape (B,)."""
    import torch

    ids_BS = _pad(batch, model.config.pad_token_id)
    hidden_BSH = model.model(input_ids=ids_BS, use_cache=False).last_hidden_state
    ends_B = torch.tensor([len(example.ids) - 1 for example in batch])
    return model.score(hidden_BSH[torch.arange(len(batch)), ends_B]).squeeze(-1)


def _pad(batch: Sequence[Example], pad_id: int) -> Any:  # noqa: ANN401
    """Right-pad; under causal attention the padding is never seen, so no mask is needed."""
    import torch

    longest = max(len(example.ids) for example in batch)
    return torch.tensor([[*example.ids, *[pad_id] * (longest - len(example.ids))] for example in batch])


def _build_optimizers(model: Any, schedule: Schedule) -> list[Any]:  # noqa: ANN401
    import torch

    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    matrices = [weight for name, weight in named if weight.ndim == 2 and ".layers." in name]
    others = [weight for name, weight in named if not (weight.ndim == 2 and ".layers." in name)]
    muon = Muon(matrices, schedule.matrix_rate)
    adam = torch.optim.AdamW(others, lr=schedule.other_rate, betas=(0.9, 0.98), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [muon, adam]


def _rate_factor(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then a cosine down to 2 %."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def _batches(examples: Sequence[Example], schedule: Schedule) -> Iterator[list[Example]]:
    import torch

    generator = torch.Generator().manual_seed(schedule.seed)
    pool_size = schedule.batch_size * POOL_BATCHES
    while True:
        order = torch.randperm(len(examples), generator=generator).tolist()
        for start in range(0, len(order), pool_size):
            pool = sorted(order[start : start + pool_size], key=lambda index: len(examples[index].ids))
            cuts = [pool[at : at + schedule.batch_size] for at in range(0, len(pool), schedule.batch_size)]
            for cut in torch.randperm(len(cuts), generator=generator).tolist():
                yield [examples[index] for index in cuts[cut]]
