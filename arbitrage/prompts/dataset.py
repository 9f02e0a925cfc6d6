"""Prompts from a data set that `datasets.load_dataset` knows: on the Hub, or a local folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from arbitrage.config import Raw, resolved_path
from arbitrage.errors import ConfigError, DataError, StorageError
from arbitrage.prompts.files import digest_file, find_files
from arbitrage.prompts.rows import Fault, Part, Row
from arbitrage.prompts.source import SourceConfig


class DatasetConfig(SourceConfig):
    """A split of a data set, streamed: nothing is stored. Code that comes with a data set is never run.

    Attributes:
        name: as on the Hub, or a local folder.
        config: the data set's configuration, where it has several.
        revision: a commit of the data set's repository; without one a run cannot be repeated for sure.
    """

    kind: Literal["dataset"] = "dataset"
    name: str = Field(min_length=1)
    config: str | None = None
    split: str = "train"
    revision: str | None = None

    @field_validator("name")
    @classmethod
    def _absolute(cls, name: str) -> str:
        path = resolved_path(name)
        return str(path) if path.is_dir() else name

    def identity(self) -> Raw:
        """Return the options; of a local folder also what is in it, instead of its path."""
        found = super().identity()
        if Path(self.name).is_dir():
            files = find_files([self.name], ("",))
            found["name"] = [[file.name, digest_file(file.path)] for file in files]
        return found

    def parts(self) -> Iterator[Part]:
        """Open the split as one part."""
        # Rows name the data set by its last folder, so that moving a local one changes nothing.
        name = Path(self.name).name if Path(self.name).is_dir() else self.name
        label = "/".join(part for part in (name, self.config, self.split) if part)
        stream = _load(self)
        columns: tuple[str, ...] | None = tuple(stream.column_names) if stream.column_names else None
        if columns is not None:  # never decode images and sounds that nobody asked for
            stream = stream.select_columns(self.columns.needed(columns))
        yield Part(label, columns, _rows(stream, label))


def _load(config: DatasetConfig) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    where = f"prompts.name: {config.name}"
    try:
        return load_dataset(config.name, config.config, split=config.split, revision=config.revision, streaming=True)
    except (FileNotFoundError, ValueError) as error:  # no such data set, configuration or split
        raise ConfigError(f"{where}: {error}") from error
    except DatasetsError as error:
        raise DataError(f"{where}: {error}") from error
    except OSError as error:
        raise StorageError(f"{where}: cannot be reached: {error}") from error


def _rows(stream: Any, label: str) -> Iterator[Row | Fault]:
    from datasets.exceptions import DatasetsError

    number = 0
    try:
        for number, values in enumerate(stream, 1):
            yield Row(f"{label}:{number}", values)
    except (DatasetsError, OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{label}: breaks off after row {number}: {error}") from error
