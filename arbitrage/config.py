"""What all configs share: strictness, error sentences, overrides, and which fields define a result.

A field that cannot change a result (number of replicas, batch size, a key's environment variable) is annotated
`Operational`; everything else enters the fingerprint.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from arbitrage.errors import ConfigError
from arbitrage.languages import normalise_tag, suggest_tag

C = TypeVar("C", bound=BaseModel)
Raw = dict[str, Any]


class _Operational:
    """Marks a field that says how, not what: it stays out of fingerprints."""


Operational: Final = _Operational()

AbsolutePath = Annotated[str, AfterValidator(lambda value: str(Path(value).expanduser().absolute()))]
"""A path, made absolute against the working directory when the config is read."""


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
    if found == tag:
        return tag
    near = found or suggest_tag(tag)
    hint = f" (did you mean '{near}'?)" if near else ""
    raise ValueError(f"'{tag}' is not a BCP-47 tag{hint}")


LanguageTag = Annotated[str, AfterValidator(_canonical_tag)]
"""A language in canonical BCP-47 form."""


class Config(BaseModel):
    """Base of all configs: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def identity(self) -> Raw:
        """Return everything in this config that can change a result, as JSON values.

        Override to replace a path by the digest of what lies there.
        """
        found: Raw = {}
        for name, info in type(self).model_fields.items():
            if Operational not in info.metadata:
                found[name] = _identity(getattr(self, name))
        return found


def load_yaml(path: Path) -> Raw:
    """Read a YAML mapping.

    Raises:
        ConfigError: no such file, not UTF-8, not YAML, a key given twice, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 — a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, found {type(data).__name__}")
    return data


def parse(raw: Mapping[str, Any], wanted: type[C] | TypeAdapter[C], where: str) -> C:
    """Validate raw values into a config; `where` names their file in errors.

    Raises:
        ConfigError: one line per problem: file, key, what is wrong, value found, values allowed.
    """
    adapter = wanted if isinstance(wanted, TypeAdapter) else TypeAdapter(wanted)
    try:  # JSON mode: strict about scalars, yet lists may become tuples and strings enums
        return adapter.validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        details = error.errors(include_url=False)
        broken = {detail["loc"][:depth] for detail in details for depth in range(len(detail["loc"]))}
        lines = [
            _sentence(where, raw, detail)
            for detail in details
            if detail["type"] != "too_short" or detail["loc"] not in broken  # short only because items are broken
        ]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def override(raw: Raw, assignments: Sequence[str]) -> Raw:
    """Return raw with `key.sub.0=value` assignments applied; values are read as YAML.

    Raises:
        ConfigError: an assignment has no '=' or leads through something that is not a mapping or list.
    """
    result: Raw = json.loads(json.dumps(raw, default=str))
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {assignment}: expected key=value, such as sampling.n=4")
        try:
            parsed = yaml.load(value, Loader=_Loader)  # noqa: S506 — a SafeLoader
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment}: the value is not valid YAML: {error}") from error
        _assign(result, key.strip().split("."), parsed, assignment)
    return result


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
    kind, context = detail["type"], detail.get("ctx", {})
    at = f"{where}: {key}" if key else where
    if kind == "extra_forbidden":
        return f"{at}: is not a known key"
    if kind == "missing":
        return f"{at}: is missing"
    if kind == "union_tag_invalid":
        tag = str(context.get("tag"))
        allowed = [a.strip(" '") for a in str(context["expected_tags"]).split(",")]
        return f"{at}.kind: '{tag}' is not one of {', '.join(allowed)}{_suggest(tag, allowed)}"
    if kind == "union_tag_not_found":
        return f"{at}.kind: is missing"
    if kind == "literal_error":
        allowed = [a.strip(" '") for a in str(context["expected"]).replace(" or ", ",").split(",")]
        return f"{at}: {_quote(node)} is not one of {', '.join(allowed)}{_suggest(str(node), allowed)}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{at}: {message[:1].lower()}{message[1:]} (found {_quote(node)})"


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
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"


def _suggest(found: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(found, allowed, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


class _Loader(yaml.SafeLoader):
    """SafeLoader in which `no` is Norwegian, `on` and `off` are words, and no mapping names a key twice.

    Booleans are those of YAML 1.2: true and false.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; raise on a repeated key."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key_node.value}' is given twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
