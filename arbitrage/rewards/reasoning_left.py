"""Was reasoning left in the answer? A student would learn to write it where the answer belongs."""

from typing import Literal

from arbitrage.contracts.rewards import Scorable
from arbitrage.reasoning import find_reasoning
from arbitrage.rewards.judgement import Judgement, TextReward
from arbitrage.rewards.names import RewardName
from arbitrage.rewards.options import CheckOptions


class ReasoningLeftConfig(CheckOptions):
    """0 where the answer still holds reasoning (`<think>…</think>`, a closing tag alone, `[THINK]`, …), else 1.

    Part of every pipeline, whether it is named under `checks` or not; name it with `gate: false` to count such
    answers and select them all the same. Answers that speak of these tags in code, in quotation marks or within a
    sentence pass, and so do XML and HTML documents and formats that the prompt asks for.
    """

    kind: Literal["reasoning_left"] = "reasoning_left"
    name: RewardName = "reasoning-left"

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, _judge)


def _judge(item: Scorable) -> Judgement:
    prompt = "\n".join(message.content for message in item.prompt.messages)
    return Judgement(value=0.0 if find_reasoning(item.candidate.text, prompt) else 1.0)
