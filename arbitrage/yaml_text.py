"""YAML as configs are written in it: the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).

So `no` is Norwegian, `12:30`, `1_000` and `2026-01-31` are text, `010` is ten and `1e-3` a number. Merge keys (`<<`)
and aliases work as in YAML 1.1, the common form; what they expand to is bounded.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from arbitrage.errors import ConfigError

MAX_BYTES = 16 << 20
MAX_DEPTH = 64
MAX_VALUES = 1_000_000
"""Values of a file with all its aliases and merges written out. Ten nested aliases can stand for 10¹⁰."""

_TAG = "tag:yaml.org,2002:"


class WrittenInt(int):
    """An integer with its spelling: a field that wants text takes `written`, such as '007'."""

    written: str


class WrittenFloat(float):
    """A float with its spelling, such as '1e5'."""

    written: str


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping. Numbers are `WrittenInt` and `WrittenFloat`, keys are text.

    Raises:
        ConfigError: no such file, not UTF-8, too large, not YAML, a key given twice, or not a mapping.
    """
    try:
        with path.open("rb") as file:
            found = file.read(MAX_BYTES + 1)
        if len(found) > MAX_BYTES:
            raise ConfigError(f"{path}: is larger than {MAX_BYTES >> 20} MiB, which no config is")
        text = found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        data = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        kind = "nothing" if data is None else type(data).__mro__[-2].__name__
        raise ConfigError(f"{path}: expected a mapping of keys to values, found {kind}")
    return data


def read_yaml(text: str) -> Any:
    """Read one YAML value.

    Raises:
        ValueError: it is no YAML, nested too deeply, or expands to too much; says where, in one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 — a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(where + ": ".join(filter(None, (error.context, error.problem)))) from error
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise ValueError(f"character {error.position} is U+{code:04X}, which YAML does not allow") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


class _Loader(yaml.SafeLoader):
    """SafeLoader of the core schema: no key twice, bounded depth and size, numbers know how they were written."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; raise where it is nested too deep."""
        if self._depth >= MAX_DEPTH:
            raise yaml.composer.ComposerError(
                None,
                None,
                f"more than {MAX_DEPTH} levels of nesting",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        self._depth += 1
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        if isinstance(node, yaml.MappingNode):
            _require_keys_once(node)
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document; raise where its aliases and merges would expand to too much."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _measure(node, {})
        return node


def _require_keys_once(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refusal(key, "a key must be text")
        if key.value in seen:
            hint = "; one `<<: [*a, *b]` merges several" if key.value == "<<" else ""
            raise _refusal(key, f"the key '{key.value}' is given twice{hint}")
        seen.add(key.value)
        if key.tag != f"{_TAG}merge":
            key.tag = f"{_TAG}str"  # `no: x`, `1: x` and `2026-01-31: x` have a text as key


@dataclass(frozen=True, slots=True)
class _Extent:
    """What a node stands for once its aliases are written out."""

    size: int
    height: int


def _measure(node: yaml.Node, known: dict[int, _Extent | None]) -> _Extent:
    """Return the extent of a node. Nodes that aliases share are measured once.

    Raises:
        ConstructorError: too many values, too deep, or without end since an alias stands within what it names.
    """
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            raise _refusal(node, "an alias stands within what it names")
        return found
    known[id(node)] = None  # being measured
    if isinstance(node, yaml.MappingNode):
        children = [value for _, value in node.value]
    else:
        children = node.value if isinstance(node, yaml.SequenceNode) else []
    size, height = 1, 1
    for child in children:
        below = _measure(child, known)
        size, height = size + below.size, max(height, below.height + 1)
        if size > MAX_VALUES:
            raise _refusal(node, f"aliases expand to more than {MAX_VALUES:,} values")
        if height > MAX_DEPTH:
            raise _refusal(node, f"aliases expand to more than {MAX_DEPTH} levels of nesting")
    known[id(node)] = extent = _Extent(size, height)
    return extent


def _refusal(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> WrittenInt:
    text = str(loader.construct_scalar(node))
    digits, base = (text[2:], {"0o": 8, "0x": 16}[text[:2]]) if text[:2] in ("0o", "0x") else (text, 10)
    try:
        found = WrittenInt(int(digits, base))
    except ValueError as error:  # `!!int abc`, or more digits than Python reads
        raise _refusal(node, f"'{text[:40]}' is no integer") from error
    found.written = text
    return found


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> WrittenFloat:
    text = str(loader.construct_scalar(node))
    try:
        found = WrittenFloat(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        raise _refusal(node, f"'{text[:40]}' is no number") from error
    found.written = text
    return found


_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)
_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"^(?:{_pattern})$"), _first)
_Loader.add_constructor(f"{_TAG}int", _construct_int)
_Loader.add_constructor(f"{_TAG}float", _construct_float)
