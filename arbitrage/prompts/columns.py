"""Which column holds what: a column that is named must exist, usual names are taken where they exist."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

from pydantic import Field

from arbitrage.config import Config
from arbitrage.errors import ConfigError

Role = Literal["prompt", "messages", "language", "id", "reference", "task", "licence"]

MISSING: Final = object()
"""What `pick` returns for a column that a row does not have."""

USUAL_NAMES: Mapping[Role, tuple[str, ...]] = {
    "prompt": ("prompt",),
    "messages": ("messages", "conversations"),
    "language": ("language", "lang"),
    "id": ("id",),
    "reference": ("reference",),
    "task": ("task",),
    "licence": ("licence", "license"),
}


class Columns(Config):
    """Role → column. `turns.0` and `meta.lang` lead into lists and objects.

    Attributes:
        prompt: text, or chat messages; at most one of `prompt` and `messages` is named.
        messages: chat messages: a list of {role, content} or of {from, value}, or such a list as a JSON string.
        ignore: roles whose usual column is not to be used.
    """

    prompt: str | None = Field(default=None, min_length=1)
    messages: str | None = Field(default=None, min_length=1)
    language: str | None = Field(default=None, min_length=1)
    id: str | None = Field(default=None, min_length=1)
    reference: str | None = Field(default=None, min_length=1)
    task: str | None = Field(default=None, min_length=1)
    licence: str | None = Field(default=None, min_length=1)
    ignore: tuple[Role, ...] = ()

    def candidates(self, role: Role) -> tuple[str, ...]:
        """Return the columns that may hold a role, the best first."""
        named: str | None = getattr(self, role)
        if named is not None:
            return (named,)
        other = {"prompt": self.messages, "messages": self.prompt}.get(role)
        return () if other is not None or role in self.ignore else USUAL_NAMES[role]

    def needed(self, present: Iterable[str]) -> list[str]:
        """Return those of the present columns that some role may read, in their order."""
        wanted = {name for role in _ROLES for name in self.candidates(role)}
        return [name for name in present if name in wanted or any(w.startswith(f"{name}.") for w in wanted)]

    def check(self, present: Sequence[str], where: str) -> None:
        """Raise ConfigError if a named column, or any column for the prompt, is not among those present."""
        for role in _ROLES:
            named: str | None = getattr(self, role)
            if named is not None and not _reaches(named, present):
                raise ConfigError(f"{where}: has no column '{named}' for columns.{role}{_offer(named, present)}")
        wanted = self.candidates("prompt") + self.candidates("messages")
        if not any(_reaches(name, present) for name in wanted):
            names = " or ".join(f"'{name}'" for name in wanted)
            raise ConfigError(
                f"{where}: has no column {names}; name one in columns.prompt or columns.messages"
                f"{_offer('prompt', present)}"
            )


def pick(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the value of the first of the columns that a row has, or MISSING."""
    for name in names:
        if name in values:
            return values[name]
        if "." in name:
            found = _follow(values, name.split("."))
            if found is not MISSING:
                return found
    return MISSING


def _follow(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


def _reaches(name: str, present: Sequence[str]) -> bool:
    return name in present or ("." in name and name.split(".")[0] in present)


def _offer(wanted: str, present: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, present, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f" (columns present: {', '.join(present) or 'none'}{hint})"


_ROLES: tuple[Role, ...] = get_args(Role)
