"""Is the answer in the prompt's language? The field's best-known failure is an answer in English.

After the Language Confusion Benchmark [2406.20052], graded: line pass rate by language identification, word pass rate
by script. The value is the smaller of the two.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from arbitrage.contracts.rewards import Scorable
from arbitrage.identify import find_contradiction
from arbitrage.languages import primary
from arbitrage.rewards.judgement import Judgement, TextReward
from arbitrage.rewards.names import RewardName
from arbitrage.rewards.options import CheckOptions
from arbitrage.rewards.prose import count_words, prose
from arbitrage.scripts import SPACELESS, count_scripts, scripts_of_language

WORDS_TO_IDENTIFY = 3.0
LETTERS_TO_IDENTIFY = 20
"""Shorter text is identified wrongly once in twenty times (`benchmarks/language_identification.py`)."""

LETTERS_PER_PASSAGE = 60
"""Lines are put together until they hold this many letters: from there on 2 to 7 of 1,000 raise a false alarm."""

SPACELESS_LETTERS = 3
"""A letter of a spaceless script says as much as this many others."""

NO_LANGUAGE = frozenset({"mis", "mul", "und", "zxx"})
"""Tags of no, several or unknown languages (ISO 639-2)."""

OWN_SCRIPTS = frozenset(
    {"Armn", "Geor", "Grek", "Hang", "Hira", "Kana", "Khmr", "Knda", "Laoo", "Mlym", "Sinh", "Taml", "Telu", "Thai"}
)
"""Scripts of one language: a single word in it says which."""


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
    scripts = frozenset() if primary(language) in NO_LANGUAGE else scripts_of_language(language)
    if not scripts:
        return Judgement(error="unknown_language")
    text = prose(text)
    words = count_words(text, scripts)
    if not words.num:
        return Judgement(error="no_text")
    share = words.share(scripts)
    if words.num < WORDS_TO_IDENTIFY or _letters(text) < LETTERS_TO_IDENTIFY:
        if share < 0.5:
            return Judgement(value=0.0)
        return (
            Judgement(value=1.0) if set(count_scripts(text)) & scripts & OWN_SCRIPTS else Judgement(error="too_short")
        )
    return Judgement(value=min(share, _line_pass_rate(text, language)))


def _line_pass_rate(text: str, language: str) -> float:
    """Return the share of letters that stand in passages of the language, or in none that can be told."""
    passed = total = 0
    for passage in _passages(text):
        total += passage.num_letters
        passed += 0 if find_contradiction(passage.text, language) else passage.num_letters
    return passed / total if total else 1.0


@dataclass(frozen=True, slots=True)
class _Passage:
    text: str
    num_letters: int


def _passages(text: str) -> list[_Passage]:
    """Split into lines, short ones together with those that follow; what is left at the end joins the last."""
    whole: list[_Passage] = []
    pending = _Passage("", 0)
    for line in text.splitlines():
        pending = _Passage(f"{pending.text}\n{line}", pending.num_letters + _letters(line))
        if pending.num_letters >= LETTERS_PER_PASSAGE:
            whole.append(pending)
            pending = _Passage("", 0)
    if not whole or not pending.num_letters:
        return whole or [pending]
    last = whole.pop()
    return [*whole, _Passage(last.text + pending.text, last.num_letters + pending.num_letters)]


def _letters(text: str) -> int:
    return sum(n * (SPACELESS_LETTERS if s in SPACELESS else 1) for s, n in count_scripts(text).items())
