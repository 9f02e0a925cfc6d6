"""Does the answer decline to answer? Short answers that open with a refusal, in the languages of `refusals.yaml`."""

import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import Field

from arbitrage.contracts.rewards import Scorable
from arbitrage.rewards.judgement import Judgement, TextReward
from arbitrage.rewards.names import RewardName
from arbitrage.rewards.options import CheckOptions
from arbitrage.scripts import SPACELESS, count_scripts

OPENING_CHARACTERS = 120
"""A refusal begins with itself; later on the same words are part of a story."""

GAP_CHARACTERS = 40
"""What '…' in a phrase may stand for."""

_STRAIGHT = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'"})


class RefusalConfig(CheckOptions):
    """0 where a short answer opens with a refusal in any of the known languages, else 1.

    Attributes:
        max_characters: longer answers go on to answer after all; in spaceless scripts a third of it.
    """

    kind: Literal["refusal"] = "refusal"
    name: RewardName = "refusal"
    max_characters: int = Field(default=500, ge=1)

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> Judgement:
        return Judgement(value=0.0 if is_refusal(item.candidate.text, self.max_characters) else 1.0)


def is_refusal(text: str, max_characters: int) -> bool:
    """Tell whether a text is short and opens with a refusal."""
    scripts = count_scripts(text)
    spaceless = sum(n for script, n in scripts.items() if script in SPACELESS)
    limit = max_characters // 3 if spaceless * 2 > sum(scripts.values()) else max_characters
    return len(text) <= limit and bool(_pattern().search(fold(text)[:OPENING_CHARACTERS]))


def fold(text: str) -> str:
    """Return a text as the phrases are written: NFKC, case folded, straight apostrophes, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(_STRAIGHT).split())


@cache
def phrases() -> dict[str, list[str]]:
    """Return the phrases of each language."""
    text = (files("arbitrage.rewards") / "refusals.yaml").read_text(encoding="utf-8")
    return {str(language): list(found) for language, found in yaml.safe_load(text).items()}


@cache
def _pattern() -> re.Pattern[str]:
    wanted = sorted({phrase for found in phrases().values() for phrase in found})
    return re.compile("|".join(_regex(phrase) for phrase in wanted))


def _regex(phrase: str) -> str:
    parts = [re.escape(fold(part)) for part in phrase.split("…")]
    start = r"(?<!\w)" if phrase[0].isalpha() and count_scripts(phrase[0]).keys().isdisjoint(SPACELESS) else ""
    return start + f".{{0,{GAP_CHARACTERS}}}?".join(parts)
