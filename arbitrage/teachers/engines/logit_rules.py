"""What `DecodingOptions` do to the logits of a batch, for engines that sample by themselves.

Equal to vLLM's: repetition penalty [1909.05858] over prompt and completion, presence and frequency penalty over the
completion, then biases, bad words and `min_tokens`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arbitrage.contracts.engines import DecodingOptions


@dataclass(slots=True)
class Budget:
    """A limit on the tokens of the reasoning, after which a row is made to write the closing mark.

    Attributes:
        max_tokens: between the marks.
        start: id of the opening mark.
        end: id of the closing mark.
        left: tokens left, per row; None where the row is not inside its reasoning.
    """

    max_tokens: int
    start: int
    end: int
    left: list[int | None]

    def close(self, chosen: Any) -> None:
        """Put the closing mark where nothing is left. Shape [rows]."""
        for row, left in enumerate(self.left):
            if left is not None and left <= 0:
                chosen[row] = self.end

    def note(self, row: int, token: int) -> None:
        """Take in the next token of a row."""
        left = self.left[row]
        if token == self.end:
            self.left[row] = None
        elif left is not None:
            self.left[row] = left - 1
        elif token == self.start:
            self.left[row] = self.max_tokens


class LogitRules:
    """Changes the logits of a batch whose rows share their options; remembers what each row has written.

    Args:
        options: which rules.
        end_ids: ids that end a row.
        prompts: token ids of each row's prompt.
        bad_words: token ids of texts that no row may hold.
        budget: of the reasoning.
    """

    def __init__(
        self,
        options: DecodingOptions,
        end_ids: Sequence[int],
        prompts: Sequence[Sequence[int]],
        bad_words: Sequence[Sequence[int]] = (),
        budget: Budget | None = None,
    ) -> None:
        self.options = options
        self.budget = budget
        self._end_ids = sorted(end_ids)
        self._prompts = prompts
        self._bad_words = bad_words
        self._written: list[list[int]] = [[] for _ in prompts]
        self._counts: Any = None
        self._is_known: Any = None

    def apply(self, scores: Any) -> Any:
        """Return the logits after the rules. Shape [rows, vocabulary]."""
        scores = self._penalised(scores.clone())
        for token, bias in self.options.logit_bias.items():
            if token < scores.shape[1]:
                scores[:, token] += bias
        for *before, last in self._bad_words:
            for row, written in enumerate(self._written):
                if written[len(written) - len(before) :] == before:
                    scores[row, last] = float("-inf")
        if len(self._written[0]) < (self.options.min_tokens or 0):
            scores[:, self._end_ids] = float("-inf")
        return scores

    def note(self, chosen: Any) -> None:
        """Take in the next token of each row. Shape [rows]."""
        for row, token in enumerate(chosen.tolist()):
            self._written[row].append(token)
            if self._counts is not None:
                self._counts[row, token] += 1
                self._is_known[row, token] = True
            if self.budget is not None:
                self.budget.note(row, token)

    def _penalised(self, scores: Any) -> Any:
        import torch

        repetition, o = self.options.repetition_penalty, self.options
        if repetition is None and o.frequency_penalty is None and o.presence_penalty is None:
            return scores
        if self._counts is None:
            self._counts = torch.zeros_like(scores)
            self._is_known = torch.zeros_like(scores, dtype=torch.bool)
            for row, prompt in enumerate(self._prompts):
                self._is_known[row, list(set(prompt))] = True
        if repetition is not None:
            scaled = torch.where(scores > 0, scores / repetition, scores * repetition)
            scores = torch.where(self._is_known, scaled, scores)
        scores -= (o.frequency_penalty or 0.0) * self._counts
        return scores - (o.presence_penalty or 0.0) * (self._counts > 0)
