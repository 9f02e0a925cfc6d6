"""Single values of foreign rows: missing values, and the canonical text of ids, labels and numbers.

Ids of different files are compared as text. Only `id_text` converts them, so that 1, 1.0 (pandas, if another id is
missing), Decimal("1") (SQL exports) and "1" are the same id everywhere.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from arbitrage.inputs.rows import Unreadable, printable
from arbitrage.records import nfc

MISSING: Final = object()
"""Value of a column that a row does not have."""

MAX_DIGITS = 1000
MAX_ID_BITS = 3322
"""Maximum number of digits of an integer id; Python refuses to write more than 4,300."""

LARGEST_COUNT = 10**9
LARGEST_NUMBER = 1e12
"""Limits of recorded token counts and log-probabilities; larger ones would overflow sums, or a column."""


class Untyped(str):
    """A cell of a CSV file that looks like a whole float, `7.0`: CSV does not distinguish numbers from text."""

    __slots__ = ()


def is_missing(value: Any) -> bool:
    """Tell whether a value is missing: no column, null, NaN, NaT, or blank text."""
    if isinstance(value, str):
        return not value or value.isspace()
    if value is None or value is MISSING:
        return True
    if isinstance(value, float):
        return value != value
    if isinstance(value, Decimal):
        return value.is_nan()
    return type(value).__name__ in ("NaTType", "NAType")  # pandas, which is not imported for it


def id_text(value: Any) -> str | None:
    """Return an id as text; None if it is missing, or has a type that cannot be an id (a list, an object).

    Whole numbers are written as integers whatever their type, other floats and decimals in the shortest form, bytes
    as their text (else in hexadecimal), dates and UUIDs as ISO 8601 and RFC 9562 write them, `{"$oid": …}` and the
    other wrappers of MongoDB's extended JSON by what they wrap. Texts are brought to Unicode form C.
    """
    if isinstance(value, str):
        if not value or value.isspace():
            return None
        text = str(value[:-2]) if isinstance(value, Untyped) else value
        return text if text.isascii() else nfc(sound(text))
    if is_missing(value):
        return None
    if isinstance(value, bool | int | float | Decimal):
        return _number_text(value)
    if isinstance(value, bytes):
        return _bytes_text(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID | timedelta):
        return str(value)
    return _wrapped_text(value) if isinstance(value, Mapping) else None


def label_text(value: Any) -> str | None:
    """Return a label, such as a licence or a task, as text; a list of labels is joined. None for other types."""
    if isinstance(value, list | tuple):
        parts = [id_text(part) for part in value]
        return ", ".join(part for part in parts if part is not None) or None
    return id_text(value)


def count_of(value: Any) -> int | None:
    """Return a recorded count; None if it is missing, not a whole number, negative or implausible."""
    number = number_of(value)
    if number is None or number < 0 or not number.is_integer() or number > LARGEST_COUNT:
        return None
    return int(number)


def number_of(value: Any) -> float | None:
    """Return a recorded number, also from text (CSV); None if it is missing, not a number, or implausible."""
    if is_missing(value) or isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= LARGEST_NUMBER else None


def type_name(value: Any) -> str:
    """Return the name of a value's type in JSON or Arrow terms."""
    if isinstance(value, Unreadable):
        return f"unreadable {value.type}"
    if value is None:
        return "null"
    names: Sequence[tuple[type, str]] = ((bool, "boolean"), (str, "text"), (Mapping, "object"), (list, "list"))
    return next((name for kind, name in names if isinstance(value, kind)), type(value).__name__)


def shown(value: Any) -> str:
    """Return a value for a message: its type, and the beginning of its text."""
    if isinstance(value, Unreadable):
        return type_name(value)
    if isinstance(value, str):
        return f"'{printable(value, 40)}'"
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        text = "…"
    return f"{type_name(value)} {printable(text, 40)}{'…' if len(text) > 40 else ''}"


def sound(text: str) -> str:
    """Replace lone surrogates, which JSON may hold and UTF-8 cannot."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number_text(value: bool | int | float | Decimal) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() < MAX_ID_BITS else None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)
    if not value.is_finite():
        return str(value).lower()
    if abs(value.adjusted()) > MAX_DIGITS or len(value.as_tuple().digits) > MAX_DIGITS:
        return None
    return str(int(value)) if value == value.to_integral_value() else format(value.normalize(), "f")


def _wrapped_text(value: Mapping[str, Any]) -> str | None:
    if len(value) != 1:
        return None
    [(key, inner)] = value.items()
    return id_text(inner) if key.startswith("$") and not isinstance(inner, Mapping | list) else None


def _bytes_text(value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return value.hex()
    return nfc(text) if text.isprintable() else value.hex()
