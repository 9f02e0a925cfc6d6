"""Which column holds what: usual names are taken where they exist, a name that is given must exist.

All readers share this mapping: what differs between them is only which roles they read.
"""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arbitrage.errors import ConfigError, UserError
from arbitrage.inputs.rows import printable
from arbitrage.inputs.values import MISSING, is_missing

LANGUAGE_NAMES = ("language", "lang")
TEACHER_NAMES = ("teacher", "model", "chosen_teacher")
PROMPT_ID_NAMES = ("prompt_id", "question_id", "qid", "id")
ANSWER_NAMES = ("text", "completion", "response", "answer", "output")
MESSAGES_NAMES = ("messages", "conversations")
QUESTION_NAMES = ("instruction", "question")
"""Names under which a role is found in published data sets and in ours, the best first."""


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Role → columns. `meta.lang` leads into objects, `turns.0` into lists.

    Attributes:
        names: role → columns that may hold it, the best first.
        given: roles whose column was named.
        setting: how an error names the setting of a role, such as `columns.{role}`.
    """

    names: Mapping[str, tuple[str, ...]]
    given: frozenset[str]
    setting: str

    def find(self, values: Mapping[str, Any], role: str) -> tuple[str, Any]:
        """Return the first column that says something for a role, and its value; MISSING if none does."""
        return find(values, self.names[role])

    def value(self, values: Mapping[str, Any], role: str) -> Any:
        """Return what a row says for a role, or MISSING."""
        return find(values, self.names[role])[1]

    def needed(self, present: Iterable[str]) -> list[str]:
        """Return those of the present columns that some role may read, in their order."""
        wanted = {name for names in self.names.values() for name in names}
        roots = {name.split(".")[0] for name in wanted if "." in name}
        return [name for name in present if name in wanted or name in roots]

    def check(self, present: Sequence[str], where: str, wanted: Sequence[str]) -> None:
        """Raise ConfigError if a given column, or any column for one of the wanted roles, is missing."""
        for role in sorted(self.given):
            [name] = self.names[role]
            if not _reaches(name, present):
                setting = self.setting.format(role=role, name=name)
                raise ConfigError(f"{where}: has no column '{name}' for {setting}{offer(name, present)}")
        names = [name for role in wanted for name in self.names[role]]
        if not any(_reaches(name, present) for name in names):
            quoted = " or ".join(f"'{name}'" for name in names)
            settings = " or ".join(self.setting.format(role=role, name="NAME") for role in wanted)
            raise ConfigError(f"{where}: has no column {quoted}; name one in {settings}{offer(wanted[0], present)}")


def column_map(usual: Mapping[str, tuple[str, ...]], given: Mapping[str, str | None], setting: str) -> ColumnMap:
    """Return the mapping of roles to their usual columns, or to those that are given.

    Args:
        usual: every role.
        given: role → column, None where none is named.
        setting: how an error names the setting of a role.
    """
    named = {role: (name,) for role, name in given.items() if name is not None}
    return ColumnMap({**usual, **named}, frozenset(named), setting)


def find(values: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any]:
    """Return the first of the columns that says something, and its value; the value is MISSING if none does."""
    for name in names:
        if name in values or "." in name:
            value = values[name] if name in values else pick(values, name)
            if (value and not value.isspace()) if type(value) is str else not is_missing(value):
                return name, value
    return (names[0] if names else ""), MISSING


def pick(values: Mapping[str, Any], name: str) -> Any:
    """Return what a row holds under a name or at the end of a path, or MISSING."""
    if name in values:
        return values[name]
    return _follow(values, name.split(".")) if "." in name else MISSING


def parse_assignments(assignments: Sequence[str], roles: Sequence[str], option: str, example: str) -> dict[str, str]:
    """Read `role=column` assignments.

    Raises:
        UserError: no such role, or no '='.
    """
    given: dict[str, str] = {}
    for assignment in assignments:
        role, separator, name = assignment.partition("=")
        if not separator or not name:
            raise UserError(f"{option} {assignment}: expected role=column, such as {example}")
        if role not in roles:
            near = difflib.get_close_matches(role, roles, n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise UserError(f"{option} {assignment}: '{role}' is not one of {', '.join(roles)}{hint}")
        given[role] = name
    return given


def offer(wanted: str, present: Sequence[str]) -> str:
    """Return the columns there are, for an error about one that is missing."""
    near = difflib.get_close_matches(wanted, present, n=1)
    hint = f"; did you mean '{printable(near[0], 80)}'?" if near else ""
    more = f", … {len(present) - MAX_SHOWN} more" if len(present) > MAX_SHOWN else ""
    names = ", ".join(printable(name, 80) for name in present[:MAX_SHOWN])
    return f" (columns present: {names or 'none'}{more}{hint})"


MAX_SHOWN = 50
MAX_NAME = 60
MAX_JSON_CHARS = 1_000_000


def _follow(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        if isinstance(value, str):
            value = _parsed(value)
        if isinstance(value, list) and value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            value = dict(value)  # a map of Arrow
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and len(key) < 10 and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


def _parsed(text: str) -> Any:
    """Return what a list or object written as JSON text holds; other text leads nowhere."""
    if text[:1] not in ("[", "{") or len(text) > MAX_JSON_CHARS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _reaches(name: str, present: Sequence[str]) -> bool:
    return name in present or ("." in name and name.split(".")[0] in present)
