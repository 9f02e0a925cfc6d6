"""The rows of a trainer: read from exports, runs or files, in TRL's shape, mixed by language."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from arbitrage.errors import DataError
from arbitrage.inputs.files import Found
from arbitrage.inputs.notes import note_text
from arbitrage.inputs.tables import find_tables
from arbitrage.training.mix import RowMixConfig, choose_rows
from arbitrage.training.settings import Method
from arbitrage.training.shapes import KEY, LANGUAGE, UNDETERMINED, read_shaped

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Training rows, and held-out rows from the export's `test` split.

    Attributes:
        train: only columns of TRL's shape.
        test: likewise; None if nothing was held out.
        by_language: language → training rows.
        digest: digest of the training rows, in order.
        notes: files beside the data that were not read.
    """

    train: "Dataset"
    test: "Dataset | None"
    by_language: Mapping[str, int]
    digest: str
    notes: tuple[str, ...] = ()


def load_rows(sources: Sequence[Path], method: Method, mix: RowMixConfig) -> TrainingRows:
    """Read rows and select a mix of them.

    Args:
        sources: exports' directories, files, globs.
        method: training method, which determines the columns.
        mix: mix of the training rows; held-out rows are not mixed.

    Raises:
        ConfigError: a source matches no file.
        DataError: a file cannot be read, lacks columns, or there are too few rows of a language.
    """
    train, held_out = read_split(sources, method, "train"), read_split(sources, method, "test")
    if train is None or not len(train):
        raise DataError(f"{', '.join(map(str, sources))}: no rows to train on")
    languages, keys = list(train[LANGUAGE]), list(train[KEY])
    if not mix.is_all and set(languages) == {UNDETERMINED}:
        raise DataError(f"mix: the rows of {', '.join(map(str, sources))} have no column '{LANGUAGE}'")
    chosen = choose_rows(languages, keys, mix)
    picked = train if mix.is_all else train.select(chosen)
    return TrainingRows(
        train=_without_facts(picked),
        test=None if held_out is None else _without_facts(held_out),
        by_language=dict(sorted(Counter(languages[i] for i in chosen).items())),
        digest=digest_rows(picked.remove_columns(KEY)),
        notes=tuple(
            f"{source}: {count:,} {note_text(note)}"
            for source in sources
            for note, count in sorted(_files(source, "train").notes.items())
        ),
    )


def read_split(sources: Sequence[Path], method: Method, split: Literal["train", "test"]) -> "Dataset | None":
    """Read one split of each source: the columns of TRL's shape, `language` and `row_key`.

    Sources that are not exports have only `train`. None if no source has the split. Raises like `load_rows`.
    """
    found = [read_shaped(files, method) for source in sources if (files := _files(source, split).files)]
    return _joined(found) if found else None


def digest_rows(rows: "Dataset") -> str:
    """Hash rows in their order to 20 hex digits, whatever file or format they came from; 50,000 rows a second."""
    digest = hashlib.blake2b(digest_size=10)
    for batch in rows.with_format("arrow").iter(batch_size=1000):
        for row in batch.to_pylist():
            digest.update(
                json.dumps(row, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass") + b"\n"
            )
    return digest.hexdigest()


def _files(source: Path, split: str) -> Found:
    """Return the files of a split of an export, or whatever files a path or glob stands for."""
    is_export = (source / "data" / "train").is_dir() or (source / "data" / "test").is_dir()
    folder = source / "data" / split if is_export else source
    if (is_export and not folder.is_dir()) or (not is_export and split == "test"):
        return Found(())
    return find_tables([str(folder)], "data")


def _joined(parts: Sequence["Dataset"]) -> "Dataset":
    from datasets import concatenate_datasets

    try:
        return parts[0] if len(parts) == 1 else concatenate_datasets(list(parts))
    except ValueError as error:
        raise DataError(f"data: the sources do not fit together: {' '.join(str(error).split())}") from error


def _without_facts(rows: "Dataset") -> "Dataset":
    return rows.remove_columns([LANGUAGE, KEY])
