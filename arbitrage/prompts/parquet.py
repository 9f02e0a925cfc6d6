"""Prompts from Parquet; only the columns that are asked for are read."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from arbitrage.errors import DataError
from arbitrage.prompts.files import FileSourceConfig, SourceFile
from arbitrage.prompts.rows import Fault, Part, Row

BATCH_ROWS = 512


class ParquetConfig(FileSourceConfig):
    """Prompts in Parquet files."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)

    kind: Literal["parquet"] = "parquet"

    def open_file(self, file: SourceFile) -> Part:
        """Open a file and read its footer."""
        return open_parquet(file, self.columns.needed)


def open_parquet(file: SourceFile, needed: Callable[[Sequence[str]], list[str]]) -> Part:
    """Open a file and read its footer.

    Args:
        file: which.
        needed: those of the columns present that are to be read.

    Raises:
        DataError: it is no Parquet file.
    """
    try:
        parquet = pq.ParquetFile(file.path, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file.path}: cannot be read as Parquet: {error}") from error
    columns = tuple(parquet.schema_arrow.names)
    return Part(file.name, columns, _rows(parquet, needed(columns), file))


def _rows(parquet: pq.ParquetFile, columns: list[str], file: SourceFile) -> Iterator[Row | Fault]:
    number = 0
    with parquet:
        try:
            for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
                for values in _values(batch):
                    number += 1
                    position = f"{file.name}:{number}"
                    if isinstance(values, UnicodeDecodeError):
                        yield Fault(position, "invalid_utf8", f"byte {values.start} of a text")
                    else:
                        yield Row(position, values)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file.path}: breaks off after row {number}: {error}") from error


def _values(batch: pa.RecordBatch) -> list[dict[str, Any] | UnicodeDecodeError]:
    """Return the rows; one that is not UTF-8 (Parquet does not check) comes back as its error."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        return [_one(batch.slice(index, 1)) for index in range(batch.num_rows)]


def _one(row: pa.RecordBatch) -> dict[str, Any] | UnicodeDecodeError:
    try:
        values: dict[str, Any] = row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return error
    return values
