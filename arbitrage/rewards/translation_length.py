"""Is a translation about as long as translations of such a text are?"""

from typing import ClassVar, Literal

from pydantic import Field

from arbitrage.contracts.rewards import Scorable
from arbitrage.records import is_translation
from arbitrage.rewards.options import CheckOptions, CheckResult, RewardName, TextReward
from arbitrage.text.lengths import surprise


class TranslationLengthConfig(CheckOptions):
    """1 where a translation is as long as usual for its languages, falling to 0 at `deviations` standard deviations.

    A weak sign of quality: it is what chooses between translations where nothing better is configured.

    Errors: `not_a_translation`.

    Attributes:
        filter: whether a candidate that fails the check is left out of the selection.
        deviations: at so many standard deviations from the usual length a translation gets 0.
    """

    version: ClassVar[int] = 1

    kind: Literal["translation_length"] = "translation_length"
    name: RewardName = "translation-length"
    filter: bool = False
    deviations: float = Field(default=4.0, gt=0.0)

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> CheckResult:
        if item.prompt.translation is None or not is_translation(item.prompt):
            return CheckResult(error="not_a_translation")
        source = "\n\n".join(message.content for message in item.prompt.messages)
        by = surprise(source, item.candidate.text, item.prompt.translation.source_language, item.prompt.language)
        return CheckResult(value=max(0.0, 1.0 - abs(by) / self.deviations))
