"""Is the response in the wanted language? The best-known failure is a response in English."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from arbitrage.config import LanguageTag
from arbitrage.contracts.rewards import Scorable
from arbitrage.errors import did_you_mean
from arbitrage.languages import normalise_tag, suggest_tag
from arbitrage.records import Prompt
from arbitrage.rewards.options import CheckOptions, CheckResult, RewardName, TextReward
from arbitrage.text.identify import IDENTIFIED_CHARS, find_contradiction, identify, is_same_language
from arbitrage.text.language_confusion import language_share
from arbitrage.text.prose import prose


class LanguageConfusionCheckConfig(CheckOptions):
    """The share of the response in the wanted language, 0..1; code, formulas, addresses and names are ignored.

    The wanted language is the prompt's; for a translation it is the target language, which is the first of: the entry
    of `targets` for the task; the prompt's language, if the text to be translated is reliably in another one (the
    usual meaning of the language column in translation data); the language of the reference translation. If none of
    these is available, the check gives no score: it does not interpret the instruction.

    A response of one or two words is judged only by its script: 0 if it is wrong, 1 if it belongs only to the wanted
    language, otherwise there is no score.

    Errors: `too_short` (see above), `no_text` (no letters), `unknown_language` (the prompt's), `no_target_language`
    (of a translation), `exempt`.

    Attributes:
        translation_tasks: values of `Prompt.task` that mean a translation.
        targets: value of `Prompt.task` → wanted language of the response, such as {"into-german": "de"}.
        exempt_tasks: values of `Prompt.task` whose responses may be in any language.
    """

    version: ClassVar[int] = 2

    kind: Literal["language_confusion"] = "language_confusion"
    name: RewardName = "language-confusion"
    minimum: float = Field(default=0.8, ge=0.0, le=1.0)
    translation_tasks: tuple[str, ...] = ("translation",)
    targets: Mapping[str, LanguageTag] = {}
    exempt_tasks: tuple[str, ...] = ()

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> CheckResult:
        if item.prompt.task in self.exempt_tasks:
            return CheckResult(error="exempt")
        language = self._wanted(item.prompt)
        if language is None:
            return CheckResult(error="no_target_language")
        return check_language(item.candidate.text, language)

    def _wanted(self, prompt: Prompt) -> str | None:
        if prompt.task is not None and prompt.task in self.targets:
            return self.targets[prompt.task]
        return target_of(prompt) if prompt.task in self.translation_tasks else prompt.language


def _expectation(value: str) -> str:
    """Return what a config expects of reasoning: a word of its own, or a canonical tag."""
    if value in ("prompt", "any"):
        return value
    found = normalise_tag(value)
    if found and value.replace("-", "").isalnum():
        return found
    hint = did_you_mean(found or suggest_tag(value))
    raise ValueError(f"'{value[:60]}' is not one of prompt, any, and no BCP-47 tag such as en{hint}")


class ReasoningLanguageConfig(CheckOptions):
    """The share of a candidate's reasoning that is in the language expected, 0..1, told as `language_confusion` does.

    The answer's language is a figure of its own: one number for both would hide either.

    Errors: `no_reasoning`, `too_short`, `no_text` (no letters), `unknown_language` (the prompt's).

    Attributes:
        filter: whether a candidate that fails the check is left out of the selection.
        expect: `prompt` (the prompt's language), a tag such as `en`, or `any`: reasoning in any language passes.
    """

    kind: Literal["reasoning_language"] = "reasoning_language"
    name: RewardName = "reasoning-language"
    filter: bool = False
    minimum: float = Field(default=0.8, ge=0.0, le=1.0)
    expect: Annotated[str, AfterValidator(_expectation)] = "prompt"

    def build(self) -> TextReward:
        """Build the check."""
        return TextReward(self.reward_name, self._judge)

    def _judge(self, item: Scorable) -> CheckResult:
        reasoning = item.candidate.reasoning
        if not reasoning or reasoning.isspace():
            return CheckResult(error="no_reasoning")
        if self.expect == "any":
            return CheckResult(value=1.0)
        return check_language(reasoning, item.prompt.language if self.expect == "prompt" else self.expect)


def target_of(prompt: Prompt) -> str | None:
    """Return the target language of a translation; None if the prompt does not show it.

    A prompt in its tagged language may request a translation into any other.
    """
    source = _beginning("\n".join(m.content for m in prompt.messages if m.role == "user"))
    if find_contradiction(source, prompt.language):
        return prompt.language
    if prompt.reference is None:
        return None
    reference = identify(_beginning(prompt.reference))
    return (
        reference.language
        if reference.is_reliable and not is_same_language(reference.language, identify(source).language)
        else None
    )


def check_language(text: str, language: str) -> CheckResult:
    """Return the share of a text that is in a language, or the reason why there is none."""
    found = language_share(text, language)
    return CheckResult(found.value, found.reason)


def _beginning(text: str) -> str:
    return prose(text[:IDENTIFIED_CHARS])
