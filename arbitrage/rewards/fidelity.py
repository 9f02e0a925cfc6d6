"""Is the answer in the prompt's language? The field's best-known failure is an answer in English."""

from typing import Literal

from pydantic import Field

from arbitrage.contracts.rewards import Scorable
from arbitrage.fidelity import language_share
from arbitrage.rewards.judgement import Judgement, TextReward
from arbitrage.rewards.names import RewardName
from arbitrage.rewards.options import CheckOptions


class FidelityConfig(CheckOptions):
    """The share of the answer that is in the prompt's language, 0..1, code, formulas, addresses and names left out.

    An answer of one or two words is judged by script alone: 0 where that is wrong, 1 where it belongs to the
    prompt's language only, else the check abstains.

    Errors: `too_short` (see above), `no_text` (no letters), `unknown_language` (the prompt's), `exempt`.

    Attributes:
        exempt_tasks: values of `Prompt.task` whose answers may be in any language.
    """

    kind: Literal["fidelity"] = "fidelity"
    name: RewardName = "fidelity"
    minimum: float = Field(default=0.8, ge=0.0, le=1.0)
    exempt_tasks: tuple[str, ...] = ("translation",)

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> Judgement:
        if item.prompt.task in self.exempt_tasks:
            return Judgement(error="exempt")
        return judge_fidelity(item.candidate.text, item.prompt.language)


def judge_fidelity(text: str, language: str) -> Judgement:
    """Return the share of a text that is in a language, or why it cannot be told."""
    found = language_share(text, language)
    return Judgement(found.value, found.reason)
