"""Which column of a data set to be profiled holds what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

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

Role = Literal["text", "messages", "language", "teacher", "source", "prompt_id", "embedding"]
ROLES: tuple[Role, ...] = get_args(Role)

USUAL: Mapping[str, tuple[str, ...]] = {
    "text": ANSWER_NAMES,
    "messages": (*MESSAGES_NAMES, "chosen", "turns"),
    "language": LANGUAGE_NAMES,
    "teacher": TEACHER_NAMES,
    "source": ("source",),
    "prompt_id": PROMPT_ID_NAMES,
    "embedding": ("embedding",),
}
"""Where a role is looked for, the best first."""


@dataclass(frozen=True, slots=True)
class ProfileColumns:
    """Role → column, where it has no usual name; `meta.lang` leads into objects, `turns.0` into lists."""

    given: Mapping[Role, str] = field(default_factory=dict)

    def mapping(self) -> ColumnMap:
        """Return the columns of each role, the best first."""
        other: dict[str, Role] = {"text": "messages", "messages": "text"}
        usual = {role: () if other.get(role) in self.given else USUAL[role] for role in USUAL}
        given: dict[str, str | None] = {str(role): name for role, name in self.given.items()}
        return column_map(usual, given, "--column {role}={name}")


def parse_columns(assignments: Sequence[str]) -> ProfileColumns:
    """Read `role=column` assignments.

    Raises:
        UserError: no such role, or no '='.
    """
    given = parse_assignments(assignments, ROLES, "--column", "text=answer")
    return ProfileColumns({role: given[role] for role in ROLES if role in given})
