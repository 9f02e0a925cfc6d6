"""Which column of a foreign data set holds what: usual names are taken, a name that is given must exist."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from arbitrage.errors import UserError
from arbitrage.prompts.columns import MISSING, pick

Role = Literal["text", "messages", "language", "teacher", "source", "prompt_id", "embedding"]
ROLES: tuple[Role, ...] = get_args(Role)

USUAL: Mapping[Role, tuple[str, ...]] = {
    "text": ("text", "completion", "response", "answer", "output"),
    "messages": ("messages", "conversations", "chosen", "turns"),
    "language": ("language", "lang"),
    "teacher": ("teacher", "model", "chosen_teacher"),
    "source": ("source",),
    "prompt_id": ("prompt_id", "question_id", "qid", "id"),
    "embedding": ("embedding",),
}
"""Where a role is looked for, the best first."""


@dataclass(frozen=True, slots=True)
class ProfileColumns:
    """Role → column; `meta.lang` leads into objects, `turns.0` into lists."""

    given: Mapping[Role, str] = field(default_factory=dict)

    def names(self, role: Role) -> tuple[str, ...]:
        """Return the columns that may hold a role, the best first."""
        if role in self.given:
            return (self.given[role],)
        other = {"text": "messages", "messages": "text"}.get(role)
        return () if other in self.given else USUAL[role]

    def needed(self, present: Iterable[str]) -> list[str]:
        """Return those of the present columns that some role may read."""
        wanted = {name.split(".")[0] for role in ROLES for name in self.names(role)} | {
            name for role in ROLES for name in self.names(role)
        }
        return [name for name in present if name in wanted]

    def check(self, present: Sequence[str], where: str) -> None:
        """Raise UserError where a given column, or any column that holds texts, is missing."""
        for role, name in self.given.items():
            if not _reaches(name, present):
                raise UserError(f"{where}: has no column '{name}' for --column {role}={name}{_offer(name, present)}")
        wanted = self.names("text") + self.names("messages")
        if not any(_reaches(name, present) for name in wanted):
            raise UserError(
                f"{where}: has no column of texts ({', '.join(wanted)}); name one by --column text=… or "
                f"--column messages=…{_offer('text', present)}"
            )

    def value(self, row: Mapping[str, Any], role: Role) -> Any:
        """Return what a row holds for a role, or MISSING."""
        return pick(row, self.names(role))


def parse_columns(assignments: Sequence[str]) -> ProfileColumns:
    """Read `role=column` assignments.

    Raises:
        UserError: no such role, or no '='.
    """
    given: dict[Role, str] = {}
    for assignment in assignments:
        role, separator, name = assignment.partition("=")
        if not separator or not name:
            raise UserError(f"--column {assignment}: expected role=column, such as text=answer")
        known = next((r for r in ROLES if r == role), None)
        if known is None:
            near = difflib.get_close_matches(role, ROLES, n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise UserError(f"--column {assignment}: '{role}' is not one of {', '.join(ROLES)}{hint}")
        given[known] = name
    return ProfileColumns(given)


def is_absent(value: Any) -> bool:
    """Tell whether a cell says nothing: no column, null, NaN, or empty."""
    return value is MISSING or value is None or value == "" or (isinstance(value, float) and value != value)


def _reaches(name: str, present: Sequence[str]) -> bool:
    return name in present or ("." in name and name.split(".")[0] in present)


def _offer(wanted: str, present: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, present, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f" (columns present: {', '.join(present) or 'none'}{hint})"
