"""Does the answer say anything?"""

import unicodedata
from typing import Literal

from pydantic import Field

from arbitrage.contracts.rewards import Scorable
from arbitrage.rewards.judgement import Judgement, TextReward
from arbitrage.rewards.names import RewardName
from arbitrage.rewards.options import CheckOptions


class EmptinessConfig(CheckOptions):
    """1 where the answer has at least `min_characters` letters, digits or symbols, else 0.

    Spaces, punctuation, control and format characters say nothing; an emoji or '+' does.
    """

    kind: Literal["emptiness"] = "emptiness"
    name: RewardName = "emptiness"
    min_characters: int = Field(default=1, ge=1)

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> Judgement:
        found = 0
        for char in item.candidate.text:
            found += unicodedata.category(char)[0] in "LNS"
            if found >= self.min_characters:
                return Judgement(value=1.0)
        return Judgement(value=0.0)
