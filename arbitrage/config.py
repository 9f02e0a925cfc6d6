"""What all configs share: strictness, error sentences, overrides, and which fields define a result.

A field that cannot change a result (number of replicas, batch size, a key's environment variable) is annotated
`Operational`; everything else enters the fingerprint.
"""

import copy
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from glob import has_magic, iglob
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails

from arbitrage.docstrings import describe_fields, split_docstring, summary
from arbitrage.errors import ConfigError, closest, did_you_mean
from arbitrage.languages import normalise_tag, suggest_tag
from arbitrage.redaction import REDACTED, is_secret_key, redact, redact_text
from arbitrage.yaml_text import MAX_DEPTH, WrittenFloat, WrittenInt, read_yaml

MAX_KEY, MAX_MESSAGE = 200, 600
"""Characters of a key and of what is wrong with it that an error shows."""

C = TypeVar("C", bound=BaseModel)
Raw = dict[str, Any]
Problems = list[ErrorDetails]


@dataclass(frozen=True, slots=True)
class Renamed:
    """A spelling that configs had before, and what it is called now.

    Attributes:
        added: keys that the old spelling implied, set where they are not given.
    """

    old: str
    new: str
    added: Mapping[str, str] = field(default_factory=dict)


RENAMED_KINDS: Final = (
    Renamed("reward", "all"),  # router
    Renamed("world", "demo"),  # prompts
    Renamed("fidelity", "language_confusion", {"name": "fidelity"}),  # check, metric; weights name it
)
"""Old kinds. One is only read where the new kind is allowed and the old one is not."""

RENAMED_KEYS: Final = (
    Renamed("gate", "filter"),  # checks
    Renamed("gate", "language_filter"),  # routers
    Renamed("ungated", "unfiltered"),  # routers
    Renamed("gates", "filters"),  # ensemble
    Renamed("exam", "evaluation"),  # online, compare_strategies
    Renamed("ask_more_below", "sample_more_below"),  # the router learned, explore_commit
    Renamed("max_asked", "max_teachers"),
    Renamed("heeds_judge", "use_judge"),  # the learner auto
    Renamed("fidelity_minimum", "language_minimum"),  # the over-optimisation monitor
)
"""Old keys. One is only read where the new key is known and the old one is not."""


class _Operational:
    """Marks a field that says how, not what: it stays out of fingerprints."""


Operational: Final = _Operational()


@dataclass(frozen=True, slots=True)
class _Beside:
    """The files that are being read: their directories, and values that do not come from them."""

    directories: tuple[Path, ...]
    typed: frozenset[str]


_BESIDE: ContextVar[_Beside | None] = ContextVar("beside", default=None)


@contextmanager
def paths_beside(*read: Path, typed: Iterable[str] = ()) -> Iterator[None]:
    """While files are validated, their relative paths are looked for beside them, then in the working directory.

    Args:
        read: the files.
        typed: values from the command line, whose paths are those of the working directory.
    """
    token = _BESIDE.set(_Beside(tuple(file.expanduser().absolute().parent for file in read), frozenset(typed)))
    try:
        yield
    finally:
        _BESIDE.reset(token)


def resolved_path(value: str) -> Path:
    """Return a path of a config made absolute."""
    path, beside = Path(value).expanduser(), _BESIDE.get()
    if beside is None or path.is_absolute() or value in beside.typed:
        return path.absolute()
    places = [*(directory / path for directory in beside.directories), path.absolute()]
    return next((place for place in places if _is_there(place)), places[0])


def _is_there(path: Path) -> bool:
    try:
        return path.exists() or (has_magic(str(path)) and any(iglob(str(path), recursive=True)))
    except (OSError, ValueError):  # no possible path: a name too long, a zero in it
        return False


AbsolutePath = Annotated[str, AfterValidator(lambda value: str(resolved_path(value)))]
"""A path, made absolute when the config is read (`paths_beside`)."""


def as_tuple(value: Any) -> Any:
    """Return one text as a tuple of it, a list as a tuple; for fields that take one or several."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Paths = Annotated[
    tuple[AbsolutePath, ...],
    BeforeValidator(as_tuple, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
"""A path, glob or directory, or a list of them."""


def _canonical_tag(tag: str) -> str:
    found = normalise_tag(tag)
    if found and tag.replace("-", "").isalnum():
        return found
    raise ValueError(f"'{_short(tag)}' is not a BCP-47 tag{did_you_mean(found or suggest_tag(tag))}")


RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""Name of a run: it names a directory, too."""

