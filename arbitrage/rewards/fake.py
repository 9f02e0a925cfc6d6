"""A reward without meaning: a number drawn from a hash of the text, for tests and dry runs."""

from statistics import NormalDist
from typing import Literal

from pydantic import Field

from arbitrage.contracts.rewards import Scorable
from arbitrage.records import content_id
from arbitrage.rewards.options import CheckResult, RewardName, RewardOptions, TextReward


class FakeRewardConfig(RewardOptions):
    """A standard normal number for each text, plus `language_bias`, and plus `per_character` for each character.

    Attributes:
        error_share: share of candidates left unscored, with the error `fake`.
        seed: another seed gives other numbers.
        language_bias: language tag → number added to its scores.
        per_character: number added for each character of the text.
    """

    kind: Literal["fake"] = "fake"
    name: RewardName = "fake"
    seed: int = 0
    language_bias: dict[str, float] = {}
    per_character: float = 0.0
    error_share: float = Field(default=0.0, ge=0.0, le=1.0)

    def build(self) -> TextReward:
        """Build the reward."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> CheckResult:
        text = item.candidate.shown
        if self._uniform("error", item.candidate.candidate_id) < self.error_share:
            return CheckResult(error="fake")
        noise = NormalDist().inv_cdf(self._uniform("value", text))
        bias = self.language_bias.get(item.prompt.language, 0.0)
        return CheckResult(value=noise + bias + self.per_character * len(text))

    def _uniform(self, purpose: str, text: str) -> float:
        # strictly between 0 and 1, as inv_cdf requires
        return (int(content_id("fake-reward", self.seed, purpose, text)[:13], 16) + 0.5) / 16**13
