"""Base configs of rewards and checks, and `TextReward`, a `Reward` made from a pure function.

Rewards and checks have a plain name in configs and `name@version` in `Score.reward`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from arbitrage.config import Config, Operational
from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.steps import Resources
from arbitrage.records import Score

RewardName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=80)]
"""A name that may stand in a step's name and in a directory."""


def versioned(name: str, version: int, model: str | None = None) -> str:
    """Return `name@version`, with the first 8 digits of a model's digest if there is a model."""
    return f"{name}@{version}" if model is None else f"{name}@{version}-{model[:8]}"


class ScorerOptions(Config):
    """Base of the configs of rewards and committees: scorers on an open scale, which are calibrated.

    Attributes:
        name: part of step names and, before the '@', of Score.reward.
    """

    version: ClassVar[int] = 1
    """Increase it when a change of the code changes scores."""

    name: RewardName = "reward"

    @property
    def reward_name(self) -> str:
        """`name@version`, the value of Score.reward."""
        return versioned(self.name, self.version)

    @property
    def least(self) -> float | None:
        """Minimum raw score of selected candidates; None: no minimum."""
        return None


class RewardOptions(ScorerOptions):
    """Base of the reward configs.

    Attributes:
        resources: CPUs and GPUs of one replica, and the number of replicas.
    """

    is_model: ClassVar[bool] = False
    """Whether a score is expensive enough to be journaled as it arrives."""

    resources: Annotated[Resources, Operational] = Resources()


class CheckOptions(Config):
    """Base of the check configs. A check that cannot decide gives an error and no value; such a candidate passes.

    Attributes:
        name: in `ensemble` and, before the '@', in Score.reward.
        filter: whether a candidate that fails the check is not selected.
        minimum: a candidate with a smaller value fails; values are between 0 and 1 (best).
    """

    version: ClassVar[int] = 1
    """Increase it when a change of the code changes scores."""

    name: RewardName = "check"
    filter: bool = True
    minimum: float = Field(default=0.5, ge=0.0, le=1.0)

    @property
    def reward_name(self) -> str:
        """`name@version`, the value of Score.reward."""
        return versioned(self.name, self.version)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A value, or the reason why there is none."""

    value: float | None = None
    error: str | None = None


class TextReward:
    """A `Reward` made from a pure function."""

    def __init__(self, name: str, judge: Callable[[Scorable], CheckResult]) -> None:
        self._name = name
        self._judge = judge

    @property
    def name(self) -> str:
        """`name@version`, the value of Score.reward."""
        return self._name

    def score_one(self, item: Scorable) -> Score:
        """Return the score of one candidate."""
        return score_of(item, self._name, self._judge(item))

    async def score(self, items: Sequence[Scorable]) -> list[Score]:
        """Return one Score for each item, in order."""
        return [self.score_one(item) for item in items]

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""


def score_of(item: Scorable, reward: str, result: CheckResult) -> Score:
    """Make a Score of a check's result."""
    return Score(
        candidate_id=item.candidate.candidate_id,
        prompt_id=item.candidate.prompt_id,
        reward=reward,
        value=result.value,
        error=result.error,
    )
