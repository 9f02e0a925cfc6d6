"""Opinions that need no model: a pure function of one answer, wrapped as a `Reward`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arbitrage.contracts.rewards import Scorable
from arbitrage.records import Score


@dataclass(frozen=True, slots=True)
class Judgement:
    """A value, or the reason why there is none."""

    value: float | None = None
    error: str | None = None


class TextReward:
    """A `Reward` made of a pure function."""

    def __init__(self, name: str, judge: Callable[[Scorable], Judgement]) -> None:
        self._name = name
        self._judge = judge

    @property
    def name(self) -> str:
        """`name@version`, as it stands in Score.reward."""
        return self._name

    def score_one(self, item: Scorable) -> Score:
        """Return the score of one candidate."""
        return score_of(item, self._name, self._judge(item))

    async def score(self, items: Sequence[Scorable]) -> list[Score]:
        """Return one Score for each item, in order."""
        return [self.score_one(item) for item in items]

    async def close(self) -> None:
        """Hold nothing, release nothing."""


def score_of(item: Scorable, reward: str, judgement: Judgement) -> Score:
    """Write a judgement down."""
    return Score(
        candidate_id=item.candidate.candidate_id,
        prompt_id=item.candidate.prompt_id,
        reward=reward,
        value=judgement.value,
        error=judgement.error,
    )
