"""Bring rows into the shape that a TRL trainer reads: its columns and no other, for others may mean something to it.

docs/exports.md says what each format holds; the shapes of `trl` and `axolotl` and SFT rows of any trainer are taken.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from arbitrage.errors import DataError
from arbitrage.inputs.columns import column_map
from arbitrage.inputs.files import SourceFile
from arbitrage.inputs.messages import messages_in, trained_messages
from arbitrage.inputs.rows import RowError, RowFault, printable
from arbitrage.inputs.tables import open_table
from arbitrage.inputs.tools import read_tools
from arbitrage.inputs.values import id_text, is_missing, shown, sound, type_name
from arbitrage.languages import read_language
from arbitrage.training.reasoning import ReasoningRule
from arbitrage.training.settings import Method

if TYPE_CHECKING:
    from datasets import Dataset

LANGUAGE = "language"
KEY = "row_key"
REASONED = "row_has_reasoning"
"""Columns beside the trainer's: the row's language, what tells rows apart, whether an answer came with reasoning."""

UNDETERMINED = "und"
"""Language of rows without one (ISO 639-2)."""

SHAPES: dict[Method, tuple[tuple[str, ...], ...]] = {
    "sft": (("prompt", "completion"), ("messages",)),
    "dpo": (("prompt", "chosen", "rejected"), ("chosen", "rejected")),
    "reward": (("prompt", "chosen", "rejected"), ("chosen", "rejected")),
}
"""Columns that a method can train on, in order of preference."""

TOOLS = "tools"
"""Column of the tools that a row declares, as JSON: TRL's trainers hand it to the chat template."""

_ROLES = (TOOLS, *(name for shapes in SHAPES.values() for shape in shapes for name in shape), LANGUAGE, "prompt_id")
_COLUMNS = column_map({role: (role,) for role in _ROLES}, {})
BATCH_ROWS = 1000


def read_shaped(
    files: Sequence[SourceFile], method: Method, reasoning: ReasoningRule, *, has_tools: bool = False
) -> "Dataset":
    """Read files in order: a trainer's columns, `language`, `row_key` and `row_has_reasoning`.

    Conversations in one column `messages` are split before their last turn, so that the loss is on the response. The
    rows are in a temporary file of this process, not in its memory. Where reasoning is a key of messages, or rows
    have tools, columns of messages are JSON: in a struct a key would be null in the messages without it, and
    templates fail on that.

    Args:
        files: at least one.
        method: whose shape.
        reasoning: how rows with reasoning are given to the student.
        has_tools: rows get a column of tools (`have_tools`).

    Raises:
        DataError: a file cannot be read, holds no rows or lacks columns; its columns are not message lists throughout
            (or texts throughout); a row cannot be read, or says nothing.
    """
    from datasets import Dataset, concatenate_datasets

    is_json = reasoning.is_key or has_tools
    parts = [
        Dataset.from_file(str(_written(_rows(file, method, reasoning, has_tools=has_tools), file, is_json=is_json)))
        for file in files
    ]
    try:
        return parts[0] if len(parts) == 1 else concatenate_datasets(parts)
    except ValueError as error:
        raise DataError(f"data: the files do not fit together: {' '.join(str(error).split())}") from error


def have_tools(files: Iterable[SourceFile]) -> bool:
    """Tell whether one of the files has a column of tools: in JSON Lines, whether the first row has."""
    return any(map(_has_tools, files))


def _has_tools(file: SourceFile) -> bool:
    part = open_table(file, _COLUMNS.needed)
    if part.columns is not None:
        return TOOLS in part.columns
    first = next(iter(part.rows), None)
    return first is not None and not isinstance(first, RowFault) and TOOLS in first.values


def _written(rows: Iterator[dict[str, Any]], file: SourceFile, *, is_json: bool) -> Path:
    """Write rows to a file that `datasets` maps into memory, and return it."""
    path = _scratch() / f"{len(list(_scratch().iterdir()))}.arrow"
    tables = []
    try:
        while batch := list(islice(rows, BATCH_ROWS)):
            tables.append(_with_json(batch) if is_json else pa.Table.from_pylist(batch))
        if not tables:
            raise DataError(f"{file.shown}: holds no rows")
        table = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"{file.shown}: the rows do not fit together: {' '.join(str(error).split())}") from error
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return path


def _with_json(batch: list[dict[str, Any]]) -> pa.Table:
    """Return a table in which messages are JSON."""
    names = [name for name, value in batch[0].items() if isinstance(value, list)]
    texts = [
        row | {name: [json.dumps(each, ensure_ascii=False) for each in row[name]] for name in names} for row in batch
    ]
    table = pa.Table.from_pylist(texts)
    return table.cast(
        pa.schema([field.with_type(pa.list_(pa.json_())) if field.name in names else field for field in table.schema])
    )


@cache
def _scratch() -> Path:
    """Return a temporary directory that is removed with the process."""
    folder = TemporaryDirectory(prefix="arbitrage-rows-")
    _held.append(folder)
    return Path(folder.name)


