"""Arguments of a trainer, given as YAML values and validated against the dataclass that the trainer documents.

TRL's configs and peft's have 40 to 140 fields that change from version to version, so none of them is repeated here.
"""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from arbitrage.errors import ConfigError

Values = Mapping[str, Any]

_LAX = ConfigDict(arbitrary_types_allowed=True)


def checked(given: Values, target: type, where: str) -> dict[str, Any]:
    """Return the arguments in the types that a dataclass declares.

    Args:
        given: name → value; a number may be given as text, such as `1e-5`, which YAML reads as text.
        target: the dataclass.
        where: name in error messages.

    Raises:
        ConfigError: one line for each argument that is unknown (with the nearest that exist) or of a wrong type.
    """
    hints = typing.get_type_hints(target)
    names = [field.name for field in dataclasses.fields(target) if field.init]
    problems, values = [], {}
    for name, value in given.items():
        if name not in names:
            problems.append(f"{where}: {name}: {target.__name__} has no such argument{_nearest(name, names)}")
            continue
        try:
            values[name] = _typed(value, _adapter(hints[name]))
        except ValidationError as error:
            found = "; ".join(dict.fromkeys(detail["msg"] for detail in error.errors(include_url=False)))
            problems.append(f"{where}: {name}: {found} (found {value!r})")
    if problems:
        raise ConfigError("\n".join(problems))
    return values


def build(values: Values, target: type, where: str) -> Any:
    """Build the dataclass from checked arguments.

    Raises:
        ConfigError: the dataclass's own checks refuse them.
    """
    try:
        return target(**values)
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise ConfigError(f"{where}: {target.__name__}: {' '.join(str(error).split())}") from error


def _typed(value: Any, adapter: TypeAdapter[Any]) -> Any:
    """Convert a value; a single value for a list, as in `loss_type: ipo`, becomes a list of it."""
    try:
        return adapter.validate_python(value)
    except ValidationError:
        if not isinstance(value, str | int | float):
            raise
        try:
            return adapter.validate_python([value])
        except ValidationError:
            pass
        raise


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=_LAX)
    except PydanticSchemaGenerationError:
        return TypeAdapter(Any)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(hint)  # a dataclass or model has its own config


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    near += [other for other in names if name in other and other not in near][: 3 - len(near)]
    return f"; nearest: {', '.join(near)}" if near else ""
