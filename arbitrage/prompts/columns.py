"""Which column of prompts holds what."""

from typing import Literal, get_args

from pydantic import Field

from arbitrage.config import Config
from arbitrage.inputs.columns import LANGUAGE_NAMES, MESSAGES_NAMES, QUESTION_NAMES, ColumnMap, column_map

Role = Literal["prompt", "messages", "system", "context", "tools", "language", "id", "reference", "task", "licence"]
ROLES: tuple[Role, ...] = get_args(Role)

USUAL_NAMES: dict[Role, tuple[str, ...]] = {
    "prompt": ("prompt", *QUESTION_NAMES),
    "messages": MESSAGES_NAMES,
    "system": ("system", "system_prompt"),
    "context": ("input", "context"),
    "tools": ("tools", "functions", "history"),
    "language": LANGUAGE_NAMES,
    "id": ("id",),  # other ids, such as `question_id`, need not be unique in one data set
    "reference": ("reference",),
    "task": ("task",),
    "licence": ("licence", "license"),
}

MEDIA_NAMES = frozenset(("image", "images", "video", "videos", "audio", "audios"))
"""Columns that belong to a prompt and are never read."""


class Columns(Config):
    """Role → column. `turns.0` and `meta.lang` lead into lists and objects.

    Attributes:
        prompt: text, or chat messages; at most one of `prompt` and `messages` is named.
        messages: chat messages: a list of {role, content} or of {from, value}, or such a list as a JSON string.
        system: a system message, put before the others.
        context: what a prompt is about, such as Alpaca's `input`: put behind the text of `instruction`, or of any
            prompt if this column is named.
        tools: what a prompt offers beside its text and cannot hold: counted as `column_not_read`.
        ignore: roles whose usual column is not to be used.
        language: BCP-47 tag of the prompt; identified from the text where it is absent.
        id: id of the row in its file, kept as `source_id`.
        reference: reference answer, for exact checks and judges.
        task: kind of task, for reports and routers.
        licence: licence of the prompt, for the cards of exports.
    """

    prompt: str | None = Field(default=None, min_length=1)
    messages: str | None = Field(default=None, min_length=1)
    system: str | None = Field(default=None, min_length=1)
    context: str | None = Field(default=None, min_length=1)
    tools: str | None = Field(default=None, min_length=1)
    language: str | None = Field(default=None, min_length=1)
    id: str | None = Field(default=None, min_length=1)
    reference: str | None = Field(default=None, min_length=1)
    task: str | None = Field(default=None, min_length=1)
    licence: str | None = Field(default=None, min_length=1)
    ignore: tuple[Role, ...] = ()

    def mapping(self) -> ColumnMap:
        """Return the columns of each role, the best first."""
        named: dict[str, str | None] = {role: getattr(self, role) for role in ROLES}
        other: dict[str, str | None] = {"prompt": self.messages, "messages": self.prompt}
        usual: dict[str, tuple[str, ...]] = {
            role: () if role in self.ignore or other.get(role) is not None else USUAL_NAMES[role] for role in ROLES
        }
        return column_map(usual, named, "columns.{role}")
