"""Is the answer the known right one? For reports and the oracle; a weight of its own puts it into an ensemble."""

from typing import Literal

from arbitrage.contracts.rewards import Scorable
from arbitrage.exact_match import Match, is_match
from arbitrage.languages import primary
from arbitrage.rewards.judgement import Judgement, TextReward
from arbitrage.rewards.names import RewardName
from arbitrage.rewards.options import CheckOptions


class ExactConfig(CheckOptions):
    """1 where the answer is `Prompt.reference`, 0 where not.

    Errors: `no_reference` where the prompt has none.

    Attributes:
        match: what of the answer is compared. `auto`: its last number (what is boxed or behind '####', if anything
            is) where the reference is a number, else all of it. `whole`, `last_number`, `contains` (the reference
            anywhere, as whole words), `final_answer` (what is boxed, behind '####' or 'Answer:', or the last line).
    """

    kind: Literal["exact"] = "exact"
    name: RewardName = "exact"
    gate: bool = False
    match: Match = "auto"

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> Judgement:
        reference = item.prompt.reference
        if reference is None:
            return Judgement(error="no_reference")
        language = primary(item.prompt.language)
        return Judgement(value=float(is_match(self.match, language, item.candidate.text, reference)))
