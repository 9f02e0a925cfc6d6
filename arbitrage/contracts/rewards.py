"""Scorers of candidates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from arbitrage.records import Candidate, Prompt, Score


@dataclass(frozen=True, slots=True)
class Scorable:
    """A candidate with its prompt."""

    prompt: Prompt
    candidate: Candidate


class Reward(Protocol):
    """Scores candidates: a reward model, a check, a recorded column."""

    @property
    def name(self) -> str:
        """`name@version`, the value of Score.reward."""
        ...

    async def score(self, items: Sequence[Scorable]) -> list[Score]:
        """Return one Score for each item, in order; a value or an error, never NaN."""
        ...

    async def close(self) -> None:
        """Release processes and memory."""
        ...