LanguageTag = Annotated[str, AfterValidator(_canonical_tag)]
"""A BCP-47 tag, brought into its canonical form when the config is read: 'arb' and 'ar' are one language."""


def _each_once(value: Any) -> Any:
    """Refuse a table in which two keys name one language: one of the two values would be lost."""
    if not isinstance(value, Mapping):
        return value
    first: dict[str, str] = {}
    for key in value:
        tag = normalise_tag(key) if isinstance(key, str) else None
        if tag and first.setdefault(tag, key) != key:
            raise ValueError(f"'{first[tag]}' and '{key}' are one language ('{tag}')")
    return value


EachLanguageOnce = BeforeValidator(_each_once)
"""For fields that are tables by language."""


class Config(BaseModel):
    """Base of all configs: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def identity(self) -> Raw:
        """Return everything in this config that can change a result, as JSON values.

        Override to replace a path by the digest of its content.
        """
        found: Raw = {}
        for name, info in type(self).model_fields.items():
            if Operational not in info.metadata:
                found[name] = _identity(getattr(self, name))
        return found

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe every key with the docstring's `Attributes:` section; `kind` with the docstring's first paragraph.

        Done when a schema is printed, because parsing 170 docstrings would slow every start.
        """
        found = handler(schema)
        target = handler.resolve_ref_schema(found)
        described = {"kind": summary(cls), **describe_fields(cls)}
        for name, key in target.get("properties", {}).items():
            if name in described and "description" not in key:
                key["description"] = described[name]
        if "description" in target:
            target["description"] = split_docstring(cls.__doc__)[0]
        return found


def parse(raw: Mapping[str, Any], wanted: type[C] | TypeAdapter[C], where: str) -> C:
    """Validate raw values into a config; `where` names their file in errors.

    Raises:
        ConfigError: one line per problem: file, key, what is wrong, value found, values allowed.
    """
    return parse_both(raw, wanted, where)[0]


def parse_both(raw: Mapping[str, Any], wanted: type[C] | TypeAdapter[C], where: str) -> tuple[C, Raw]:
    """Validate raw values; return the config, and the raw values as it takes them.

    A field that wants text takes a number as it was written: `revision: 0123456`, `--set name=2026`.

    Raises:
        ConfigError: as `parse`.
    """
    adapter = wanted if isinstance(wanted, TypeAdapter) else TypeAdapter(wanted)
    _require_unicode(raw, where, "")
    raw, problems = with_new_names(raw, adapter, where)
    if not problems:
        return _validate(raw, adapter), dict(raw)
    written = copy.deepcopy(dict(raw))
    for detail in problems:
        _write_out(written, detail["loc"])
    try:
        return _validate(written, adapter), written
    except ValidationError:
        broken = {detail["loc"][:depth] for detail in problems for depth in range(len(detail["loc"]))}
        lines = [
            _sentence(where, raw, detail)
            for detail in problems
            if detail["type"] != "too_short" or detail["loc"] not in broken  # short only because items are broken
        ]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def with_new_names(raw: Mapping[str, Any], adapter: TypeAdapter[C], where: str) -> tuple[Mapping[str, Any], Problems]:
    """Return raw values with old spellings replaced, and the problems left; name each old spelling once on stderr.

    Only what does not validate is looked at, so that a word which is old in one place stays valid in another.
    """
    problems = _problems(raw, adapter)
    left = list(problems)
    while left:
        detail = left.pop(0)
        for renamed in (*RENAMED_KINDS, *RENAMED_KEYS):
            changed = copy.deepcopy(dict(raw))
            key = _rename(changed, detail, renamed)
            after = _problems(changed, adapter) if key else []
            if key and not any(_is_same_place(detail, renamed, problem) for problem in after):
                note_renamed(f"{where}: {key}", renamed.old, renamed.new)
                raw, problems, left = changed, after, list(after)
                break
    return raw, problems


