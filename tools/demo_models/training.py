"""Train the tiny models of the world on a CPU: a causal language model and, from it, a scalar reward model.

Matrices are updated by Muon (`tools.demo_models.muon`), everything else by AdamW.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from tools.demo_models.muon import Muon
from tools.demo_models.tokenizer import REASONING_MARKS

POOL_BATCHES = 32
"""Batches are cut from length-sorted pools of this many batches, so that padding stays below a tenth."""

UNKNOWN_ID = 3
LAST_KEPT_ID = 34
"""Ids up to here are never blurred: special tokens, spaces, ASCII punctuation, digits up to '9'."""

READING_WEIGHT = 0.2
"""Weight of predicting the question's characters."""

RATING_WEIGHT = 0.3
SAYING_WEIGHT = 0.3
"""Weights beside ranking: of being near the ratings, and of predicting right answers, which keeps what was known."""

SHARPNESS = 3.0
"""How far apart, in units of the panel's scale, a right and a wrong answer must lie for the ranking to be content."""


@dataclass(frozen=True, slots=True)
class Example:
    """One training row as token ids; the loss covers the ids from `answer_start` on."""

    ids: tuple[int, ...]
    answer_start: int
    target: float = 0.0
    """The rating to predict (reward model only)."""
    scale: float = 1.0
    """The scale of the panel that gave the rating (reward model only)."""
    is_right: bool = False
    """Whether the reward model should rank this answer first in its group, and learn to say it."""
    seen: tuple[int, ...] = ()
    """What the model reads in place of `ids`, if not empty: some characters of the question are blurred."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    seed: int
    batch_size: int = 32
    matrix_rate: float = 0.03
    other_rate: float = 0.004
    warmup_steps: int = 20
    blur: float = 0.06
    """Share of a question's characters read as <unk>; else whole questions are learnt by heart."""


def encode_question(tokenizer: Any, question: str) -> list[int]:
    """Spell a question the way the chat template does, up to where the answer starts."""
    turn = [{"role": "user", "content": question}]
    ids: list[int] = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
    return ids


def encode_example(
    tokenizer: Any,
    question: str,
    answer: str,
    target: float = 0.0,
    scale: float = 1.0,
    is_right: bool = False,
    reasoning: str | None = None,
) -> Example:
    """Spell a question and its answer, reasoning before it, the way the chat template does, ending in <eos>."""
    prompt = encode_question(tokenizer, question)
    answer_ids = tokenizer(answer, add_special_tokens=False, split_special_tokens=True).input_ids
    if reasoning is not None:
        start, end = tokenizer.convert_tokens_to_ids([REASONING_MARKS.start, REASONING_MARKS.end])
        answer_ids = [start, *tokenizer(reasoning, add_special_tokens=False).input_ids, end, *answer_ids]
    return Example((*prompt, *answer_ids, tokenizer.eos_token_id), len(prompt), target, scale, is_right)


def fit(
    model: Any,
    groups: Sequence[Sequence[Example]],
    schedule: Schedule,
    loss_of: Callable[[Any, Sequence[Example]], Any],
    name: str,
) -> None:
    """Update the model in place for `schedule.steps` steps, printing a line every 100.

    Args:
        model: A freshly initialised or pre-trained transformers model in float32.
        groups: Examples that stay together in a batch; drawn without replacement, pass after pass.
        schedule: Length, rates and seed.
        loss_of: Maps (model, batch) to a scalar tensor.
        name: Shown in progress lines.
    """
    optimizers = _build_optimizers(model, schedule)
    started, total = time.monotonic(), 0.0
    batches = _batches(groups, schedule)
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


def answer_loss(model: Any, batch: Sequence[Example]) -> Any:
    """Mean cross-entropy over the answers' characters, plus a little over the questions': it teaches words."""
    ids_BS, hidden_BSH = _read(model, batch)
    answers = [range(example.answer_start, len(example.ids)) for example in batch]
    questions = [range(2, example.answer_start) for example in batch]
    return _cross_entropy(model, answers, ids_BS, hidden_BSH) + READING_WEIGHT * _cross_entropy(
        model, questions, ids_BS, hidden_BSH
    )


