"""Scores from a file: human ratings, an earlier run's scores, or a metric computed elsewhere."""

from collections import Counter
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import AfterValidator

from arbitrage.config import Raw
from arbitrage.contracts.rewards import Scorable
from arbitrage.errors import ConfigError, DataError
from arbitrage.inputs.columns import ColumnMap, column_map
from arbitrage.inputs.files import SourceFile, shown_path
from arbitrage.inputs.tables import read_columns
from arbitrage.inputs.values import id_text, is_missing, number_of
from arbitrage.models.references import digest_files, file_path
from arbitrage.records import content_id, nfc
from arbitrage.rewards.options import CheckResult, RewardName, RewardOptions, TextReward, versioned

Role = Literal["prompt", "teacher", "text", "value"]


class ColumnConfig(RewardOptions):
    """Looks a candidate up in a file of Parquet, JSON Lines or CSV.

    Errors of its Scores: `not_recorded` (no such row, or its value is null or not finite), `ambiguous` (rows of one
    key disagree).

    Attributes:
        path: a file; `demo:<file>` names one of the demo world.
        value: the column of scores (numbers or booleans).
        prompt: the column that identifies the prompt, see `prompt_key`.
        prompt_key: what that column holds: our `prompt_id`, or the `source_id` of the prompts.
        teacher: the column of teacher names; null if the response text is sufficient.
        text: the column of response texts, compared in Unicode form C; null to use only prompt and teacher.
    """

    kind: Literal["column"] = "column"
    name: RewardName = "column"
    path: Annotated[str, AfterValidator(file_path)]
    value: str = "score"
    prompt: str = "prompt_id"
    prompt_key: Literal["prompt_id", "source_id"] = "prompt_id"
    teacher: str | None = "teacher"
    text: str | None = None

    def identity(self) -> Raw:
        """Identify the file by its content."""
        return super().identity() | {"path": digest_files(Path(self.path))}

    @property
    def reward_name(self) -> str:
        """`name@version-digest of the file`."""
        return versioned(self.name, self.version, digest_files(Path(self.path)))

    def build(self) -> TextReward:
        """Read the file.

        Raises:
            DataError: it cannot be read, lacks a column, or a column is of the wrong type.
        """
        columns = _read(Path(self.path), self._columns())
        recorded: dict[str, float | None] = {}
        for *key, value in zip(*columns, strict=True):
            if None in key:
                continue
            row_id = content_id(*map(nfc, key))
            number = None if value is None or not isfinite(value) else float(value)
            if row_id in recorded and recorded[row_id] != number:
                recorded[row_id] = _AMBIGUOUS
            else:
                recorded[row_id] = number
        return TextReward(self.reward_name, lambda item: self._judge(item, recorded))

    def _columns(self) -> ColumnMap[Role]:
        keys: dict[Role, str | None] = {"prompt": self.prompt, "teacher": self.teacher, "text": self.text}
        named = {role: name for role, name in keys.items() if name is not None}
        return column_map({}, {**named, "value": self.value}, "{role}")

    def _judge(self, item: Scorable, recorded: dict[str, float | None]) -> CheckResult:
        prompt = item.prompt.prompt_id if self.prompt_key == "prompt_id" else item.prompt.source_id
        key = [prompt]
        if self.teacher is not None:
            key.append(item.candidate.teacher)
        if self.text is not None:
            key.append(item.candidate.text)
        value = recorded.get(content_id(*map(nfc, key)))
        if value is None:
            return CheckResult(error="not_recorded")
        return CheckResult(error="ambiguous") if value == _AMBIGUOUS else CheckResult(value=value)


_AMBIGUOUS = float("inf")


def _read(path: Path, columns: ColumnMap[Role]) -> list[list[Any]]:
    """Return the key columns, written like ids, and the column of numbers."""
    if not path.is_file():
        raise DataError(f"{shown_path(path)}: is not a file that can be read")
    try:
        table = read_columns(SourceFile(path.name, path), columns, (), Counter())
    except ConfigError as error:
        raise DataError(str(error)) from error
    numbers = table["value"]
    if pa.types.is_string(numbers.type):  # CSV holds numbers as text
        parts = numbers.to_pylist()
        read = [number_of(part) for part in parts]
        if all(number is not None or is_missing(part) for part, number in zip(parts, read, strict=True)):
            numbers = pa.chunked_array([pa.array(read, pa.float64())])
    found = numbers.type
    is_number = pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_boolean(found)
    if not is_number and not pa.types.is_decimal(found) and not pa.types.is_null(found):
        [name] = columns.names["value"]
        raise DataError(f"{shown_path(path)}: column '{name}' holds {found}, not numbers")
    ids = [[id_text(part) for part in table[role].to_pylist()] for role in columns.names if role != "value"]
    return [*ids, numbers.to_pylist()]