def _problems(raw: Mapping[str, Any], adapter: TypeAdapter[C]) -> Problems:
    try:
        _validate(raw, adapter)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _rename(raw: Raw, detail: ErrorDetails, renamed: Renamed) -> str | None:
    """Replace an old spelling that a problem is about; return its key, None where the problem is another one."""
    loc, kind = detail["loc"], detail["type"]
    if renamed in RENAMED_KINDS:
        loc = (*loc, "kind") if kind == "union_tag_invalid" else loc
        allowed = str(detail.get("ctx", {}).get("expected_tags" if kind == "union_tag_invalid" else "expected"))
        if kind not in ("union_tag_invalid", "literal_error") or f"'{renamed.new}'" not in allowed:
            return None
    elif kind != "extra_forbidden" or loc[-1] != renamed.old:
        return None
    key, node = _walk(raw, loc[:-1])
    if not isinstance(node, dict):
        return None
    if renamed in RENAMED_KEYS:
        if renamed.new in node:
            return None
        node[renamed.new] = node.pop(renamed.old)
    elif loc[-1] == "kind" and node.get("kind") == renamed.old:
        node.update({**renamed.added, **node, "kind": renamed.new})
    else:
        return None
    return f"{key}.{loc[-1]}".lstrip(".")


def _is_same_place(before: ErrorDetails, renamed: Renamed, after: ErrorDetails) -> bool:
    """Tell whether a new key is no key of that config either."""
    return after["type"] == "extra_forbidden" and after["loc"] == (*before["loc"][:-1], renamed.new)


@cache
def note_renamed(where: str, old: str, new: str) -> None:
    """Say once on stderr that something has a new name."""
    print(f"note: {where}: '{old}' is now called '{new}'; the old word still works", file=sys.stderr)


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a validation in one line: 'steps[0].name: input should be a valid string'."""
    detail = error.errors(include_url=False, include_input=False)[0]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key}: {message[:1].lower()}{message[1:]}{more}" if key else f"{message[:1].lower()}{message[1:]}{more}"


def override(raw: Mapping[str, Any], assignments: Sequence[str]) -> Raw:
    """Return raw with `key.sub.0=value` assignments applied.

    A value is read as YAML where it is YAML, else it is text: `*.jsonl`, `a #1.jsonl` and `CC-BY: see notes` are
    texts, `[1, 2]`, `{n: 4}` and `0.5` are not.

    Raises:
        ConfigError: an assignment has no '=' or leads through something that is not a mapping or list.
    """
    result: Raw = copy.deepcopy(dict(raw))
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {_shown(assignment)}: expected key=value, such as sampling.n=4")
        keys = key.strip().split(".")
        if len(keys) > MAX_DEPTH:
            raise ConfigError(f"--set {key[:80]}…: leads through more than {MAX_DEPTH} levels")
        _assign(result, keys, _value(value), _shown(assignment))
    return result


def _validate(raw: Mapping[str, Any], adapter: TypeAdapter[C]) -> C:
    # JSON mode: strict about scalars, yet lists may become tuples and strings enums
    return adapter.validate_json(json.dumps(raw, default=str))


def typed_texts(assignments: Sequence[str]) -> set[str]:
    """Return all texts that assignments of the command line hold as values."""
    found: set[str] = set()
    left = [_value(assignment.partition("=")[2]) for assignment in assignments]
    while left:
        value = left.pop()
        if isinstance(value, str):
            found.add(value)
        elif isinstance(value, Mapping):
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
    return found


def _value(text: str) -> Any:
    """Read the value of an assignment as YAML, unless YAML makes something else of it than is written."""
    bare = text.strip()
    try:
        found = read_yaml(text)
    except ValueError:
        return text
    if isinstance(found, WrittenInt | WrittenFloat):
        return found if found.written == bare else text  # `4 #1.jsonl` is no 4
    ends = {"[": "]", "{": "}", '"': '"', "'": "'"}
    if isinstance(found, dict | list | str):
        is_yaml = bare[:1] in ends and bare.endswith(ends[bare[:1]])
        return found if is_yaml else bare  # `CC-BY: see notes` is no mapping, `a #1.jsonl` holds no comment
    return found if bare.lower() in ("true", "false", "null", "~", "") else text


def _require_unicode(value: Any, where: str, key: str) -> None:
    """Raise ConfigError for a text that UTF-8 cannot hold, as an argument that is not UTF-8 becomes one."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            _require_unicode(name, where, f"{key}.{name}")
            _require_unicode(each, where, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for position, each in enumerate(value):
            _require_unicode(each, where, f"{key}[{position}]")
    elif isinstance(value, str) and not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise ConfigError(f"{where}: {ascii(key.lstrip('.'))[1:-1]}: is not UTF-8 text (found {ascii(value)[:80]})")


def _shown(assignment: str) -> str:
    """Return an assignment for a message, without its value where that is a secret."""
    key, separator, value = assignment.partition("=")
    hidden = REDACTED if any(map(is_secret_key, key.split("."))) else redact_text(value)
    return f"{key}{separator}{hidden}"


def _write_out(raw: Any, loc: tuple[int | str, ...]) -> None:
    """Replace the number at a pydantic location by the text it was written as."""
    parent: Any = None
    place: Any = None
    node: Any = raw
    for part in loc:
        is_key = isinstance(node, dict) and part in node
        if is_key or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
            parent, place, node = node, part, node[part]
    if parent is not None and isinstance(node, WrittenInt | WrittenFloat):
        parent[place] = node.written


def _assign(node: Any, keys: list[str], value: Any, assignment: str) -> None:
    *parents, last = keys
    for key in parents:
        node = node.setdefault(key, {}) if isinstance(node, dict) else _item(node, key, assignment)
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list) and last.isdigit() and int(last) <= len(node):
        node[int(last) : int(last) + 1] = [value]
    else:
        raise ConfigError(f"--set {assignment}: '{last}' does not lead anywhere in the config")


