"""Options of reading prompts, for every kind of source."""

from typing import Literal

from pydantic import Field

from arbitrage.config import Config, LanguageTag
from arbitrage.inputs.columns import PromptColumns


class ReadOptions(Config):
    """How raw rows become prompts.

    Attributes:
        columns: which column holds which part of a prompt.
        language: language of rows without one.
        language_names: the source's own names of languages → tags, such as {"Brazilian": "pt-BR"}.
        identify: `check` identifies where no tag is given, and counts where a given tag and the text disagree;
            `missing` only the former; `off` neither (rows without a tag are "und").
        licence: licence of rows without one.
        source: value of `Prompt.source`; by default the file or data set.
        max_chars: longer prompts (all turns together) are rejected.
        trailing_answer: a conversation that ends with an answer has it cut off, or is rejected.
        repeats: a row whose prompt was read before is rejected, or is the same prompt (`merge`): for tables of
            answers, in which each prompt stands as often as it was answered. Counted as `merged_rows`.
    """

    columns: PromptColumns = PromptColumns()
    language: LanguageTag | None = None
    language_names: dict[str, LanguageTag] = {}
    identify: Literal["check", "missing", "off"] = "check"
    licence: str | None = None
    source: str | None = None
    max_chars: int = Field(default=200_000, gt=0)
    trailing_answer: Literal["cut", "reject"] = "cut"
    repeats: Literal["reject", "merge"] = "reject"
