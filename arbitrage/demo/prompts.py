"""Prompts from the embedded demo world, with exact answers."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from arbitrage.config import Raw
from arbitrage.contracts.steps import StepConfig
from arbitrage.contracts.workers import Batch
from arbitrage.demo.tasks import LANGUAGES, DemoItem, Split, sample_items
from arbitrage.records import Message, Prompt, Reject, content_id, prompt_id_of

BATCH_ROWS = 1000

LICENCE = "Apache-2.0"
"""Licence of the demo world, which is part of this project."""


class DemoPromptsConfig(StepConfig):
    """Questions of the demo world: the same number per language, spread over its task families.

    Attributes:
        per_language: number of questions of each language; fewer where the split has fewer.
        skip: number of questions of each language that are left out first, to make disjoint sets.
        seed: chooses the questions.
        split: the demo models were trained on `train` and not on `heldout`.
        languages: languages of the questions.
    """

    step_kind: ClassVar[str] = "demo_prompts"

    kind: Literal["demo"] = "demo"
    split: Split = "heldout"
    languages: tuple[str, ...] = Field(default=LANGUAGES, min_length=1)
    per_language: int = Field(default=100, gt=0)
    skip: int = Field(default=0, ge=0)
    seed: int = 0

    @field_validator("languages")
    @classmethod
    def _known(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [language for language in languages if language not in LANGUAGES]
        if unknown:
            raise ValueError(f"the demo world has no {', '.join(unknown)}, only {', '.join(LANGUAGES)}")
        return tuple(sorted(set(languages), key=LANGUAGES.index))

    def identity(self) -> Raw:
        """Return the options and a digest of the questions and answers themselves."""
        parts = (part for item in self.items() for part in (item.language, item.question, item.answer))
        return {**super().identity(), "content": content_id(*parts)}

    def items(self) -> list[DemoItem]:
        """Return the chosen questions, language by language."""
        chosen = sample_items(self.split, self.languages, self.skip + self.per_language, self.seed)
        skipped = set(sample_items(self.split, self.languages, self.skip, self.seed))
        return [item for item in chosen if item not in skipped]

    def build(self) -> "DemoPromptReader":
        """Build the worker that reads the questions."""
        return DemoPromptReader(self)


class DemoPromptReader:
    """Reads the demo world. `source_id` is the fact of the question, equal in all its wordings and translations."""

    def __init__(self, config: DemoPromptsConfig) -> None:
        self._config = config

    def read(self) -> Iterator[Batch]:
        """Yield batches in the order of the items; a question worded like another is a duplicate."""
        items = self._config.items()
        seen: set[str] = set()
        for start in range(0, len(items), BATCH_ROWS):
            prompts: list[Prompt] = []
            rejects: list[Reject] = []
            for number, item in enumerate(items[start : start + BATCH_ROWS], start):
                prompt = _prompt(item)
                if prompt.prompt_id in seen:
                    rejects.append(_duplicate(number, prompt))
                else:
                    seen.add(prompt.prompt_id)
                    prompts.append(prompt)
            yield Batch(prompts, rejects)


def _prompt(item: DemoItem) -> Prompt:
    messages = (Message(role="user", content=item.question),)
    return Prompt(
        prompt_id=prompt_id_of(item.language, messages),
        language=item.language,
        messages=messages,
        source="demo",
        source_id=item.instance,
        licence=LICENCE,
        task=item.family,
        reference=item.answer,
    )


def _duplicate(number: int, prompt: Prompt) -> Reject:
    detail = f"the same text as an earlier {prompt.prompt_id}"
    return Reject(item_id=f"demo:{number}", reason="duplicate_prompt", detail=detail)
