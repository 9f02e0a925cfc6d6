"""Sampling in which every draw depends only on the row's seed and the position, not on the batch.

Duck-typed as a transformers LogitsProcessor and StoppingCriteria. The model runs with `do_sample=False`; this
processor hands it scores whose argmax is the token drawn, so rows of any temperature share a batch. The draw is by
inversion: a number u in [0, 1) from a hash of (seed, position) picks the token at which the cumulative probability
of the nucleus [1904.09751] passes u.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arbitrage.contracts.engines import DecodingOptions
from arbitrage.teachers.engines.logit_rules import LogitRules


@dataclass(frozen=True, slots=True)
class Draw:
    """How one row is sampled. Temperature 0 is greedy."""

    seed: int
    temperature: float
    top_p: float
    max_tokens: int


class RowSampler:
    """Chooses the next token of each row, and sums its natural log-probability at temperature 1.

    Args:
        draws: how each row is sampled.
        end_ids: ids that end a row.
        rules: what else decides, the same for all rows.

    Attributes:
        logprobs: sum over the tokens chosen so far, end-of-sequence token included, per row.
    """

    def __init__(self, draws: Sequence[Draw], end_ids: Sequence[int], rules: LogitRules | None = None) -> None:
        self.logprobs = [0.0] * len(draws)
        self._draws = draws
        self._end_ids = frozenset(end_ids)
        self._rules = rules
        self._is_done = [False] * len(draws)
        self._position = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return scores in which the chosen token of each row is the only possible one. Shapes [rows, vocabulary]."""
        import torch

        scores = scores.float()
        allowed = self._rules.apply(scores) if self._rules else scores
        chosen = allowed.argmax(dim=-1)
        warm = [row for row, draw in enumerate(self._draws) if draw.temperature > 0 and not self._is_done[row]]
        if warm:
            chosen[warm] = self._draw(allowed[warm], [self._draws[row] for row in warm])
        if self._rules:
            if self._rules.budget:
                self._rules.budget.close(chosen)
            self._rules.note(chosen)
        self._account(scores, chosen)
        self._position += 1
        only = torch.full_like(scores, float("-inf"))
        return only.scatter_(1, chosen.unsqueeze(1), 0.0)

    def _draw(self, scores: Any, draws: Sequence[Draw]) -> Any:
        import torch

        def column(values: list[float]) -> Any:
            return torch.tensor(values, dtype=torch.float64, device=scores.device).unsqueeze(1)

        probs = torch.softmax(scores.double() / column([d.temperature for d in draws]), dim=-1)
        probs, order = probs.sort(dim=-1, descending=True, stable=True)
        if self._rules:
            probs = _kept(probs, self._rules.options)
        before = probs.cumsum(dim=-1) - probs
        probs = torch.where(before < column([d.top_p for d in draws]), probs, 0.0)  # the first is always kept
        total = probs.cumsum(dim=-1)
        level = column([uniform(d.seed, self._position) for d in draws]) * total[:, -1:]
        index = torch.searchsorted(total, level, right=True)
        last = (probs > 0).sum(dim=-1, keepdim=True) - 1
        return order.gather(1, torch.minimum(index, last)).squeeze(1)

    def _account(self, scores: Any, chosen: Any) -> None:
        logprobs = scores.log_softmax(dim=-1).gather(1, chosen.unsqueeze(1)).squeeze(1)
        for row, (token, logprob) in enumerate(zip(chosen.tolist(), logprobs.tolist(), strict=True)):
            is_last = self._position >= self._draws[row].max_tokens - 1 or token in self._end_ids
            if not self._is_done[row]:
                self.logprobs[row] += logprob
                self._is_done[row] = is_last


def _kept(probs: Any, options: DecodingOptions) -> Any:
    """Return the probabilities that min_p and top_k keep, summing to 1. Shape [rows, vocabulary], falling."""
    import torch

    if options.min_p is not None:
        probs = torch.where(probs >= options.min_p * probs[:, :1], probs, 0.0)
    if options.top_k is not None:
        probs[:, options.top_k :] = 0.0
    return probs / probs.sum(dim=-1, keepdim=True)


class RowLimits:
    """Stops each row at its own maximum number of tokens."""

    def __init__(self, draws: Sequence[Draw], prompt_width: int) -> None:
        self._max_tokens = [draw.max_tokens for draw in draws]
        self._prompt_width = prompt_width

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Tell for each row whether it has reached its limit. Shape [rows]."""
        import torch

        num_tokens = input_ids.shape[1] - self._prompt_width
        return torch.tensor([num_tokens >= limit for limit in self._max_tokens], device=input_ids.device)


def uniform(seed: int, position: int) -> float:
    """Return a number in [0, 1) from a hash of seed and position."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=7).digest()
    return (int.from_bytes(digest) >> 3) / 2**53
