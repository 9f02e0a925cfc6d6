"""What the configs of all rewards, and of all checks, have in common."""

from typing import Annotated, ClassVar

from pydantic import Field

from arbitrage.config import Config, Operational
from arbitrage.contracts.steps import Resources
from arbitrage.rewards.names import RewardName, versioned


class OpinionOptions(Config):
    """Base of the configs of all that scores answers on a scale of its own, which is then calibrated.

    Attributes:
        name: stands in step names and, before the '@', in Score.reward.
    """

    version: ClassVar[int] = 1
    """Raise it when the code changes what comes out."""

    name: RewardName = "reward"

    @property
    def reward_name(self) -> str:
        """`name@version`, as it stands in Score.reward."""
        return versioned(self.name, self.version)

    @property
    def least(self) -> float | None:
        """The raw score below which an answer may not be selected; None where all may."""
        return None


class RewardOptions(OpinionOptions):
    """Base of the reward configs.

    Attributes:
        resources: what one replica holds while its model is loaded.
    """

    is_model: ClassVar[bool] = False
    """Whether an opinion is dear enough to be journaled as it arrives."""

    resources: Annotated[Resources, Operational] = Resources()


class CheckOptions(Config):
    """Base of the check configs. A check that cannot tell abstains with an error, and that never closes a gate.

    Attributes:
        name: stands in configs and, before the '@', in Score.reward.
        gate: an answer that fails may not be selected.
        minimum: an answer fails if its value is below this; values lie in 0..1, 1 is best.
    """

    version: ClassVar[int] = 1
    """Raise it when the code changes what comes out."""

    name: RewardName = "check"
    gate: bool = True
    minimum: float = Field(default=0.5, ge=0.0, le=1.0)

    @property
    def reward_name(self) -> str:
        """`name@version`, as it stands in Score.reward."""
        return versioned(self.name, self.version)
