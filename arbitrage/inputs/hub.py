"""Rows of a data set for `datasets.load_dataset`: on the Hub, or a local folder."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arbitrage.errors import ConfigError, DataError, StorageError
from arbitrage.inputs.hub_card import require_inside
from arbitrage.inputs.rows import InputFile, InputRow, RowFault, printable


@dataclass(frozen=True, slots=True)
class HubSplit:
    """A split of a data set.

    Attributes:
        name: name on the Hub, or a local folder.
        config: the data set's configuration, if it has several.
        revision: a commit of the data set's repository.
    """

    name: str
    config: str | None
    split: str
    revision: str | None


def open_split(split: HubSplit, label: str, needed: Callable[[Sequence[str]], list[str]]) -> InputFile:
    """Open a split; its rows are streamed.

    Args:
        split: which.
        label: name in rows and errors.
        needed: columns to read: others, such as images and sounds, stay undecoded.

    Raises:
        ConfigError: there is no such data set, configuration or split.
        DataError: it cannot be read, or its card names files outside of its folder.
        StorageError: the Hub cannot be reached.
    """
    stream = _load(split)
    columns: tuple[str, ...] | None = tuple(stream.column_names) if stream.column_names else None
    if columns is not None:
        stream = stream.select_columns(needed(columns))
    return InputFile(label, columns, _rows(stream, label))


def _load(split: HubSplit) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    where = f"prompts.name: {split.name}"
    if Path(split.name).is_dir():
        require_inside(Path(split.name))
    try:
        return load_dataset(split.name, split.config, split=split.split, revision=split.revision, streaming=True)
    except (FileNotFoundError, ValueError) as error:  # no such data set, configuration or split
        raise ConfigError(f"{where}: {_reason(error)}") from error
    except DatasetsError as error:
        raise DataError(f"{where}: {_reason(error)}") from error
    except OSError as error:
        raise StorageError(f"{where}: cannot be reached: {_reason(error)}") from error
    except Exception as error:  # damaged files raise many types of errors in the libraries
        raise DataError(f"{where}: cannot be read: {type(error).__name__}: {_reason(error)}") from error


def _rows(stream: Any, label: str) -> Iterator[InputRow | RowFault]:
    rows, number = iter(stream), 0
    while True:
        try:
            values = next(rows)
        except StopIteration:
            return
        except Exception as error:  # as above; only library code runs inside this block
            raise DataError(f"{label}: breaks off after row {number}: {_reason(error)}") from error
        number += 1
        yield InputRow(f"{label}:{number}", values)


def _reason(error: BaseException) -> str:
    return printable(" ".join(str(error).split()), 400) or type(error).__name__
