"""Which column of a data set to be judged holds what: usual names are taken, a name that is given must exist."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import Field

from arbitrage.config import Config
from arbitrage.errors import UserError
from arbitrage.prompts.columns import MISSING, pick

Role = Literal["answer", "id", "prompt", "language", "reference", "source_id", "teacher", "winner"]
ROLES: tuple[Role, ...] = get_args(Role)

USUAL: Mapping[Role, tuple[str, ...]] = {
    "answer": ("text", "completion", "response", "answer", "output", "chosen", "messages", "conversations"),
    "id": ("prompt_id", "question_id", "qid", "id"),
    "prompt": ("prompt", "question", "instruction", "messages", "conversations"),
    "language": ("language", "lang"),
    "reference": ("reference",),
    "source_id": ("source_id",),
    "teacher": ("teacher", "model", "chosen_teacher"),
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

    def value(self, values: Mapping[str, Any], role: Role) -> Any:
        """Return what a row holds for a role; None where it says nothing."""
        found = pick(values, self._names(role))
        is_absent = found is MISSING or found == "" or (isinstance(found, float) and found != found)
        return None if is_absent else found

    def check(self, present: Sequence[str], wanted: Role, where: str) -> None:
        """Raise UserError where a given column, or any column for the wanted role, is missing."""
        for role in ROLES:
            if (name := getattr(self, role)) is not None and name.split(".")[0] not in present:
                raise UserError(f"{where}: has no column '{name}' for {role}{_offer(name, present)}")
        if not any(name.split(".")[0] in present for name in self._names(wanted)):
            names = ", ".join(self._names(wanted))
            raise UserError(f"{where}: has no column for {wanted} ({names}){_offer(wanted, present)}")

    def _names(self, role: Role) -> tuple[str, ...]:
        given: str | None = getattr(self, role)
        return USUAL[role] if given is None else (given,)


def parse_columns(assignments: Sequence[str], option: str) -> AnswerColumns:
    """Read `role=column` assignments.

    Raises:
        UserError: no such role, or no '='.
    """
    given: dict[str, str] = {}
    for assignment in assignments:
        role, separator, name = assignment.partition("=")
        if not separator or not name:
            raise UserError(f"{option} {assignment}: expected role=column, such as answer=output")
        if role not in ROLES:
            near = difflib.get_close_matches(role, ROLES, n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise UserError(f"{option} {assignment}: '{role}' is not one of {', '.join(ROLES)}{hint}")
        given[role] = name
    return AnswerColumns(**given)


def _offer(wanted: str, present: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, present, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"; columns present: {', '.join(present) or 'none'}{hint}"
