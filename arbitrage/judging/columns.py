"""Which column of a data set to be judged holds what."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

from pydantic import Field

from arbitrage.config import Config
from arbitrage.inputs.columns import (
    ANSWER_NAMES,
    LANGUAGE_NAMES,
    MESSAGES_NAMES,
    PROMPT_ID_NAMES,
    TEACHER_NAMES,
    ColumnMap,
    column_map,
    parse_assignments,
)
from arbitrage.inputs.values import MISSING

Role = Literal["answer", "id", "prompt", "language", "reference", "source_id", "teacher", "winner"]
ROLES: tuple[Role, ...] = get_args(Role)

USUAL: Mapping[str, tuple[str, ...]] = {
    "answer": (*ANSWER_NAMES, "chosen", *MESSAGES_NAMES),
    "id": PROMPT_ID_NAMES,
    "prompt": ("prompt", "question", "instruction", *MESSAGES_NAMES),
    "language": LANGUAGE_NAMES,
    "reference": ("reference",),
    "source_id": ("source_id",),
    "teacher": TEACHER_NAMES,
    "winner": ("winner",),
}
"""Where a role is looked for, the best first."""


class AnswerColumns(Config):
    """Role → column. `meta.lang` leads into objects, `turns.0` into lists.

    Attributes:
        answer: text, or messages whose last assistant turn is the answer.
        id: of the prompt: what joins two data sets. Without it the prompt's text does.
        prompt: what was asked: text or messages.
        reference: a known right answer, for the exact checker.
        source_id: what a prompt shares with its translations.
        teacher: who wrote the answer, for `FILE#teacher`.
        winner: of a person's label: a, b or tie.
    """

    answer: str | None = Field(default=None, min_length=1)
    id: str | None = Field(default=None, min_length=1)
    prompt: str | None = Field(default=None, min_length=1)
    language: str | None = Field(default=None, min_length=1)
    reference: str | None = Field(default=None, min_length=1)
    source_id: str | None = Field(default=None, min_length=1)
    teacher: str | None = Field(default=None, min_length=1)
    winner: str | None = Field(default=None, min_length=1)

    def mapping(self) -> ColumnMap:
        """Return the columns of each role, the best first."""
        given: dict[str, str | None] = {role: getattr(self, role) for role in ROLES}
        return column_map(USUAL, given, "--column {role}={name}")

    def value(self, values: Mapping[str, Any], role: Role) -> Any:
        """Return what a row holds for a role; None where it says nothing."""
        found = _mapping(self).value(values, role)
        return None if found is MISSING else found


@lru_cache(maxsize=64)
def _mapping(columns: AnswerColumns) -> ColumnMap:
    return columns.mapping()


def parse_columns(assignments: Sequence[str], option: str) -> AnswerColumns:
    """Read `role=column` assignments.

    Raises:
        UserError: no such role, or no '='.
    """
    return AnswerColumns(**parse_assignments(assignments, ROLES, option, "answer=output"))
