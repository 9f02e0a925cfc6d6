"""Sources of prompts in files and data sets; `arbitrage.inputs` reads the formats."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from arbitrage.config import Paths, Raw, resolved_path
from arbitrage.inputs.csv import CSV_SUFFIXES, open_csv
from arbitrage.inputs.files import Found, SourceFile, find_files
from arbitrage.inputs.hub import HubSplit, open_split
from arbitrage.inputs.jsonl import JSON_SUFFIXES, open_jsonl
from arbitrage.inputs.parquet import open_parquet
from arbitrage.inputs.rows import InputFile
from arbitrage.inputs.tables import PARQUET_SUFFIXES, find_tables, with_partitions
from arbitrage.prompts.source import SourceConfig


class FileSourceConfig(SourceConfig):
    """A source in files.

    Attributes:
        paths: a file, a glob (`**` too), a folder (searched to any depth for the kind's endings), or a list of them.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()

    paths: Paths

    def identity(self) -> Raw:
        """Return the options, and names and digests of the files instead of their paths."""
        found = super().identity()
        del found["paths"]
        return {**found, "files": [file.identity for file in self.found().files]}

    def found(self) -> Found:
        """Return the files, sorted by name, and the files beside them that are not read.

        Raises:
            ConfigError: a path or glob matches none.
        """
        return find_tables(self.paths, "prompts.paths", self.suffixes)

    def parts(self) -> Iterator[InputFile]:
        """Open one file after the other; files that are not read are a note of the first."""
        found = self.found()
        for number, file in enumerate(found.files):
            part = with_partitions(self.open_file(file), file)
            if number == 0:
                part.notes.update(found.notes)
            yield part

    def open_file(self, file: SourceFile) -> InputFile:
        """Open one file of this kind."""
        raise TypeError(f"{type(self).__name__} does not implement `open_file`")


class JsonlConfig(FileSourceConfig):
    """Prompts in JSON Lines files (one object per line), or in files of one JSON array of objects."""

    suffixes: ClassVar[tuple[str, ...]] = JSON_SUFFIXES

    kind: Literal["jsonl"] = "jsonl"

    def open_file(self, file: SourceFile) -> InputFile:
        """Open a file; its columns are known only after its rows."""
        return open_jsonl(file)


class CsvConfig(FileSourceConfig):
    """Prompts in CSV files in UTF-8, each with a header.

    Attributes:
        delimiter: one character; by default a tab in `*.tsv*`, elsewhere a comma, or what the header has instead.
    """

    suffixes: ClassVar[tuple[str, ...]] = CSV_SUFFIXES

    kind: Literal["csv"] = "csv"
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)

    def open_file(self, file: SourceFile) -> InputFile:
        """Open a file and read its header."""
        return open_csv(file, self.delimiter)


class ParquetConfig(FileSourceConfig):
    """Prompts in Parquet files."""

    suffixes: ClassVar[tuple[str, ...]] = PARQUET_SUFFIXES

    kind: Literal["parquet"] = "parquet"

    def open_file(self, file: SourceFile) -> InputFile:
        """Open a file and read its footer."""
        return open_parquet(file, self.columns.mapping().needed)


class DatasetConfig(SourceConfig):
    """A split of a data set, streamed without a local copy. Code that comes with a data set is never run.

    Attributes:
        name: name on the Hub, or a local folder.
        config: the data set's configuration, if it has several.
        revision: commit of the data set's repository; without it, a run may not be reproducible.
        split: which split of the data set is read.
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
            files = find_files([self.name], ("",)).files
            found["name"] = [file.identity for file in files]
        return found

    def parts(self) -> Iterator[InputFile]:
        """Open the split as one part."""
        # Rows name the data set by its last folder, so that moving a local one changes nothing.
        name = Path(self.name).name if Path(self.name).is_dir() else self.name
        label = "/".join(part for part in (name, self.config, self.split) if part)
        yield open_split(
            HubSplit(self.name, self.config, self.split, self.revision), label, self.columns.mapping().needed
        )
