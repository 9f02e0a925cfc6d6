"""Was the answer cut off? Cut-off answers teach a student to stop mid-sentence."""

from typing import Literal

from arbitrage.contracts.rewards import Scorable
from arbitrage.records import FinishReason
from arbitrage.rewards.judgement import Judgement, TextReward
from arbitrage.rewards.names import RewardName
from arbitrage.rewards.options import CheckOptions


class TruncationConfig(CheckOptions):
    """1 where the teacher stopped by itself, 0 where it ran into `max_tokens`."""

    kind: Literal["truncation"] = "truncation"
    name: RewardName = "truncation"

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, _judge)


def _judge(item: Scorable) -> Judgement:
    return Judgement(value=0.0 if item.candidate.finish_reason is FinishReason.LENGTH else 1.0)
