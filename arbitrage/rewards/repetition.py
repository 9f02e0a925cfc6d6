"""Does the answer go round in circles? Words where there are spaces, characters where there are none."""

from typing import ClassVar, Literal

from pydantic import Field

from arbitrage.contracts.rewards import Scorable
from arbitrage.repetition import compression_ratio, loop_at_end, repeated_lines, repeated_ngrams
from arbitrage.rewards.judgement import Judgement, TextReward
from arbitrage.rewards.names import RewardName
from arbitrage.rewards.options import CheckOptions


class RepetitionConfig(CheckOptions):
    """1 minus the worst of four shares, 0..1: repeated n-grams, repeated lines, a loop at the end, compressibility.

    Errors: `too_short` (fewer than `MIN_UNITS` words, and no more characters than so few words have).

    Attributes:
        compression_limit: plain length over zlib's (level 6), above which an answer counts as repetitive. Answers
            of six models in six languages: median 2.0 to 2.8, 99 of 100 below 4.3, loops from 7 to 18.
    """

    version: ClassVar[int] = 2

    kind: Literal["repetition"] = "repetition"
    name: RewardName = "repetition"
    compression_limit: float = Field(default=6.0, gt=1.0)

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> Judgement:
        return judge_repetition(item.candidate.text, self.compression_limit)


def judge_repetition(text: str, compression_limit: float) -> Judgement:
    """Return how little a text repeats itself: 1 not at all, 0 nothing but."""
    loop = loop_at_end(text)
    ngrams = repeated_ngrams(text)
    if ngrams is None and not loop:
        return Judgement(error="too_short")
    worst = max(ngrams or 0.0, repeated_lines(text), loop, _excess(text, compression_limit))
    return Judgement(value=1.0 - worst)


def _excess(text: str, limit: float) -> float:
    """Return 0 up to the limit, then 1 − limit / ratio."""
    ratio = compression_ratio(text)
    return max(0.0, 1.0 - limit / ratio) if ratio else 0.0