def _item(node: Any, key: str, assignment: str) -> Any:
    if isinstance(node, list) and key.isdigit() and int(key) < len(node):
        return node[int(key)]
    raise ConfigError(f"--set {assignment}: '{key}' does not lead anywhere in the config")


def _identity(value: Any) -> Any:
    if isinstance(value, Config):
        return value.identity()
    if isinstance(value, Mapping):
        return {str(key): _identity(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, tuple | list):
        return [_identity(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _sentence(where: str, raw: Any, detail: ErrorDetails) -> str:
    key, node = _walk(raw, detail["loc"])
    key = key if len(key) <= MAX_KEY else f"{key[:MAX_KEY]}…"
    kind, context = detail["type"], detail.get("ctx", {})
    at = f"{where}: {key}" if key else where
    tag_at = f"{where}: {key}.kind" if key else f"{where}: kind"
    if kind == "extra_forbidden":
        return f"{at}: is not a known key"
    if kind == "missing":
        return f"{at}: is missing"
    if kind == "union_tag_invalid":
        tag = _short(str(context.get("tag")))
        allowed = [a.strip(" '") for a in str(context["expected_tags"]).split(",")]
        return f"{tag_at}: '{tag}' is not one of {', '.join(allowed)}{_suggest(tag, allowed)}"
    if kind == "union_tag_not_found":
        return f"{tag_at}: is missing"
    if kind == "literal_error":
        allowed = [a.strip(" '") for a in str(context["expected"]).replace(" or ", ",").split(",")]
        return f"{at}: {_quote(node)} is not one of {', '.join(allowed)}{_suggest(str(node), allowed)}"
    message = redact_text(detail["msg"].removeprefix("Value error, "))
    message = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"
    found = REDACTED if any(is_secret_key(str(part).removesuffix("_env")) for part in detail["loc"]) else _quote(node)
    return f"{at}: {message[:1].lower()}{message[1:]} (found {found})"


def _walk(raw: Any, loc: tuple[int | str, ...]) -> tuple[str, Any]:
    """Render a pydantic location as `a.b[2].c`, leaving out the union tags it contains."""
    key, node, is_tagged = "", raw, False
    for position, part in enumerate(loc):
        if isinstance(node, dict) and node.get("kind") == part and not is_tagged:
            is_tagged = True  # a pipeline `kind: steering` has a key `steering`, too
            continue
        is_tagged = False
        if isinstance(part, int) and isinstance(node, list) and part < len(node):
            key, node = f"{key}[{part}]", node[part]
        elif isinstance(node, dict) and part in node:
            key, node = f"{key}.{part}", node[part]
        elif position == len(loc) - 1 and isinstance(node, dict | list):  # of a scalar, the type that it is not
            key, node = f"{key}.{part}", None
    return key.lstrip("."), node


def _quote(value: Any) -> str:
    if isinstance(value, WrittenInt | WrittenFloat):
        return _short(value.written)
    return _short(json.dumps(redact(value), ensure_ascii=False, default=str))


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"


def _suggest(found: str, allowed: Sequence[str]) -> str:
    return did_you_mean(closest(found, allowed))
