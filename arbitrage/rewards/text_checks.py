"""Checks of one candidate's text: 1 is good, 0 is bad, null if the check does not apply.

`emptiness` (no content), `truncation` (cut off: a student would learn to stop mid-sentence), `repetition` (of words,
or of characters in scripts without spaces), `refusal` (short texts that begin with a phrase of `refusals.yaml`),
`reasoning_left` (reasoning instead of the final response), `exact` (equal to the reference; for reports, the oracle,
and with a weight for the ensemble).
"""

import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import ClassVar, Literal

import yaml
from pydantic import Field

from arbitrage.contracts.rewards import Scorable
from arbitrage.languages import primary
from arbitrage.records import FinishReason
from arbitrage.rewards.options import CheckOptions, CheckResult, RewardName, TextReward
from arbitrage.text.exact_match import Match, is_match
from arbitrage.text.reasoning import find_reasoning
from arbitrage.text.repetition import compression_ratio, loop_at_end, repeated_lines, repeated_ngrams
from arbitrage.text.scripts import SPACELESS, count_scripts


class EmptinessConfig(CheckOptions):
    """1 if the response has at least `min_characters` letters, digits or symbols, else 0.

    Spaces, punctuation, control and format characters do not count; an emoji or '+' does.

    Attributes:
        min_characters: number of letters, digits or symbols that are enough.
    """

    kind: Literal["emptiness"] = "emptiness"
    name: RewardName = "emptiness"
    min_characters: int = Field(default=1, ge=1)

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> CheckResult:
        found = 0
        for char in item.candidate.shown:
            found += unicodedata.category(char)[0] in "LNS"
            if found >= self.min_characters:
                return CheckResult(value=1.0)
        return CheckResult(value=0.0)


class TruncationConfig(CheckOptions):
    """1 if the completion ended by itself, 0 if it was cut off at `max_tokens`."""

    kind: Literal["truncation"] = "truncation"
    name: RewardName = "truncation"

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, _judge)


def _judge(item: Scorable) -> CheckResult:
    return CheckResult(value=0.0 if item.candidate.finish_reason is FinishReason.LENGTH else 1.0)


class RepetitionCheckConfig(CheckOptions):
    """1 minus the worst of four shares, 0..1: repeated n-grams, repeated lines, a loop at the end, compressibility.

    Errors: `too_short` (fewer than `MIN_UNITS` words, and no more characters than so few words have).

    Attributes:
        compression_limit: plain length over zlib's (level 6), above which a response counts as repetitive. Responses
            of six models in six languages: median 2.0 to 2.8, 99 of 100 below 4.3, loops from 7 to 18.
    """

    version: ClassVar[int] = 2

    kind: Literal["repetition"] = "repetition"
    name: RewardName = "repetition"
    compression_limit: float = Field(default=6.0, gt=1.0)

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> CheckResult:
        return check_repetition(item.candidate.text, self.compression_limit)


def check_repetition(text: str, compression_limit: float) -> CheckResult:
    """Return how little a text repeats itself: 1 not at all, 0 completely."""
    loop = loop_at_end(text)
    ngrams = repeated_ngrams(text)
    if ngrams is None and not loop:
        return CheckResult(error="too_short")
    worst = max(ngrams or 0.0, repeated_lines(text), loop, _excess(text, compression_limit))
    return CheckResult(value=1.0 - worst)


def _excess(text: str, limit: float) -> float:
    """Return 0 up to the limit, then 1 − limit / ratio."""
    ratio = compression_ratio(text)
    return max(0.0, 1.0 - limit / ratio) if ratio else 0.0


OPENING_CHARACTERS = 120
"""A refusal is at the beginning; later in a text the same words are usually part of its content."""

GAP_CHARACTERS = 40
"""Text that '…' in a phrase matches."""

_STRAIGHT = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'"})


class RefusalConfig(CheckOptions):
    """0 if a short response begins with a refusal in any of the known languages, else 1.

    Attributes:
        max_characters: longer responses usually answer after the refusal, and pass; in scripts without spaces a third
            of it.
    """

    kind: Literal["refusal"] = "refusal"
    name: RewardName = "refusal"
    max_characters: int = Field(default=500, ge=1)

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> CheckResult:
        return CheckResult(value=0.0 if is_refusal(item.candidate.text, self.max_characters) else 1.0)


def is_refusal(text: str, max_characters: int) -> bool:
    """Tell whether a text is short and begins with a refusal."""
    scripts = count_scripts(text)
    spaceless = sum(n for script, n in scripts.items() if script in SPACELESS)
    limit = max_characters // 3 if spaceless * 2 > sum(scripts.values()) else max_characters
    return len(text) <= limit and bool(_pattern().search(fold(text)[:OPENING_CHARACTERS]))


def fold(text: str) -> str:
    """Return a text in the form of the phrases: NFKC, case folded, straight apostrophes, single spaces."""
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


class ReasoningLeftConfig(CheckOptions):
    """0 if the response still holds reasoning (`<think>…</think>`, only a closing tag, `[THINK]`, …), else 1.

    Part of every pipeline, also if `checks` does not name it; name it with `filter: false` to count such responses
    but still select them. Responses that mention these tags in code, in quotation marks or within a sentence pass,
    and so do XML and HTML documents and formats that the prompt requests.
    """

    kind: Literal["reasoning_left"] = "reasoning_left"
    name: RewardName = "reasoning-left"

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, _reasoning_left_judge)


def _reasoning_left_judge(item: Scorable) -> CheckResult:
    prompt = "\n".join(message.content for message in item.prompt.messages)
    return CheckResult(value=0.0 if find_reasoning(item.candidate.text, prompt) else 1.0)


class ExactConfig(CheckOptions):
    """1 if the response equals `Prompt.reference`, else 0.

    Errors: `no_reference` if the prompt has none.

    Attributes:
        match: which part of the response is compared. `auto`: its last number (a boxed one or the one after '####',
            if there is one) if the reference is a number, else all of it. `whole`, `last_number`, `contains` (the
            reference anywhere, as whole words), `final_answer` (boxed, after '####' or 'Answer:', or the last line).
    """

    kind: Literal["exact"] = "exact"
    name: RewardName = "exact"
    filter: bool = False
    match: Match = "auto"

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> CheckResult:
        reference = item.prompt.reference
        if reference is None:
            return CheckResult(error="no_reference")
        language = primary(item.prompt.language)
        return CheckResult(value=float(is_match(self.match, language, item.candidate.shown, reference)))
