"""The step `expand`: a Prompt for each source prompt and target language, still in the source's words."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from arbitrage.config import LanguageTag
from arbitrage.contracts.steps import PureStep, Step, StepFacts
from arbitrage.contracts.workers import Inputs, Item, Output
from arbitrage.languages import base_of, script_of
from arbitrage.records import Prompt, Reject, Translation, content_id
from arbitrage.tables import to_table
from arbitrage.text.numbers import is_number
from arbitrage.translation.spans import FENCED, has_words

ExpandReject = Literal["same_language", "nothing_to_translate", "reference_not_kept"]
"""Why a source prompt is not translated: it is in the language already, holds only what is kept, or has a reference
in words that the config does not want to lose."""

References = Literal["numbers", "all", "reject"]

EXPAND = StepFacts(verb="expand", is_budgeted=False)


class Expand(PureStep):
    """Which languages source prompts are translated into.

    Attributes:
        targets: the languages.
        references: what becomes of a source prompt's reference. `numbers`: numbers and labels of options are kept,
            words are left out, because they are not in the target language; `all`: every reference is kept; `reject`:
            prompts with a reference in words are rejected.
    """

    step_kind: ClassVar[str] = "expand"

    targets: Annotated[tuple[LanguageTag, ...], Field(min_length=1)]
    references: References = "numbers"

    def items(self, inputs: Inputs) -> list[Item]:
        """List each source prompt in each target language."""
        sources = inputs.records("prompts", Prompt)
        return [Item(task_id(source, target), target) for source in sources for target in self.targets]

    async def run(self, inputs: Inputs) -> Output:
        """Return the prompts to translate."""
        prompts: list[Prompt] = []
        rejects: list[Reject] = []
        for source in inputs.records("prompts", Prompt):
            for target in self.targets:
                reason, detail = self._refusal(source, target)
                if reason is None:
                    prompts.append(self._task(source, target))
                else:
                    rejects.append(Reject(item_id=task_id(source, target), reason=reason, detail=detail))
        return Output(to_table(prompts, Prompt), to_table(rejects, Reject))

    def prompts_of(self, source: Prompt) -> tuple[Prompt, ...]:
        """Return the prompts to translate that a source prompt becomes."""
        return tuple(
            self._task(source, target) for target in self.targets if self._refusal(source, target)[0] is None
        )

    def _refusal(self, source: Prompt, target: str) -> tuple[ExpandReject | None, str | None]:
        if is_same(source.language, target):
            return "same_language", source.language
        if not any(has_words(FENCED.sub(" ", message.content)) for message in source.messages):
            return "nothing_to_translate", "code, addresses, placeholders or nothing at all"
        if self.references == "reject" and source.reference is not None and not is_portable(source.reference):
            return "reference_not_kept", f"'{source.reference[:80]}'"
        return None, None

    def _task(self, source: Prompt, target: str) -> Prompt:
        is_kept = source.reference is not None and (self.references == "all" or is_portable(source.reference))
        return source.model_copy(
            update={
                "prompt_id": task_id(source, target),
                "language": target,
                "language_confidence": None,
                "reference": source.reference if is_kept else None,
                "translation": Translation(source_language=source.language, source_prompt_id=source.prompt_id),
            }
        )


def expand(config: Expand, prompts: Step) -> Step:
    """Return the step `expand`."""
    return Step(EXPAND, config, Prompt, {"prompts": (prompts,)})


def task_id(source: Prompt, target: str) -> str:
    """Return the id of a source prompt in a target language."""
    return content_id("translation", source.prompt_id, target)


def is_same(source: str, target: str) -> bool:
    """Tell whether a text of one tag needs no translation into another: same language, same script."""
    return base_of(source) == base_of(target) and script_of(source) == script_of(target)


def is_portable(reference: str) -> bool:
    """Tell whether a reference holds in every language: a number, or the label of an option."""
    text = reference.strip().strip("().")
    return is_number(reference) or (len(text) == 1 and text.isascii() and text.isalpha())
