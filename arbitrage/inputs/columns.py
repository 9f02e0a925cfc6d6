"""Which column holds what: usual names are used if they exist; a column that is named must exist.

Every reader of foreign rows uses this one mechanism. What differs is its set of roles, a Literal, and their usual
names. A reader of a config or of the command line declares them as a subclass of `ColumnNames`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import Field

from arbitrage.config import Config
from arbitrage.errors import ConfigError, UserError, closest, did_you_mean
from arbitrage.inputs.rows import printable
from arbitrage.inputs.values import MISSING, is_missing

LANGUAGE_NAMES = ("language", "lang")
TEACHER_NAMES = ("teacher", "model", "chosen_teacher")
PROMPT_ID_NAMES = ("prompt_id", "question_id", "qid", "id")
RESPONSE_NAMES = ("text", "completion", "response", "answer", "output")
REASONING_NAMES = ("reasoning", "reasoning_content", "thinking")
MESSAGES_NAMES = ("messages", "conversations")
QUESTION_NAMES = ("instruction", "question")
"""Usual column names of a role, in order of preference."""

MEDIA_NAMES = frozenset(("image", "images", "video", "videos", "audio", "audios"))
"""Columns that belong to a prompt and are never read."""

HISTORY = "history"
"""Another one: earlier turns, as some Alpaca data has them."""

R = TypeVar("R", bound=str)


@dataclass(frozen=True, slots=True)
class ColumnMap(Generic[R]):
    """Role → columns. `meta.lang` leads into objects, `turns.0` into lists.

    Attributes:
        names: role → possible columns, in order of preference.
        given: roles whose column was named explicitly.
        setting: name of a role's setting in errors, such as `columns.{role}`; may be empty.
    """

    names: Mapping[R, tuple[str, ...]]
    given: frozenset[R]
    setting: str = ""

    def find(self, values: Mapping[str, Any], role: R) -> tuple[str, Any]:
        """Return the first column with a value for a role, and the value; MISSING if there is none."""
        return find(values, self.names[role])

    def value(self, values: Mapping[str, Any], role: R) -> Any:
        """Return a row's value for a role, or MISSING."""
        return find(values, self.names[role])[1]

    def needed(self, present: Iterable[str]) -> list[str]:
        """Return the present columns that some role may read, in their order."""
        wanted = {name for names in self.names.values() for name in names}
        roots = {name.split(".")[0] for name in wanted if "." in name}
        return [name for name in present if name in wanted or name in roots]

    def check(self, present: Sequence[str], where: str, wanted: Sequence[R]) -> None:
        """Raise ConfigError if a given column, or any column for one of the wanted roles, is missing."""
        for role in sorted(self.given):
            [name] = self.names[role]
            if not _reaches(name, present):
                setting = self.setting.format(role=role, name=name)
                named = f" for {setting}" if setting else ""
                raise ConfigError(f"{where}: has no column '{name}'{named}{offer(name, present)}")
        names = [name for role in wanted for name in self.names[role]]
        if wanted and not any(_reaches(name, present) for name in names):
            quoted = " or ".join(f"'{name}'" for name in names)
            settings = " or ".join(self.setting.format(role=role, name="NAME") for role in wanted)
            way_out = f"; name one in {settings}" if self.setting else ""
            raise ConfigError(f"{where}: has no column {quoted}{way_out}{offer(wanted[0], present)}")

    def resolve(self, present: Sequence[str], where: str, required: Sequence[R]) -> dict[R, str]:
        """Return the first present column of each role that has one.

        Raises:
            ConfigError: a given column, or a column of a required role, is missing.
        """
        self.check(present, where, ())
        for role in required:
            self.check(present, where, (role,))
        found = {role: [name for name in names if _reaches(name, present)] for role, names in self.names.items()}
        return {role: names[0] for role, names in found.items() if names}


def column_map(usual: Mapping[R, tuple[str, ...]], given: Mapping[R, str | None], setting: str = "") -> ColumnMap[R]:
    """Return the mapping of roles to their usual columns, or to the named ones.

    Args:
        usual: every role.
        given: role → column, None if none is named.
        setting: name of a role's setting in errors.
    """
    named = {role: (name,) for role, name in given.items() if name is not None}
    return ColumnMap({**usual, **named}, frozenset(named), setting)