def rating_loss(model: Any, batch: Sequence[Example]) -> Any:
    """Rank each question's right answer above the others, stay near the ratings, remember how right answers go.

    Args:
        model: The reward model.
        batch: Groups of one question's answers, one after the other, the right answer first in each.
    """
    import torch

    ids_BS, hidden_BSH = _read(model, batch)
    rewards_B = _rewards(model, batch, hidden_BSH)
    scales_B = torch.tensor([example.scale for example in batch])
    sharp_B = rewards_B * SHARPNESS / scales_B
    ranking = torch.stack([-sharp_B[group.start : group.stop].log_softmax(0)[0] for group in _groups(batch)]).mean()
    targets_B = torch.tensor([example.target for example in batch])
    error = torch.nn.functional.mse_loss(rewards_B, targets_B)
    answer_ids = [range(e.answer_start, len(e.ids)) if e.is_right else range(0) for e in batch]
    return ranking + RATING_WEIGHT * error + SAYING_WEIGHT * _cross_entropy(model, answer_ids, ids_BS, hidden_BSH)


def _groups(batch: Sequence[Example]) -> list[range]:
    """Return the places of each question's answers."""
    starts = [place for place, example in enumerate(batch) if example.is_right]
    return [range(*ends) for ends in pairwise([*starts, len(batch)])]


def score_batch(model: Any, batch: Sequence[Example]) -> Any:
    """Return the rewards of a batch, shape (B,)."""
    return _rewards(model, batch, _read(model, batch)[1])


def _read(model: Any, batch: Sequence[Example]) -> tuple[Any, Any]:
    """Return the padded ids (B, S) and the last hidden states (B, S, H)."""
    pad_id = model.config.pad_token_id
    ids_BS = _pad([example.ids for example in batch], pad_id)
    seen_BS = _pad([example.seen or example.ids for example in batch], pad_id)
    return ids_BS, model.model(input_ids=seen_BS, use_cache=False).last_hidden_state


def _rewards(model: Any, batch: Sequence[Example], hidden_BSH: Any) -> Any:
    import torch

    ends_B = torch.tensor([len(example.ids) - 1 for example in batch])
    return model.score(hidden_BSH[torch.arange(len(batch)), ends_B]).squeeze(-1)


def _cross_entropy(model: Any, spans: Sequence[range], ids_BS: Any, hidden_BSH: Any) -> Any:
    """Mean over the positions of each row's span of predicting the id there from the ids before it."""
    import torch

    rows_A, columns_A = _positions(spans)
    if not len(rows_A):
        return hidden_BSH.new_zeros(())
    # Input and output embeddings are tied, so a model without a language head has one all the same.
    logits_AV = torch.nn.functional.linear(hidden_BSH[rows_A, columns_A - 1], model.model.embed_tokens.weight)
    return torch.nn.functional.cross_entropy(logits_AV, ids_BS[rows_A, columns_A])


def _positions(spans: Sequence[range]) -> tuple[Any, Any]:
    """Return the row and the column of every position in the spans, both (A,)."""
    import torch

    rows = [row for row, span in enumerate(spans) for _ in span]
    columns = [column for span in spans for column in span]
    return torch.tensor(rows, dtype=torch.long), torch.tensor(columns, dtype=torch.long)


def _pad(rows: Sequence[Sequence[int]], pad_id: int) -> Any:
    """Right-pad; under causal attention the padding is never seen, so no mask is needed."""
    import torch

    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[pad_id] * (longest - len(row))] for row in rows])


def _build_optimizers(model: Any, schedule: Schedule) -> list[Any]:
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


def _batches(groups: Sequence[Sequence[Example]], schedule: Schedule) -> Iterator[list[Example]]:
    import torch

    generator = torch.Generator().manual_seed(schedule.seed)
    lengths = [max(len(example.ids) for example in group) for group in groups]
    width = max(1, schedule.batch_size * len(groups) // sum(len(group) for group in groups))
    while True:
        order = torch.randperm(len(groups), generator=generator).tolist()
        for start in range(0, len(order), width * POOL_BATCHES):
            pool = sorted(order[start : start + width * POOL_BATCHES], key=lambda index: lengths[index])
            cuts = [pool[at : at + width] for at in range(0, len(pool), width)]
            for cut in torch.randperm(len(cuts), generator=generator).tolist():
                chosen = [example for index in cuts[cut] for example in groups[index]]
                yield [_blur(example, schedule.blur, generator) for example in chosen]


def _blur(example: Example, share: float, generator: Any) -> Example:
    """Hide some characters of the question, digits and special tokens excepted, behind <unk>."""
    import torch

    drawn = torch.rand(example.answer_start, generator=generator).tolist()
    question = [
        UNKNOWN_ID if chance < share and token > LAST_KEPT_ID else token
        for chance, token in zip(drawn, example.ids[: example.answer_start], strict=True)
    ]
    return replace(example, seen=(*question, *example.ids[example.answer_start :]))
