"""Is the answer the known right one? For reports and the oracle; a weight of its own puts it into an ensemble."""

from typing import Literal

from arbitrage.contracts.rewards import Scorable
from arbitrage.languages import primary
from arbitrage.rewards.judgement import Judgement, TextReward
from arbitrage.rewards.names import RewardName
from arbitrage.rewards.options import CheckOptions
from arbitrage.world.checker import is_correct


class ExactConfig(CheckOptions):
    """1 where the answer equals `Prompt.reference` after normalisation, 0 where not.

    Errors: `no_reference` where the prompt has none.
    """

    kind: Literal["exact"] = "exact"
    name: RewardName = "exact"
    gate: bool = False

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, _judge)


def _judge(item: Scorable) -> Judgement:
    reference = item.prompt.reference
    if reference is None:
        return Judgement(error="no_reference")
    return Judgement(value=float(is_correct(primary(item.prompt.language), item.candidate.text, reference)))