class ColumnNames(Config, Generic[R]):
    """Base of configs with one field per role: the name of its column; null: its usual names.

    Attributes:
        usual: role → its usual names, in order of preference.
        instead: role → the role whose usual names are ignored if the former is named.
        setting: name of a role's setting in errors.
    """

    usual: ClassVar[Mapping[Any, tuple[str, ...]]]
    instead: ClassVar[Mapping[Any, Any]] = {}
    setting: ClassVar[str] = "columns.{role}"

    def ignored(self) -> frozenset[R]:
        """Return the roles whose usual names are ignored."""
        return frozenset(other for role, other in self.instead.items() if getattr(self, role) is not None)

    def mapping(self) -> ColumnMap[R]:
        """Return the columns of each role."""
        return _mapping(self)

    @classmethod
    def parse_assignments(cls, assignments: Sequence[str], option: str, example: str) -> Self:
        """Read `role=column` assignments of a command-line option.

        Raises:
            UserError: no such role, or no '='.
        """
        given: dict[str, str] = {}
        for assignment in assignments:
            role, separator, name = assignment.partition("=")
            if not separator or not name:
                raise UserError(f"{option} {assignment}: expected role=column, such as {example}")
            if role not in cls.usual:
                hint = did_you_mean(closest(role, cls.usual))
                raise UserError(f"{option} {assignment}: '{role}' is not one of {', '.join(cls.usual)}{hint}")
            given[role] = name
        return cls(**given)


@lru_cache(maxsize=64)  # rows are read one by one with the same few mappings
def _mapping(columns: ColumnNames[R]) -> ColumnMap[R]:
    ignored = columns.ignored()
    usual = {role: () if role in ignored else names for role, names in columns.usual.items()}
    return column_map(usual, {role: getattr(columns, role) for role in usual}, columns.setting)


PromptRole = Literal[
    "prompt",
    "messages",
    "system",
    "context",
    "tools",
    "response_format",
    "language",
    "id",
    "reference",
    "task",
    "licence",
]


class PromptColumns(ColumnNames[PromptRole]):
    """Which column of a source of prompts holds what. `turns.0` and `meta.lang` address nested values.

    Attributes:
        prompt: text, or chat messages; at most one of `prompt` and `messages` is named.
        messages: chat messages: a list of {role, content} or of {from, value}, or such a list as a JSON string.
        system: a system message, put before the others.
        context: the text that an instruction is about, such as Alpaca's `input`: appended to the text of
            `instruction`, or of any prompt if this column is named.
        tools: tools that the model may call: a list in OpenAI's form, or its JSON.
        response_format: the form that a response must have, as in OpenAI's protocol: an object, or its JSON.
        language: BCP-47 tag or name of the prompt's language; identified from the text if it is missing.
        id: id of the row in its file, kept as `source_id`.
        reference: reference answer, for exact checks and judges.
        task: kind of task, for reports and routers.
        licence: licence of the prompt, for the cards of exports.
        ignore: roles whose usual column is not used.
    """

    usual = {
        "prompt": ("prompt", *QUESTION_NAMES),
        "messages": MESSAGES_NAMES,
        "system": ("system", "system_prompt"),
        "context": ("input", "context"),
        "tools": ("tools", "functions"),
        "response_format": ("response_format",),
        "language": LANGUAGE_NAMES,
        "id": ("id",),  # other ids, such as `question_id`, need not be unique in one data set
        "reference": ("reference",),
        "task": ("task",),
        "licence": ("licence", "license"),
    }
    instead = {"prompt": "messages", "messages": "prompt"}

    prompt: str | None = Field(default=None, min_length=1)
    messages: str | None = Field(default=None, min_length=1)
    system: str | None = Field(default=None, min_length=1)
    context: str | None = Field(default=None, min_length=1)
    tools: str | None = Field(default=None, min_length=1)
    response_format: str | None = Field(default=None, min_length=1)
    language: str | None = Field(default=None, min_length=1)
    id: str | None = Field(default=None, min_length=1)
    reference: str | None = Field(default=None, min_length=1)
    task: str | None = Field(default=None, min_length=1)
    licence: str | None = Field(default=None, min_length=1)
    ignore: tuple[PromptRole, ...] = ()

    def ignored(self) -> frozenset[PromptRole]:
        """Add those that the config names."""
        return super().ignored() | frozenset(self.ignore)


ResponseRole = Literal["answer", "id", "prompt", "language", "reference", "source_id", "teacher", "winner"]


