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
        identify: `check` identifies prompts without a tag, and counts prompts whose tag and text disagree; `missing`
            only identifies prompts without a tag; `off` does neither (rows without a tag are "und").
        licence: licence of rows without one.
        source: value of `Prompt.source` (default: the file or data set).
        max_chars: maximum length of a prompt, all messages together; longer ones are rejected.
        trailing_answer: whether an answer at the end of a conversation is cut off, or the row is rejected.
        repeats: whether a row with the same prompt as an earlier row is rejected, or merged with it (`merge`): for
            tables with one row for each response. Merged rows are counted as `merged_rows`.
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
