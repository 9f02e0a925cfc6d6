"""Bring rows into the shape that a TRL trainer reads: its columns and no other, for others may mean something to it.

docs/exports.md says what each format holds; the shapes of `trl` and `axolotl` and SFT rows of any trainer are taken.
"""

from typing import TYPE_CHECKING, Any

from arbitrage.errors import DataError
from arbitrage.languages import read_language
from arbitrage.training.settings import Method

if TYPE_CHECKING:
    from datasets import Dataset

LANGUAGE = "language"
KEY = "row_key"
"""Columns beside the trainer's: the row's language, and what tells rows apart."""

UNDETERMINED = "und"
"""The language of rows that do not say theirs (ISO 639-2)."""

SHAPES: dict[Method, tuple[tuple[str, ...], ...]] = {
    "sft": (("prompt", "completion"), ("messages",)),
    "dpo": (("prompt", "chosen", "rejected"), ("chosen", "rejected")),
    "reward": (("prompt", "chosen", "rejected"), ("chosen", "rejected")),
}
"""Columns that a method can be trained on, the best first."""


def shaped(rows: "Dataset", method: Method, where: str) -> "Dataset":
    """Return rows with a trainer's columns, `language` and `row_key`.

    Conversations in one column `messages` are split before their last turn, so that the loss is on the answer.

    Args:
        rows: as they were read.
        method: whose shape.
        where: what an error names.

    Raises:
        DataError: columns are missing, are not message lists throughout (or texts throughout), or a row says nothing.
    """
    columns = _columns(rows, method, where)
    _check_types(rows, columns, where)
    _check_values(rows, columns, where)
    facts = [name for name in (LANGUAGE, "prompt_id") if name in rows.column_names]
    kept = rows.select_columns([*columns, *facts])
    kept = _with_facts(kept, facts)
    if columns != ("messages",):
        return kept
    return kept.map(_split, remove_columns=["messages"], desc="split conversations")


def _columns(rows: "Dataset", method: Method, where: str) -> tuple[str, ...]:
    for columns in SHAPES[method]:
        if set(columns) <= set(rows.column_names):
            return columns
    wanted = " or ".join(f"({', '.join(columns)})" for columns in SHAPES[method])
    found = ", ".join(rows.column_names)
    raise DataError(
        f"{where}: {method} trains on the columns {wanted}, found {found}; see `arbitrage export --for trl`"
    )


def _check_types(rows: "Dataset", columns: tuple[str, ...], where: str) -> None:
    """A text beside conversations crashes DPO; a single message is another trainer's format."""
    if LANGUAGE in rows.column_names and _kind(rows.features[LANGUAGE]) not in ("text", "null"):
        raise DataError(f"{where}: {LANGUAGE}: must be text, found {_kind(rows.features[LANGUAGE])}")
    kinds = {name: _kind(rows.features[name]) for name in columns}
    if set(kinds.values()) not in ({"messages"}, {"text"}):
        found = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        raise DataError(
            f"{where}: wants message lists ({{role, content}}) or texts in all of its columns, found {found}"
        )


def _check_values(rows: "Dataset", columns: tuple[str, ...], where: str) -> None:
    """Trainers fail on a row that says nothing, hours later and without its number."""
    batches = rows.select_columns(list(columns)).with_format("arrow").iter(batch_size=1000)
    for number, row in enumerate(row for batch in batches for row in batch.to_pylist()):
        for name in columns:
            if (problem := _problem(row[name], name)) is not None:
                raise DataError(f"{where}: row {number}: {name}: {problem}")


def _problem(value: Any, name: str) -> str | None:
    """Return what is wrong with a text or a list of messages, or None."""
    if value is None or value == []:
        return "is empty"
    if isinstance(value, str):
        return None
    for message in value:
        if message is None or message["role"] is None:
            return "holds a message without a role"
        if message["content"] is None and not message.get("tool_calls"):
            return f"holds a message of the {message['role']} without content"
    if name == "messages" and value[-1]["role"] != "assistant":
        return f"ends with a turn of the {value[-1]['role']}, not of the assistant"
    return "holds an answer to nothing" if name == "messages" and len(value) == 1 else None


def _kind(feature: Any) -> str:
    from datasets import LargeList, List, Value

    if isinstance(feature, Value):
        return "text" if feature.dtype in ("string", "large_string") else str(feature.dtype)
    inner = feature.feature if isinstance(feature, List | LargeList) else None
    return "messages" if isinstance(inner, dict) and {"role", "content"} <= set(inner) else "something else"


def _with_facts(rows: "Dataset", facts: list[str]) -> "Dataset":
    number = len(rows)
    if LANGUAGE not in facts:
        rows = rows.add_column(LANGUAGE, [UNDETERMINED] * number)
    else:
        given = list(rows[LANGUAGE])
        told = [UNDETERMINED if tag is None else read_language(tag) or tag for tag in given]
        if told != given:
            rows = rows.remove_columns(LANGUAGE).add_column(LANGUAGE, told)
    if "prompt_id" in facts:
        return rows.rename_column("prompt_id", KEY)
    return rows.add_column(KEY, [str(i) for i in range(number)])


def _split(row: dict[str, Any]) -> dict[str, Any]:
    *prompt, completion = row["messages"]
    return {"prompt": prompt, "completion": [completion]}
