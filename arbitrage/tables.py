"""Conversion between records and Arrow; the only place where tables are built from rows.

`pa.Table.from_pylist(rows, schema)` silently drops unknown keys, truncates 1.5 to 1 and accepts null where the
schema forbids it, so nothing else in the project builds a table from rows. Schemas carry the `huggingface` footer
that `datasets.load_dataset("parquet", …)` reads to restore typed features.
"""

import json
import math
import types
from collections.abc import Iterable, Sequence
from enum import Enum
from functools import cache
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, TypeAdapter, ValidationError

from arbitrage.config import first_problem
from arbitrage.errors import DataError
from arbitrage.records import Record

R = TypeVar("R", bound=Record)

SCHEMA_VERSION = 4
"""Part of every fingerprint; increase it when a record changes."""

JsonText = NewType("JsonText", str)
"""One value in JSON: `datasets` (4.7 and later) loads it as objects whose keys may differ from row to row."""

_SCALARS: dict[type, tuple[pa.DataType, str]] = {
    str: (pa.string(), "string"),
    int: (pa.int64(), "int64"),
    float: (pa.float64(), "float64"),
    bool: (pa.bool_(), "bool"),
}


@cache
def arrow_schema(record: type[Record]) -> pa.Schema:
    """Derive the Arrow schema of a record, with the `huggingface` features in its metadata."""
    fields = [_field(name, info.annotation) for name, info in record.model_fields.items()]
    features = {name: _feature(info.annotation) for name, info in record.model_fields.items()}
    footer = {
        "huggingface": json.dumps({"info": {"features": features}}, sort_keys=True),
        "arbitrage": json.dumps({"record": record.__name__, "version": SCHEMA_VERSION}, sort_keys=True),
    }
    return pa.schema(fields, metadata=footer)


def to_table(rows: Sequence[R], record: type[R]) -> pa.Table:
    """Turn validated records into a table of exactly `arrow_schema(record)`.

    Raises:
        DataError: a row holds what no column can: names row, field and value.
    """
    if not rows:
        return empty_table(record)
    schema = arrow_schema(record)
    try:
        values = _rows_of(record).dump_python(list(rows), mode="json")  # tuples become lists, enums strings
    except ValueError as error:  # a lone surrogate
        raise DataError(_unwritable_row(rows, record)) from error
    try:
        columns = [_column([row[f.name] for row in values], f.type) for f in schema]
    except (OverflowError, UnicodeEncodeError, pa.ArrowException) as error:
        raise DataError(_unwritable_row(rows, record)) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Build a column; Arrow takes no Python values for a list of JSON, but casts texts to it."""
    stored = _stored(kind)
    column = pa.array(values, stored)
    return column if stored is kind else column.cast(kind)


def _stored(kind: pa.DataType) -> pa.DataType:
    if kind == pa.json_():
        return pa.string()
    if pa.types.is_list(kind) and (inner := _stored(kind.value_type)) is not kind.value_type:
        return pa.list_(kind.value_field.with_type(inner))
    return kind


def unwritable(row: Record) -> str | None:
    """Return the name of a field whose value no column can hold, or None: a whole number beyond 64 bits, a number
    that is none, a text that is no Unicode.
    """
    return next((name for name, value in row if not _is_writable(value)), None)


def shown(value: object) -> str:
    """Return a value for a message: short, and in ASCII."""
    if isinstance(value, int) and value.bit_length() > 128:  # Python refuses to print more than 4,300 digits
        return f"a number of {value.bit_length()} bits"
    return ascii(str(value)[:60])


def _is_writable(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() or _is_unicode(value)
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, tuple):
        return all(map(_is_writable, value))
    return not isinstance(value, Record) or unwritable(value) is None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def from_table(table: pa.Table, record: type[R]) -> list[R]:
    """Turn a table back into records.

    Raises:
        DataError: the table's columns or a row do not fit the record.
    """
    require_schema(table.schema, record)
    names = tuple(record.model_fields)
    columns = [table.column(name).to_pylist() for name in names]
    try:
        return _rows_of(record).validate_python(
            [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)], strict=False
        )
    except ValidationError as error:
        raise DataError(f"a row does not fit {record.__name__}: {first_problem(error)}") from error


def _unwritable_row(rows: Sequence[Record], record: type[Record]) -> str:
    for row in rows:
        if (name := unwritable(row)) is not None:
            key = ", ".join(str(getattr(row, part)) for part in record.row_key)
            return (
                f"the {record.__name__} {key}: {name} is {str(getattr(row, name))[:60]!a}, which no column can hold"
            )
    return f"rows of {record.__name__} cannot be written"


def require_schema(schema: pa.Schema, record: type[Record]) -> None:
    """Raise DataError unless the schema has exactly the record's columns and types."""
    wanted = arrow_schema(record)
    if not schema.equals(wanted):
        raise DataError(f"expected the columns of {record.__name__}:\n{wanted}\nfound:\n{schema}")


@cache
def empty_table(record: type[Record]) -> pa.Table:
    """Return a table of the record's schema with no rows (all columns typed)."""
    return arrow_schema(record).empty_table()


def concat(tables: Iterable[pa.Table], record: type[Record]) -> pa.Table:
    """Concatenate tables of one record; of none, return an empty one."""
    tables = tuple(tables)
    if len(tables) == 1 and tables[0].schema.equals(arrow_schema(record), check_metadata=True):
        return tables[0]
    return pa.concat_tables([empty_table(record), *tables])


@cache
def _rows_of(record: type[R]) -> TypeAdapter[list[R]]:
    """Return the converter of many rows at once, faster than one by one.

    Not strict, so that lists become tuples and strings enums; strictness of scalars is already guaranteed by the
    Arrow types, which `require_schema` compared.
    """
    return TypeAdapter(list[record])  # type: ignore[valid-type]


def _field(name: str, annotation: Any) -> pa.Field:
    inner, nullable = _split_optional(annotation)
    return pa.field(name, _arrow_type(inner), nullable=nullable)


def _arrow_type(annotation: Any) -> pa.DataType:
    if _is_text(annotation):
        return pa.string()
    if annotation is JsonText:
        return pa.json_()
    if annotation in _SCALARS:
        return _SCALARS[annotation][0]
    if get_origin(annotation) is tuple:
        inner, nullable = _split_optional(get_args(annotation)[0])
        return pa.list_(pa.field("element", _arrow_type(inner), nullable=nullable))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct([_field(name, info.annotation) for name, info in annotation.model_fields.items()])
    raise TypeError(f"records hold str, int, float, bool, tuple and records, not {annotation}")


def _feature(annotation: Any) -> Any:
    inner, _ = _split_optional(annotation)
    if _is_text(inner):
        return {"dtype": "string", "_type": "Value"}
    if inner is JsonText:
        return {"_type": "Json"}
    if inner in _SCALARS:
        return {"dtype": _SCALARS[inner][1], "_type": "Value"}
    if get_origin(inner) is tuple:
        return {"feature": _feature(get_args(inner)[0]), "_type": "List"}
    return {name: _feature(info.annotation) for name, info in inner.model_fields.items()}


def _split_optional(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        if len(inner) == 1:
            return inner[0], True
        raise TypeError(f"a column has one type, not {annotation}")
    return annotation, False


def _is_text(annotation: Any) -> bool:
    return get_origin(annotation) is Literal or (isinstance(annotation, type) and issubclass(annotation, Enum))