_held: list[TemporaryDirectory[str]] = []


def _rows(file: SourceFile, method: Method, reasoning: ReasoningRule, *, has_tools: bool) -> Iterator[dict[str, Any]]:
    part = open_table(file, _COLUMNS.needed)
    chosen: list[tuple[str, ...]] = []
    kinds: dict[str, str] = {}
    number = -1
    for row in part.rows:
        number += 1
        if isinstance(row, RowFault):
            raise DataError(f"{file.shown}: cannot be read as json: {row.position}: {row.reason}: {row.detail}")
        if not chosen:
            chosen.append(_columns(part.columns or tuple(row.values), method, file.shown))
        columns = chosen[0]
        values = {name: _value(row.values.get(name), name, f"{file.shown}: row {number}") for name in columns}
        _check_kinds(values, kinds, file.shown)
        for name, value in values.items():
            if (problem := _problem(value, name)) is not None:
                raise DataError(f"{file.shown}: row {number}: {name}: {problem}")
        if columns == ("messages",):
            *prompt, completion = values["messages"]
            values = {"prompt": prompt, "completion": [completion]}
        is_reasoned = False
        for name, value in values.items():
            if isinstance(value, list):
                values[name], has_reasoning = reasoning.applied(value)
                is_reasoned |= has_reasoning and name != "prompt"
        if has_tools:
            values[TOOLS] = _tools(row.values, f"{file.shown}: row {number}")
        yield values | _facts(row.values, number, file.shown) | {REASONED: is_reasoned}


def _tools(values: Mapping[str, Any], where: str) -> str:
    """Return a row's tools as JSON; an empty list where it has none."""
    try:
        return read_tools(values.get(TOOLS)) or "[]"
    except RowError as error:
        raise DataError(f"{where}: {TOOLS}: {error.detail}") from error


def _facts(values: Mapping[str, Any], number: int, where: str) -> dict[str, str]:
    language = values.get(LANGUAGE)
    if not is_missing(language) and not isinstance(language, str):
        raise DataError(f"{where}: {LANGUAGE}: must be text, found {type_name(language)}")
    return {
        LANGUAGE: UNDETERMINED if is_missing(language) else read_language(str(language)) or sound(str(language)),
        KEY: id_text(values.get("prompt_id")) or str(number),
    }


def _columns(present: Sequence[str], method: Method, where: str) -> tuple[str, ...]:
    for columns in SHAPES[method]:
        if set(columns) <= set(present):
            return columns
    wanted = " or ".join(f"({', '.join(columns)})" for columns in SHAPES[method])
    found = printable(", ".join(present), 400)
    raise DataError(
        f"{where}: {method} trains on the columns {wanted}, found {found}; see `arbitrage export --for trl`"
    )


def _value(value: Any, name: str, where: str) -> Any:
    """Return a text unchanged, and messages in the trainers' form; None if it is neither."""
    if is_missing(value):
        return None
    if isinstance(value, str):
        try:
            messages = messages_in(value)
        except RowError as error:
            raise DataError(f"{where}: {name}: {error.detail}") from error
        if messages is None:
            return sound(value)
        value = messages
    is_one = isinstance(value, Mapping) and not any(isinstance(inner, list) for inner in value.values())
    if is_one or not isinstance(value, list | Mapping):
        wanted = "expected a message list ({role, content}) or a text"
        raise DataError(f"{where}: {name}: {wanted}, found something else: {shown(value)}")
    try:
        return trained_messages(value)
    except RowError as error:
        raise DataError(f"{where}: {name}: {error.detail}") from error


def _check_kinds(values: Mapping[str, Any], kinds: dict[str, str], where: str) -> None:
    """A text beside conversations crashes DPO, and a column of both kinds has no type."""
    for name, value in values.items():
        if value is not None:
            kinds.setdefault(name, "text" if isinstance(value, str) else "messages")
    own = {name: kinds[name] if value is None else _kind(value) for name, value in values.items() if name in kinds}
    if len({*own.values(), *kinds.values()}) > 1:
        found = ", ".join(f"{name}: {kind}" for name, kind in own.items())
        raise DataError(
            f"{where}: expected message lists ({{role, content}}) or texts in all of its columns, found {found}"
        )


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "messages"


def _problem(value: Any, name: str) -> str | None:
    """Return the problem of a text or a list of messages, or None."""
    if value is None or value == []:
        return "is empty"
    if isinstance(value, str):
        return "is a text, not a list of messages ({role, content})" if name == "messages" else None
    for message in value:
        if message is None or message["role"] is None:
            return "holds a message without a role"
        if message["content"] is None and not message.get("tool_calls"):
            return f"holds a message of the {message['role']} without content"
    if name == "messages" and value[-1]["role"] != "assistant":
        return f"ends with a turn of the {value[-1]['role']}, not of the assistant"
    return "holds only an answer, without a prompt" if name == "messages" and len(value) == 1 else None