class ResponseColumns(ColumnNames[ResponseRole]):
    """Which column of a data set of responses, or of human labels of them, holds what.

    Attributes:
        answer: the response: text, or messages whose last assistant turn it is.
        id: the prompt's id, which joins two data sets. Without it the prompt's text does.
        prompt: the prompt: text or messages.
        language: the prompt's language, as a BCP-47 tag or a name.
        reference: the reference answer, for the exact checker.
        source_id: the id that a prompt shares with its translations.
        teacher: the model that wrote the response, for `FILE#teacher`.
        winner: winner according to a person: a, b or tie.
    """

    usual = {
        "answer": (*RESPONSE_NAMES, "chosen", *MESSAGES_NAMES),
        "id": PROMPT_ID_NAMES,
        "prompt": ("prompt", "question", "instruction", *MESSAGES_NAMES),
        "language": LANGUAGE_NAMES,
        "reference": ("reference",),
        "source_id": ("source_id",),
        "teacher": TEACHER_NAMES,
        "winner": ("winner",),
    }
    setting = "--column {role}={name}"

    answer: str | None = Field(default=None, min_length=1)
    id: str | None = Field(default=None, min_length=1)
    prompt: str | None = Field(default=None, min_length=1)
    language: str | None = Field(default=None, min_length=1)
    reference: str | None = Field(default=None, min_length=1)
    source_id: str | None = Field(default=None, min_length=1)
    teacher: str | None = Field(default=None, min_length=1)
    winner: str | None = Field(default=None, min_length=1)

    def value(self, values: Mapping[str, Any], role: ResponseRole) -> Any:
        """Return a row's value for a role; None if there is none."""
        found = self.mapping().value(values, role)
        return None if found is MISSING else found


ProfileRole = Literal["text", "messages", "reasoning", "language", "teacher", "source", "prompt_id", "embedding"]


class ProfileColumns(ColumnNames[ProfileRole]):
    """Which column of a data set whose texts are measured holds what.

    Attributes:
        text: the text; at most one of `text` and `messages` is named.
        messages: chat messages, whose assistant turns are the texts.
        reasoning: what the model wrote before the text, or before the last turn.
        language: the text's language, as a BCP-47 tag or a name.
        teacher: the model that wrote the text.
        source: the data set that the prompt comes from.
        prompt_id: the prompt's id: texts of one prompt are not independent.
        embedding: a vector of the text, for the metrics that compare texts.
    """

    usual = {
        "text": RESPONSE_NAMES,
        "messages": (*MESSAGES_NAMES, "chosen", "turns"),
        "reasoning": REASONING_NAMES,
        "language": LANGUAGE_NAMES,
        "teacher": TEACHER_NAMES,
        "source": ("source",),
        "prompt_id": PROMPT_ID_NAMES,
        "embedding": ("embedding",),
    }
    instead = {"text": "messages", "messages": "text"}
    setting = "--column {role}={name}"

    text: str | None = Field(default=None, min_length=1)
    messages: str | None = Field(default=None, min_length=1)
    reasoning: str | None = Field(default=None, min_length=1)
    language: str | None = Field(default=None, min_length=1)
    teacher: str | None = Field(default=None, min_length=1)
    source: str | None = Field(default=None, min_length=1)
    prompt_id: str | None = Field(default=None, min_length=1)
    embedding: str | None = Field(default=None, min_length=1)


def find(values: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any]:
    """Return the first column with a value, and the value; MISSING if there is none."""
    for name in names:
        if name in values or "." in name:
            value = values[name] if name in values else pick(values, name)
            if (value and not value.isspace()) if type(value) is str else not is_missing(value):
                return name, value
    return (names[0] if names else ""), MISSING


def pick(values: Mapping[str, Any], name: str) -> Any:
    """Return a row's value under a name or path, or MISSING."""
    if name in values:
        return values[name]
    return _follow(values, name.split(".")) if "." in name else MISSING


def offer(wanted: str, present: Sequence[str]) -> str:
    """Return the list of columns, for an error about a missing one."""
    near = closest(wanted, present)
    hint = f"; did you mean '{printable(near, 80)}'?" if near else ""
    more = f", … {len(present) - MAX_SHOWN} more" if len(present) > MAX_SHOWN else ""
    names = ", ".join(printable(name, 80) for name in present[:MAX_SHOWN])
    return f" (columns present: {names or 'none'}{more}{hint})"


MAX_SHOWN = 50
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
    """Return the list or object in a JSON text; None for other text."""
    if text[:1] not in ("[", "{") or len(text) > MAX_JSON_CHARS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _reaches(name: str, present: Sequence[str]) -> bool:
    return name in present or ("." in name and name.split(".")[0] in present)
